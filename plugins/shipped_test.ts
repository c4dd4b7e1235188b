import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { isolateLog } from "../plugin-host/isolate_log.ts";
import { loadPlugins, pluginFiles } from "../plugin-host/loader.ts";
import type { Services } from "../plugin-host/mod.ts";

const DIR = new URL("./", import.meta.url);

Deno.test("the shipped plugins load together, in the order of their names, and read no bodies", async () => {
  const loaded = await loadPlugins(DIR, await pluginFiles(DIR), {
    config: { "001-auth": { tokens: { alice: { token: "alice-secret" } } } },
    env: {},
    services: {} as Services,
    log: () => isolateLog(() => {}),
  });
  assertEquals(loaded.map(({ manifest }) => [manifest.name, manifest.readsBodies]), [
    ["001-auth", false],
    ["002-logging", false],
    ["003-header-rewrite", false],
    ["004-route-control", false],
  ]);
});

Deno.test("each shipped plugin has fewer than 60 lines and its own test", async () => {
  for (const file of await pluginFiles(DIR)) {
    const path = fromFileUrl(new URL(file, DIR));
    const lines = (await Deno.readTextFile(path)).split("\n").length - 1;
    assert(lines < 60, `${file} has ${lines} lines`);
    assert((await Deno.stat(path.replace(".ts", "_test.ts"))).isFile);
  }
});
