/**
 * The Deno that an executable brings along, on the disk: a program can only be started from there. A copy is believed after its
 * SHA-256 has been compared, at every start; everything else that lies in its place is replaced.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { createZstdDecompress } from "node:zlib";
import { Readable } from "node:stream";
import { join } from "@std/path";
import { errorText } from "./errors.ts";
import type { ShippedDeno } from "./shipped.ts";
import { pause } from "./waiting.ts";

const DRAFT = ".draft";
/** Nobody else may write to what we run, and to where it lies. */
const OTHERS_WRITE = 0o022;

/** Writing takes seconds; a draft that has lain for this long is nobody's. */
const ABANDONED_MS = 600_000;
/** Between two tries to run what is busy, and how many there are. */
const BUSY_PAUSE_MS = 10;
const BUSY_ATTEMPTS = 100;

/** What was found in a folder or done there; `path` where there is a program that may be run. */
export type Cached =
  | { readonly path: string }
  /** `damaged` tells that there is a file, and it is not ours. */
  | { readonly path?: undefined; readonly reason: string; readonly damaged: boolean };

/** The copy in `folder`, if it is whole, executable and nobody else's. */
export async function cachedDeno(shipped: ShippedDeno, folder: string): Promise<Cached> {
  const path = join(folder, fileName(shipped));
  try {
    await checkFolder(folder);
    const { isFile, size, mode } = await checkOwner(path);
    const reason = !isFile
      ? "is no file"
      : size !== shipped.sizeBytes
      ? `has ${size} bytes and not ${shipped.sizeBytes}`
      : ((mode ?? 0) & 0o100) === 0
      ? "is not executable"
      : await hashOf(path) !== shipped.sha256
      ? "has another SHA-256"
      : undefined;
    if (reason) return { damaged: true, reason };
    await checkRuns(path);
    return { path };
  } catch (error) {
    const isAbsent = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory;
    return { damaged: !isAbsent, reason: isAbsent ? "is not there" : errorText(error) };
  }
}

/**
 * Writes a copy into `folder`, which is made if it is not there. Another start that does the same at the same time is not disturbed: each
 * writes a draft, and the last one that renames it has put the same bytes there.
 *
 * @throws {Error} saying why it cannot be, without the folder's name
 */
export async function unpackDeno(
  shipped: ShippedDeno & { readonly archive: URL },
  folder: string,
): Promise<string> {
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  await checkFolder(folder);
  const path = join(folder, fileName(shipped));
  await removeAbandonedDrafts(folder);
  const draft = `${path}.${crypto.randomUUID()}${DRAFT}`;
  try {
    await writeProgram(shipped, draft);
    await checkRuns(draft);
    await Deno.rename(draft, path);
    return path;
  } catch (error) {
    await Deno.remove(draft).catch(() => {});
    throw error;
  }
}

/** Another version, and another build of the same, has another name, so that they do not take turns in replacing each other. */
function fileName({ version, sha256 }: ShippedDeno): string {
  return `deno-${version}-${sha256.slice(0, 16)}`;
}

async function writeProgram(
  { archive, sha256 }: ShippedDeno & { readonly archive: URL },
  path: string,
): Promise<void> {
  using file = await Deno.open(path, { createNew: true, write: true, mode: 0o700 });
  const chunks = Readable.from([await Deno.readFile(archive)]).pipe(createZstdDecompress());
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) at += await file.write(chunk.subarray(at));
  }
  await file.sync();
  // What lies on the disk counts, not what went there.
  if (await hashOf(path) !== sha256) {
    throw new Error("what this executable brings along is damaged");
  }
}

/** What a start left behind that was killed while it wrote: nobody has written to it for long. */
async function removeAbandonedDrafts(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.startsWith("deno-") || !name.endsWith(DRAFT)) continue;
    const path = join(folder, name);
    try {
      const { mtime } = await Deno.lstat(path);
      if (Date.now() - (mtime?.getTime() ?? 0) > ABANDONED_MS) await Deno.remove(path);
    } catch {
      // Its owner has renamed or removed it.
    }
  }
}

/** systemd's own may be a link (`DynamicUser=`): what it leads to counts. */
async function checkFolder(path: string): Promise<void> {
  await checkOwner(await Deno.realPath(path));
}

async function checkOwner(path: string): Promise<Deno.FileInfo> {
  const info = await Deno.lstat(path);
  const isTrusted = info.uid === Deno.uid() || info.uid === 0;
  if (!isTrusted) throw new Error("belongs to another user");
  if (!info.isSymlink && ((info.mode ?? 0) & OTHERS_WRITE) !== 0) {
    throw new Error("others may write to it");
  }
  return info;
}

async function hashOf(path: string): Promise<string> {
  using file = await Deno.open(path);
  const hash = createHash("sha256");
  for await (const chunk of file.readable) hash.update(chunk);
  return hash.digest("hex");
}

/** A file system that is mounted `noexec` tells so to who tries, and to nobody else. @throws {Error} */
async function checkRuns(path: string): Promise<void> {
  for (let attempt = 1;; attempt++) {
    try {
      const { success } = await new Deno.Command(path, {
        args: ["--version"],
        clearEnv: true,
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).output();
      if (success) return;
    } catch (error) {
      // ETXTBSY: a child of this process that is about to begin its own program holds what was just written open until then
      // (execve(2)). Deno has no other word for it.
      if (errorText(error).endsWith("(os error 26)") && attempt < BUSY_ATTEMPTS) {
        await pause(BUSY_PAUSE_MS);
        continue;
      }
      const reason = errorText(error).replace(/^Failed to spawn '.*': /, "");
      throw new Error(`programs there cannot be run: ${reason}`, { cause: error });
    }
    throw new Error("the program there does not run");
  }
}
