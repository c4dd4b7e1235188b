/**
 * The private folder of one running gateway: the plugin socket, the generations of plugin files, Deno's cache for the
 * host. It is 0700, has a random name and is held by a lock, so that what a killed gateway left behind is recognised and
 * removed at the next start, and never stands in its way.
 *
 * @module
 */

import { join } from "@std/path";
import { MAX_SOCKET_PATH_BYTES } from "./config_checks.ts";
import { errorText, UserError } from "./errors.ts";

const PREFIX = "conduit-";
/** What `Deno.makeTempDir` makes of the prefix; a folder of any other name is not ours to remove. */
const NAME = /^conduit-[0-9a-f]+$/;
const LOCK = "lock";
const SOCKET = "host.sock";

export interface PrivateDir {
  readonly path: string;
  /** Where the plugin socket goes. */
  readonly socketPath: string;
  /** Removes the folder and all that is in it. */
  remove(): Promise<void>;
}

/** There is no place for the private folder; the message says where it was to be, and why it cannot. */
export class PrivateDirError extends UserError {
  override readonly name = "PrivateDirError";
}

/**
 * Makes the private folder below the first of `$RUNTIME_DIRECTORY` (systemd), `$XDG_RUNTIME_DIR` and the system's folder
 * for temporary files, and removes the abandoned ones beside it.
 *
 * @throws {PrivateDirError}
 */
export async function makePrivateDir(
  env: (name: string) => string | undefined,
): Promise<PrivateDir> {
  const runtime = env("RUNTIME_DIRECTORY")?.split(":")[0] || env("XDG_RUNTIME_DIR");
  const parent = runtime && await isDirectory(runtime) ? runtime : env("TMPDIR") || "/tmp";
  try {
    checkLength(join(parent, `${PREFIX}${"0".repeat(16)}`, SOCKET));
    await removeAbandoned(parent);
    for (;;) {
      const path = await Deno.makeTempDir({ dir: parent, prefix: PREFIX });
      const dir = await hold(path);
      if (dir) return dir;
    }
  } catch (error) {
    const reason = errorText(error);
    throw new PrivateDirError(
      `cannot make a private folder in "${parent}": ${reason}; let XDG_RUNTIME_DIR or TMPDIR name another one`,
      { cause: error },
    );
  }
}

function checkLength(socketPath: string): void {
  const tooLong = new TextEncoder().encode(socketPath).length - MAX_SOCKET_PATH_BYTES;
  if (tooLong > 0) {
    throw new Error(`a Unix socket there has a path that is ${tooLong} bytes too long`);
  }
}

/** Takes the folder's lock; `undefined` where a gateway that starts just now took the folder for an abandoned one. */
async function hold(path: string): Promise<PrivateDir | undefined> {
  await Deno.chmod(path, 0o700);
  const lock = await Deno.open(join(path, LOCK), { create: true, write: true }).catch(() => {});
  await lock?.lock(true);
  if (!lock || !await isDirectory(path)) {
    lock?.close();
    return undefined;
  }
  const folder = await Deno.open(path);
  // What removes old files from /tmp passes over a folder that is locked, and all that is in it (tmpfiles.d(5)).
  await folder.lock(false);
  return {
    path,
    socketPath: join(path, SOCKET),
    async remove() {
      await Deno.remove(path, { recursive: true }).catch(() => {});
      folder.close();
      lock.close();
    },
  };
}

/**
 * Makes the folder that becomes the host's `DENO_DIR`. The Cache API and web storage ask no permission and write below
 * `location_data` there: a file in its place makes them fail, also in a Worker that a plugin starts.
 */
export async function makeDenoDir(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await Deno.writeTextFile(join(path, "location_data"), "");
}

async function removeAbandoned(parent: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(parent)) {
    if (isDirectory && NAME.test(name)) await removeIfAbandoned(join(parent, name));
  }
}

/** Removes a folder of this user whose lock nobody holds; holding it meanwhile, so that nobody begins to use it. */
async function removeIfAbandoned(path: string): Promise<void> {
  try {
    // Somebody else's folder is left alone unopened: its lock may be anything, such as a FIFO that never opens.
    if ((await Deno.lstat(path)).uid !== Deno.uid()) return;
    using lock = await Deno.open(join(path, LOCK), { write: true });
    if (await lock.tryLock(true)) await Deno.remove(path, { recursive: true });
  } catch {
    // Not one of ours, or just removed by its owner or another gateway that starts.
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return await Deno.stat(path).then((info) => info.isDirectory, () => false);
}
