/**
 * Public suites against a real gateway, on loopback: `deno run -A tests/conformance/main.ts [cache] [load] [slow] [paths]`, all of them by
 * default. The results stand in `docs/conformance.md`. Needs Node and npm; `h2load`, `slowhttptest` and `ffuf` from Debian.
 *
 * @module
 */

import { runCacheTests } from "./cache_tests.ts";
import { runLoad } from "./load.ts";
import { runPaths } from "./paths.ts";
import { runSlow } from "./slow.ts";

const SUITES: Readonly<Record<string, () => Promise<string[]>>> = {
  cache: runCacheTests,
  load: runLoad,
  slow: runSlow,
  paths: runPaths,
};

for (const name of Deno.args.length > 0 ? Deno.args : Object.keys(SUITES)) {
  const suite = SUITES[name];
  if (!suite) {
    console.error(`there is no suite "${name}", there are ${Object.keys(SUITES).join(", ")}`);
    Deno.exit(2);
  }
  for (const line of await suite()) console.log(line);
}
