/**
 * The private folder of one running gateway: the plugin socket, the generations of plugin files, Deno's cache for the
 * host. It is 0700, has a random name and is held by a lock, so that what a killed gateway left behind is recognised and
 * removed at the next start, and never stands in its way.
 *
 * @module
 */

import { join } from "@std/path";

const PREFIX = "conduit-";
const LOCK = "lock";

export interface PrivateDir {
  readonly path: string;
  /** Removes the folder and all that is in it. */
  remove(): Promise<void>;
}

/**
 * Makes the private folder below the first of `$RUNTIME_DIRECTORY` (systemd), `$XDG_RUNTIME_DIR` and the system's folder
 * for temporary files, and removes the abandoned ones beside it.
 */
export async function makePrivateDir(
  env: (name: string) => string | undefined,
): Promise<PrivateDir> {
  const runtime = env("RUNTIME_DIRECTORY")?.split(":")[0] ?? env("XDG_RUNTIME_DIR");
  const parent = runtime && await isDirectory(runtime) ? runtime : env("TMPDIR") ?? "/tmp";
  await removeAbandoned(parent);
  const path = await Deno.makeTempDir({ dir: parent, prefix: PREFIX });
  await Deno.chmod(path, 0o700);
  const lock = await Deno.open(join(path, LOCK), { create: true, write: true });
  await lock.lock(true);
  return {
    path,
    async remove() {
      lock.close();
      await Deno.remove(path, { recursive: true }).catch(() => {});
    },
  };
}

async function removeAbandoned(parent: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(parent)) {
    if (!isDirectory || !name.startsWith(PREFIX)) continue;
    const path = join(parent, name);
    if (await isAbandoned(path)) await Deno.remove(path, { recursive: true }).catch(() => {});
  }
}

/** Whether nobody holds the folder's lock any more. One that we may not open belongs to somebody else. */
async function isAbandoned(path: string): Promise<boolean> {
  try {
    using lock = await Deno.open(join(path, LOCK), { write: true });
    return await lock.tryLock(true);
  } catch {
    return false;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return await Deno.stat(path).then((info) => info.isDirectory, () => false);
}
