/**
 * The set of plugins that went live last in any of several gateway processes, in the parent's private folder: for the process that is started
 * while a broken file lies in `pluginsDir`.
 *
 * @module
 */

import { join } from "@std/path";
import { copyPlugins } from "../plugin_files.ts";

/** A link to the copy that counts. */
const CURRENT = "current";
/** Older ones may just be copied by a process that starts. */
const KEPT_COPIES = 8;

/** @returns the folder with that set; `undefined` while there is none */
export async function lastGoodIn(dir: string): Promise<string | undefined> {
  return await Deno.realPath(join(dir, CURRENT)).catch(() => undefined);
}

/** Keeps a copy of the set in `path`, and makes it the one that counts. */
export async function keepLastGood(dir: string, path: string): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
  // Another process may have written the same copy at the same time.
  const copy = await copyPlugins(path, dir).catch(() => copyPlugins(path, dir));
  const draft = join(dir, `${CURRENT}-${Deno.pid}`);
  await Deno.remove(draft).catch(() => {});
  await Deno.symlink(copy.path, draft);
  await Deno.rename(draft, join(dir, CURRENT));
  await prune(dir, copy.path);
}

async function prune(dir: string, current: string): Promise<void> {
  const copies: { readonly path: string; readonly age: number }[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = join(dir, name);
    const info = isDirectory && await Deno.lstat(path).catch(() => undefined);
    if (info && path !== current) copies.push({ path, age: info.ctime?.getTime() ?? 0 });
  }
  const old = copies.sort((a, b) => a.age - b.age).slice(0, -KEPT_COPIES);
  for (const { path } of old) await Deno.remove(path, { recursive: true }).catch(() => {});
}
