/**
 * The secret by which a host service proves to the gateway that it may see what the gateway's user sees: a file beside the socket, which
 * only that user can read.
 *
 * @module
 */

import { exists } from "../plugin_files.ts";

/** Where the secret for the socket at `path` lies. */
function secretPath(path: string): string {
  return `${path}.secret`;
}

/** Writes a new one; the file is there in full or not at all. */
export async function writeSecret(path: string): Promise<string> {
  const secret = crypto.getRandomValues(new Uint8Array(32)).toHex();
  const draft = `${secretPath(path)}.${Deno.pid}`;
  await Deno.remove(draft).catch(() => {});
  await Deno.writeTextFile(draft, secret, { createNew: true, mode: 0o600 });
  await Deno.rename(draft, secretPath(path));
  return secret;
}

/** Whether socket and secret lie where a service looks for them. */
export async function areThere(path: string): Promise<boolean> {
  return await exists(path) && await exists(secretPath(path));
}

export async function removeSecret(path: string): Promise<void> {
  await Deno.remove(secretPath(path)).catch(() => {});
}

/**
 * Reads it. Whoever else could have written it could also be listening on the socket, and would get the plugins' requests.
 *
 * @throws {Error} where there is none, or it is not this user's alone
 */
export async function readSecret(path: string): Promise<string> {
  for (const each of [path, secretPath(path)]) {
    const { uid, mode } = await Deno.lstat(each);
    if (uid !== Deno.uid() && uid !== 0) throw new Error(`${each} belongs to another user`);
    if (((mode ?? 0) & 0o077) !== 0) throw new Error(`${each} is open to other users`);
  }
  return await Deno.readTextFile(secretPath(path));
}
