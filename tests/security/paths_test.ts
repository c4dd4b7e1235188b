/** Attacks 7 to 10: one canonical path decides for the router, the plugins and the upstream alike. */
import { PATIENT } from "../support/patient.ts";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { testGateway } from "../support/gateway.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { assertEquals } from "@std/assert";

/** Where each target ends up, as the upstream sees it; `undefined`: refused with this status. */
const TARGETS: readonly (readonly [target: string, status: number, reached?: string])[] = [
  // 7: dot segments, CVE-2025-32431
  ["/public/../admin/x", 403],
  ["/public/%2e%2e/admin/x", 403],
  ["/public/.%2e/admin/x", 403],
  ["/public/%2E./admin/x", 403],
  ["/public/a/b/../../../admin/x", 403],
  ["/../../admin/x", 403],
  ["/admin/./x", 403],
  ["/admin/../public/x", 200, "/public/x"],
  // 8: what a second decoding would make of it, CVE-2025-66490
  ["/public/..%2fadmin/x", 400],
  ["/public/..%5cadmin/x", 400],
  ["/public%2f..%2fadmin/x", 400],
  ["/public/..\\admin/x", 400],
  ["/public/x%00", 400],
  ["/public/x%0d%0aX:y", 400],
  ["/public/..;/admin/x", 400],
  ["/public/..;a=b/admin/x", 400],
  ["/public/%zz", 400],
  ["/public/%2", 400],
  ["/public/x%252f..%252fadmin", 200, "/public/x%252f..%252fadmin"],
  ["/public/%252e%252e/admin", 200, "/public/%252e%252e/admin"],
  ["/public/x%3Fadmin", 200, "/public/x%3Fadmin"],
  ["/public/x%23admin", 200, "/public/x%23admin"],
  ["/public/x%3b/y", 200, "/public/x%3B/y"],
  ["/keep/a%2fb", 200, "/keep/a%2Fb"],
  ["/keep/..%2fadmin", 400],
  // 9: prefixes that are none
  ["/strip../admin/x", 404],
  ["/strip%2e%2e/admin/x", 404],
  ["/stripx", 404],
  ["/strip%2f..%2fadmin/x", 400],
  ["/strip/../admin/x", 403],
  ["/strip//admin/x", 200, "/admin/x"],
  ["/strip", 200, "/"],
  // 10: other spellings of a guarded path, CVE-2021-43557 and CVE-2021-32779
  ["//admin/x", 403],
  ["/admin//x", 403],
  ["///admin/x", 403],
  ["/%61dmin/x", 403],
  ["/%61%64%6d%69%6e/x", 403],
  ["/admin/x#y", 400],
  ["/public/x#/../admin", 400],
  ["/admin;a=b/x", 404],
  ["/ADMIN/x", 404],
  ["/admin", 403],
  ["/admin/", 403],
  ["/admin?x=/public", 403],
  // The query is not a path.
  ["/public/x?a=/../admin&b=%2e%2e%2f%00", 200, "/public/x?a=/../admin&b=%2e%2e%2f%00"],
  ["/public/x?", 200, "/public/x"],
  ["/public/x?a#b", 400],
];

Deno.test("attacks 7 to 10: no spelling of a path gets past the policy for its plain form", async () => {
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
    TARGETS.map(([target, status, reached]): Attack => ({
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
});
