/**
 * The bytes that have arrived on a connection and nobody has taken yet.
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** No response head is larger, and no buffer: so a full buffer without a complete head is an error. */
export const MAX_BUFFER_BYTES = 65_536;
const INITIAL_BUFFER_BYTES = 16_384;

export class ReadBuffer {
  bytes = new Uint8Array(INITIAL_BUFFER_BYTES);
  /** Unread bytes are `bytes[start..end)`. */
  start = 0;
  end = 0;
  #text: Buffer | undefined;

  get length(): number {
    return this.end - this.start;
  }

  /** The space for the next read; moves what is unread to the front, and doubles where the last read filled the buffer. */
  room(): Uint8Array<ArrayBuffer> {
    if (this.end === this.bytes.length) {
      const unread = this.bytes.subarray(this.start, this.end);
      if (this.bytes.length < MAX_BUFFER_BYTES) this.#replace(this.bytes.length * 2);
      this.bytes.set(unread);
      this.start = 0;
      this.end = unread.length;
    } else if (this.start === this.end) {
      this.start = this.end = 0;
    }
    return this.end === 0 ? this.bytes : this.bytes.subarray(this.end);
  }

  /** Removes the first `lengthBytes` unread bytes and returns a copy of them. */
  take(lengthBytes: number): Uint8Array<ArrayBuffer> {
    const taken = this.bytes.slice(this.start, this.start + lengthBytes);
    this.start += lengthBytes;
    return taken;
  }

  /** The bytes `[from, to)` as a string of the same code units. `TextDecoder("latin1")` is windows-1252 and changes some. */
  latin1(from: number, to: number): string {
    this.#text ??= Buffer.from(this.bytes.buffer);
    return this.#text.toString("latin1", from, to);
  }

  /** Forgets everything, and the memory a large body needed. */
  reset(): void {
    this.start = this.end = 0;
    if (this.bytes.length > INITIAL_BUFFER_BYTES) this.#replace(INITIAL_BUFFER_BYTES);
  }

  #replace(lengthBytes: number): void {
    this.bytes = new Uint8Array(lengthBytes);
    this.#text = undefined;
  }
}
