/**
 * What the main thread and the thread that runs a target share: the input that is being run.
 *
 * @module
 */

import { MAX_INPUT_BYTES } from "./mutate.ts";

export interface WorkerInit {
  readonly target: string;
  readonly seed: number;
  readonly seconds: number;
  readonly progress: SharedArrayBuffer;
}

const HEAD_BYTES = 8;

export function newProgress(): SharedArrayBuffer {
  return new SharedArrayBuffer(HEAD_BYTES + MAX_INPUT_BYTES);
}

/** `head`: how many inputs were begun, and the length of the last one, which is `shown`. */
export function viewOf(progress: SharedArrayBuffer) {
  return { head: new Int32Array(progress, 0, 2), shown: new Uint8Array(progress, HEAD_BYTES) };
}

export function readProgress(progress: SharedArrayBuffer): { runs: number; input: Uint8Array } {
  const { head, shown } = viewOf(progress);
  const [runs = 0, length = 0] = head;
  return { runs, input: shown.slice(0, length) };
}
