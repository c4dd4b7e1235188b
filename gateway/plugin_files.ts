/**
 * The plugin files on disk, and a private copy of them for each generation. The host loads from the copies only, so what is being saved is
 * never loaded by half, and the set that loaded last is still there when a later one is broken.
 *
 * @module
 */

import { dirname, join, relative, toFileUrl } from "@std/path";
import { errorText, UserError } from "./errors.ts";

/** One private copy. */
export interface PluginFiles {
  /** Tells contents apart. */
  readonly hash: string;
  readonly path: string;
  /** The folder as a file URL with a final `/`. */
  readonly dirUrl: string;
  /** SHA-256 of each file, in hex, by its path in the folder. */
  readonly files: Readonly<Record<string, string>>;
}

const MAX_FILES = 2000;
const MAX_TOTAL_BYTES = 64 * 1024 * 1024;
/** How often a folder is read in which files go while it is read. */
const MAX_READS = 10;

/** The plugins folder cannot be read, or is no plugins folder; the message names it and says why. */
export class PluginsDirError extends UserError {
  override readonly name = "PluginsDirError";
}

/**
 * Copies `pluginsDir` into `root`, below a name made of its contents' hash.
 *
 * @throws {PluginsDirError}
 */
export async function copyPlugins(pluginsDir: string, root: string): Promise<PluginFiles> {
  const contents = await whileItChanges(pluginsDir, () => readFolder(pluginsDir)).catch((error) =>
    Promise.reject(pluginsDirError(pluginsDir, error))
  );
  const files: Record<string, string> = {};
  for (const [name, bytes] of contents) files[name] = await sha256(bytes);
  const hash = (await sha256(new TextEncoder().encode(JSON.stringify(files)))).slice(0, 16);
  const path = join(root, hash);
  if (!await exists(path)) {
    await writeCopy(contents, { root, path }).catch((error) => {
      throw new PluginsDirError(
        `pluginsDir: "${pluginsDir}" cannot be copied into "${root}": ${errorText(error)}`,
        { cause: error },
      );
    });
  }
  return { hash, path, dirUrl: `${toFileUrl(path).href}/`, files };
}

/** A copy is there in full or not at all. */
async function writeCopy(
  contents: FolderContents,
  { root, path }: { readonly root: string; readonly path: string },
): Promise<void> {
  const draft = await Deno.makeTempDir({ dir: root });
  try {
    for (const [name, bytes] of contents) {
      await Deno.mkdir(join(draft, dirname(name)), { recursive: true });
      await Deno.writeFile(join(draft, name), bytes);
    }
    await Deno.rename(draft, path);
  } catch (error) {
    await Deno.remove(draft, { recursive: true }).catch(() => {});
    // In the same words each time, so that the log has them once.
    throw new Error(errorText(error).replaceAll(draft, path), { cause: error });
  }
}

/** What went wrong with the folder, for whoever is to put it right. */
export function pluginsDirError(dir: string, error: unknown): PluginsDirError {
  if (error instanceof PluginsDirError) return error;
  const isAbsent = error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.NotADirectory;
  const reason = isAbsent ? "is not a folder; create it, or name another one" : errorText(error);
  return new PluginsDirError(`pluginsDir: "${dir}" ${reason}`, { cause: error });
}

/** Removes what Deno has compiled of copies that are gone: its cache forgets nothing by itself. */
export async function pruneCompiled(denoDir: string, root: string): Promise<void> {
  const compiled = join(denoDir, "gen", "file", root);
  if (!await exists(compiled)) return;
  for await (const { name } of Deno.readDir(compiled)) {
    if (!await exists(join(root, name))) {
      await Deno.remove(join(compiled, name), { recursive: true });
    }
  }
}

/** Reads a folder anew where something in it was gone in the middle of that; not the folder itself. */
export async function whileItChanges<T>(dir: string, read: () => Promise<T>): Promise<T> {
  for (let reads = 1;; reads++) {
    try {
      return await read();
    } catch (error) {
      const isGone = error instanceof Deno.errors.NotFound && await exists(dir);
      if (!isGone) throw error;
      if (reads === MAX_READS) {
        throw new Error("changes so fast that it cannot be read", { cause: error });
      }
    }
  }
}

type FolderContents = readonly (readonly [name: string, bytes: Uint8Array])[];

async function readFolder(dir: string): Promise<FolderContents> {
  const contents: [string, Uint8Array][] = [];
  let totalBytes = 0;
  for await (const path of walk(dir)) {
    totalBytes += (await Deno.stat(path)).size;
    if (contents.length >= MAX_FILES || totalBytes > MAX_TOTAL_BYTES) {
      throw new Error(`holds more than ${MAX_FILES} files or ${MAX_TOTAL_BYTES} bytes`);
    }
    const name = relative(dir, path);
    const bytes = await Deno.readFile(path);
    if (SCRIPT.test(name) && !isUtf8(bytes)) {
      throw new Error(`holds "${name}", which is not UTF-8 text; save it as that`);
    }
    contents.push([name, bytes]);
  }
  return contents.sort(([a], [b]) => a < b ? -1 : 1);
}

/** Every file that plugins may need: no tests, nothing hidden, no `node_modules`. Links are followed, but not in a ring. */
export async function* walk(dir: string, above: readonly string[] = []): AsyncGenerator<string> {
  const here = await Deno.realPath(dir);
  if (above.includes(here)) return;
  for await (const { name } of Deno.readDir(dir)) {
    if (name.startsWith(".") || name === "node_modules" || /[._]test\.[a-z]+$/.test(name)) continue;
    const path = join(dir, name);
    const info = await Deno.stat(path).catch(() => undefined); // gone again, or a dangling link
    if (info?.isDirectory) yield* walk(path, [...above, here]);
    else if (info?.isFile) yield path;
    else if (above.length === 0 && SCRIPT.test(name) && await isStillThere(path)) {
      throw new Error(`holds "${name}", which is no file that can be read; mend or remove it`);
    }
  }
}

/** The name of what is most likely a plugin: left out in silence, its policy would be gone. */
const SCRIPT = /^[^_/][^/]*\.(?:ts|mts|js|mjs)$/;

/** Deno would put U+FFFD in the place of every other byte, without a word. */
function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Or its name is not Unicode, so that nothing can be asked of it. */
async function isStillThere(path: string): Promise<boolean> {
  return path.includes("\ufffd") || await Deno.lstat(path).then(() => true, () => false);
}

export async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

export async function readIfThere(file: string | URL): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** In hex. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes))).toHex();
}
