/**
 * What the host's main thread and an isolate tell each other, over a `MessagePort` that plugin code never sees.
 *
 * @module
 */

import type { LoadProblem, PluginManifest } from "../protocol/messages.ts";
import type { Json } from "../protocol/snapshot.ts";

/** The first and only message to a new isolate, together with the port. */
export interface IsolateInit {
  readonly isolate: number;
  readonly generation: number;
  readonly socket: string;
  readonly secret: string;
  readonly version: string;
  readonly maxFrameBytes: number;
  /** The folder of this generation's files, with a final `/`. */
  readonly dirUrl: string;
  readonly files: readonly string[];
  readonly pluginConfig: { readonly [plugin: string]: Json };
  readonly env: Readonly<Record<string, string>>;
  /** See `start_mark.ts`. */
  readonly mark: SharedArrayBuffer;
  /** See `held_results.ts`. */
  readonly held: SharedArrayBuffer;
}

export type IsolateReport =
  /** This file is next: should nothing more come, it was the one. */
  | { readonly kind: "loading"; readonly file: string }
  | { readonly kind: "ready"; readonly plugins: readonly PluginManifest[] }
  | LoadProblem & { readonly kind: "failed"; readonly others?: readonly LoadProblem[] };
