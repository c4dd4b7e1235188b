/**
 * What an executable brings along beside its own code, in the folder `embedded/` beside the main module: the bundles of the plugin host and
 * the Deno that runs it. A checkout has no such folder.
 *
 * @module
 */

import { readIfThere } from "./plugin_files.ts";

/** The Deno that this program was built with. */
export interface ShippedDeno {
  readonly version: string;
  /** Of the program, in hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
  /** The program, compressed with zstd (RFC 8878); `conduit-slim` has none. */
  readonly archive?: URL;
}

/** `embedded/manifest.json`. */
export interface Manifest {
  readonly deno: Omit<ShippedDeno, "archive"> & {
    /** The name of the archive in `embedded/`. */
    readonly archive?: string;
  };
}

/** Below the folder of the main module. */
export const EMBEDDED = "embedded/";
export const MANIFEST = "manifest.json";

/** @param root where the main module lies @returns `undefined` where it runs from source */
export async function readShipped(root: URL): Promise<ShippedDeno | undefined> {
  const dir = new URL(EMBEDDED, root);
  const text = await readIfThere(new URL(MANIFEST, dir));
  if (text === undefined) return undefined;
  const { deno: { archive, ...deno } }: Manifest = JSON.parse(text);
  return { ...deno, ...(archive === undefined ? {} : { archive: new URL(archive, dir) }) };
}
