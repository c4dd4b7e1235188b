import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import type { Log } from "../../gateway/log.ts";
import { copyPlugins, type PluginFiles } from "../../gateway/plugin_files.ts";
import { watchPlugins } from "../../gateway/plugin_watch.ts";
import { scratch } from "../support/conduit.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

Deno.test("a folder that was emptied before the first look has changed", async () => {
  await using dir = await scratch({ "plugins/001-auth.ts": "", "copies/.keep": "" });
  const [pluginsDir, root] = [join(dir.path, "plugins"), join(dir.path, "copies")];
  const current = await copyPlugins(pluginsDir, root);
  await Deno.remove(join(pluginsDir, "001-auth.ts"));
  const ending = new AbortController();
  const seen = Promise.withResolvers<PluginFiles>();
  const watching = watchPlugins(pluginsDir, {
    root,
    current,
    signal: ending.signal,
    log: SILENT,
    onChange: seen.resolve,
  });
  const timer = setTimeout(() => seen.reject(new Error("nobody noticed")), 10_000);
  assertEquals((await seen.promise.finally(() => ending.abort())).files, {});
  clearTimeout(timer);
  await watching;
});
