/** Attacks 7 to 10: one canonical path decides for the router, the plugins and the upstream alike. */
import { assertEquals } from "@std/assert";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

/** Where a target ends up: its status, and as the upstream sees it where it gets there. */
type Row = readonly [target: string, status: number, reached?: string];

const DOT_SEGMENTS: readonly Row[] = [
  ["/public/../admin/x", 403],
  ["/public/%2e%2e/admin/x", 403],
  ["/public/.%2e/admin/x", 403],
  ["/public/%2E./admin/x", 403],
  ["/public/a/b/../../../admin/x", 403],
  ["/public/./../admin/x", 403],
  ["/public//../admin/x", 403],
  ["/public/x/..//../admin/x", 403],
  ["/../../admin/x", 403],
  ["/admin/./x", 403],
  ["/admin/x/..", 403],
  ["/public/../admin", 403],
  ["/public/%2e%2e/%61dmin/x", 403],
  ["/admin/../public/x", 200, "/public/x"],
  ["/public/...", 200, "/public/..."],
  ["/public/.../admin", 200, "/public/.../admin"],
  ["/public/..x", 200, "/public/..x"],
];

const SECOND_DECODINGS: readonly Row[] = [
  ["/public/..%2fadmin/x", 400],
  ["/public/..%2Fadmin/x", 400],
  ["/public/%2e%2e%2fadmin/x", 400],
  ["/public/..%5cadmin/x", 400],
  ["/public%2f..%2fadmin/x", 400],
  ["/public/..\\admin/x", 400],
  ["/public\\..\\admin/x", 400],
  ["/public/x%00", 400],
  ["/public/x%00.html", 400],
  ["/public/x%0d%0aX:y", 400],
  ["/public/x%0aX:y", 400],
  ["/public/x%7f", 400],
  ["/public/..;/admin/x", 400],
  ["/public/..;a=b/admin/x", 400],
  ["/public/%2e%2e;/admin/x", 400],
  ["/public/.;/admin/x", 400],
  ["/public/..%3b/admin/x", 400],
  ["/public/.%2e%3Ba=b/admin/x", 400],
  ["/public/%zz", 400],
  ["/public/%2", 400],
  ["/public/%", 400],
  ["/public/%u002e%u002e/admin", 400],
  ["/public/%%32%65%%32%65/admin", 400],
  ["/public/x%252f..%252fadmin", 200, "/public/x%252f..%252fadmin"],
  ["/public/%252e%252e/admin", 200, "/public/%252e%252e/admin"],
  ["/public/%25252e/admin", 200, "/public/%25252e/admin"],
  ["/public/x%3Fadmin", 200, "/public/x%3Fadmin"],
  ["/public/x%23admin", 200, "/public/x%23admin"],
  ["/public/x%3b/y", 200, "/public/x%3B/y"],
  // Overlong and broken UTF-8 is kept, never made a dot or a slash.
  ["/public/..%c0%afadmin", 200, "/public/..%C0%AFadmin"],
  ["/public/%c0%ae%c0%ae/admin", 200, "/public/%C0%AE%C0%AE/admin"],
  ["/public/%e0%80%af..%e0%80%afadmin", 200, "/public/%E0%80%AF..%E0%80%AFadmin"],
  ["/public/%ff%fe", 200, "/public/%FF%FE"],
  // Characters that become a dot, a slash or a percent sign under NFKC are characters all the same.
  ["/public/%ef%bc%8e%ef%bc%8e/admin", 200, "/public/%EF%BC%8E%EF%BC%8E/admin"],
  ["/public/%ef%bc%8fadmin", 200, "/public/%EF%BC%8Fadmin"],
  ["/public/\xe2\x80\xa5/admin", 200, "/public/%E2%80%A5/admin"],
  ["/keep/a%2fb", 200, "/keep/a%2Fb"],
  ["/keep/..%2fadmin", 400],
  ["/keep/a%2f..%2f..%2fadmin", 400],
  ["/keep/a%2f%2e%2e/admin", 400],
  ["/keep/a%5c..%5cadmin", 400],
  // The query is not a path.
  ["/public/x?a=/../admin&b=%2e%2e%2f%00", 200, "/public/x?a=/../admin&b=%2e%2e%2f%00"],
  ["/public/x?", 200, "/public/x"],
  ["/public/x?a#b", 400],
  ["/public?/../admin/x", 200, "/public?/../admin/x"],
];

