/**
 * Results that an isolate has not written yet, in memory that it shares with the host's main thread. The results of a chain
 * of hooks go out in one write when it has ended; if a later hook of it blocks or ends the thread, the main thread finds
 * here what the earlier ones came to.
 *
 * @module
 */

import { decodeFromIsolate, type HookResult } from "../protocol/messages.ts";
import { FrameDecoder } from "../protocol/frame.ts";

const SIZE_BYTES = 64 * 1024;
/** Before the frames stands how many bytes of them count. */
const HEAD_BYTES = Int32Array.BYTES_PER_ELEMENT;

/** The shared memory of one isolate. */
export function newHeldMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(SIZE_BYTES);
}

/** The isolate's side. */
export class HeldWriter {
  readonly #length: Int32Array;
  readonly #bytes: Uint8Array;
  #usedBytes = 0;

  get usedBytes(): number {
    return this.#usedBytes;
  }

  constructor(memory: SharedArrayBuffer) {
    this.#length = new Int32Array(memory, 0, 1);
    this.#bytes = new Uint8Array(memory, HEAD_BYTES);
  }

  /** Keeps a copy of one frame. @returns `false` where there is no room for it */
  add(frame: Uint8Array): boolean {
    if (this.#usedBytes + frame.length > this.#bytes.length) return false;
    this.#bytes.set(frame, this.#usedBytes);
    this.#usedBytes += frame.length;
    Atomics.store(this.#length, 0, this.#usedBytes);
    return true;
  }

  /** All of it has been written. */
  clear(): void {
    this.#usedBytes = 0;
    Atomics.store(this.#length, 0, 0);
  }
}

/** The main thread's side. */
export class HeldReader {
  readonly #length: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.#length = new Int32Array(memory, 0, 1);
    this.#bytes = new Uint8Array(memory, HEAD_BYTES);
  }

  /** What is there now; some of it may have been written a moment ago. Nothing of it where the isolate is at work on it. */
  read(): HookResult[] {
    const bytes = this.#bytes.slice(0, Atomics.load(this.#length, 0));
    try {
      return new FrameDecoder(SIZE_BYTES).push(bytes).map(decodeFromIsolate)
        .filter((each) => each.type === "result");
    } catch {
      return [];
    }
  }
}
