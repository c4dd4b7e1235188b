/**
 * `ffuf` with a list of paths that mean something else to somebody: none may reach what the policy guards, and none may be an error of
 * the gateway's own.
 *
 * @module
 */

import { join } from "@std/path";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { output } from "./setting.ts";

const DOTS = [
  "..",
  "%2e%2e",
  ".%2e",
  "%2E.",
  "..;",
  "..%00",
  "..%0d",
  "%252e%252e",
  "..%c0%af",
  "%c0%ae%c0%ae",
  "..%ef%bc%8f",
  "....",
  "..%09",
  "..%20",
];
const SLASHES = ["/", "//", "%2f", "%2F", "%5c", "\\", "/./", "%252f", ";/", "/;x/", "%u2215"];
const SECRETS = [
  "admin",
  "ADMIN",
  "%61dmin",
  "admin%20",
  "admin.",
  "admin;x",
  "admin%00",
  "%41dmin",
  "admin%2f",
  "admin/.",
  "admin//",
  "admin?x",
  "admin%3f",
  "admin%23",
];
const FRONTS = ["", "public", "public/x", "public/%2e", "static/..", "./public", "public;y"];

/** Every way of these to a guarded path. */
function words(): string[] {
  return [
    ...new Set(
      FRONTS.flatMap((front) =>
        DOTS.flatMap((dots) =>
          SLASHES.flatMap((slash) =>
            SECRETS.map((secret) => `${front}${slash}${dots}${slash}${secret}`)
          )
        )
      ),
    ),
  ];
}

/** @returns lines to print */
export async function runPaths(): Promise<string[]> {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      hookTimeoutMs: 5000,
      hardCeilingMs: 5000,
      log: { format: "json", level: "info" },
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: {
      "001-guard.ts": `export default { beforeRequest(ctx) {
        if (/^\\/admin(?:\\/|$)/.test(ctx.request.path)) ctx.reject(403, "guarded");
      } };`,
    },
  });
  const dir = await Deno.makeTempDir({ prefix: "conduit-conformance-" });
  const list = join(dir, "words");
  const report = join(dir, "report.json");
  await Deno.writeTextFile(list, words().join("\n"));
  await output("ffuf", [
    "-s",
    "-mc",
    "all",
    "-t",
    "20",
    "-w",
    list,
    "-u",
    `${gateway.url}/FUZZ`,
    "-o",
    report,
    "-of",
    "json",
  ]);
  const { results } = JSON.parse(await Deno.readTextFile(report)) as {
    results: { status: number }[];
  };
  await Deno.remove(dir, { recursive: true });
  const counts = Map.groupBy(results, ({ status }) => status);
  const guarded = upstream.seen.filter(({ target }) => /^\/+admin(?:\/|\?|$)/.test(target));
  const codes = [...counts].sort(([a], [b]) => a - b).map(([code, all]) =>
    `${all.length} × ${code}`
  );
  return [
    `ffuf: ${results.length} paths: ${
      codes.join(", ")
    }; ${guarded.length} of them reached a guarded path`,
  ];
}