const PREFIXES: readonly Row[] = [
  ["/strip../admin/x", 404],
  ["/strip%2e%2e/admin/x", 404],
  ["/strip./admin/x", 404],
  ["/strip;x/admin", 404],
  ["/strip%20/admin", 404],
  ["/strip%252f/admin", 404],
  ["/stripx", 404],
  ["/STRIP/admin/x", 404],
  ["/strip%2f..%2fadmin/x", 400],
  ["/strip..%2fadmin/x", 404],
  ["/strip..;/admin/x", 404],
  ["/strip/..;/admin/x", 400],
  ["/strip/../admin/x", 403],
  ["/strip//admin/x", 200, "/admin/x"],
  ["/strip///evil.net/x", 200, "/evil.net/x"],
  ["/strip/%2e%2e", 404],
  ["/strip/http://evil.net/", 200, "/http:/evil.net/"],
  ["/strip/@evil.net/", 200, "/@evil.net/"],
  ["/strip", 200, "/"],
  ["/strip/", 200, "/"],
  ["/strip?x", 200, "/?x"],
];

const SPELLINGS: readonly Row[] = [
  ["//admin/x", 403],
  ["/admin//x", 403],
  ["///admin/x", 403],
  ["/./admin/x", 403],
  ["/%61dmin/x", 403],
  ["/%61%64%6d%69%6e/x", 403],
  ["/%61%64%6D%69%6E", 403],
  ["/admin", 403],
  ["/admin/", 403],
  ["/admin/.", 403],
  ["/admin?x=/public", 403],
  ["/admin/x?", 403],
  ["/admin/x#y", 400],
  ["/public/x#/../admin", 400],
  ["/public/x%20#/admin", 400],
  // Other paths, to the router, the plugin and the upstream alike.
  ["/admin;a=b/x", 404],
  ["/admin%3ba=b/x", 404],
  ["/ADMIN/x", 404],
  ["/Admin/x", 404],
  ["/admin%20/x", 404],
  ["/admin./x", 404],
  ["/admin%c2%a0/x", 404],
  ["/adm\xc4\xb1n/x", 404],
  ["/%2561dmin/x", 404],
];

attackTest(
  "attacks 7 to 10: no spelling of a path gets past the policy for its plain form (CVE-2025-32431, CVE-2025-66490, CVE-2021-43557, CVE-2021-32779, CVE-2021-41773, CVE-2021-42013)",
  { 7: DOT_SEGMENTS, 8: SECOND_DECODINGS, 9: PREFIXES, 10: SPELLINGS },
  async (targets) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        routes: [
          { path: "/public/*", upstream: upstream.url },
          { path: "/admin/*", upstream: upstream.url },
          { path: "/strip/*", upstream: upstream.url, stripPrefix: true },
          { path: "/keep/*", upstream: upstream.url, encodedSlashes: "keep" },
        ],
      },
      plugins: {
        // As an author writes it: plain comparisons with the one path there is.
        "001-admin.ts": `export default { beforeRequest(ctx) {
          if (ctx.request.path === "/admin" || ctx.request.path.startsWith("/admin/")) ctx.reject(403, "no");
          ctx.upstream.setHeader("x-path", ctx.request.path);
        } };`,
      },
    });
    await assertRepelled(
      targets.map(([target, status, reached]): Attack => ({
        name: target,
        send: `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`,
        answers: [status],
        reaches: reached === undefined ? [] : [reached],
        check({ seen }) {
          const path = reached?.replace(/\?.*/, "");
          if (path === undefined || target.startsWith("/strip")) return;
          assertEquals(seen[0]?.header("x-path"), path);
        },
      })),
      { gateway, upstream },
    );
  },
);
