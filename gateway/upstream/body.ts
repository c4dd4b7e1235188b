/**
 * Response bodies in their three framings (RFC 9112 §6 and §7), decoded from a `ReadBuffer` without I/O.
 *
 * @module
 */

import { checkFieldLine, findLineEnd, type Framing, Malformed } from "./reader.ts";
import type { ReadBuffer } from "./read_buffer.ts";

const MAX_CHUNK_LINE_BYTES = 1024;
const MAX_TRAILER_BYTES = 16_384;
const LF = 10;
const CR = 13;
const SP = 32;
const TAB = 9;
const SEMICOLON = 59;

/** Takes one body out of a buffer that fills up piece by piece. */
export interface BodyDecoder {
  /** All of the body has been decoded. A close-delimited one ends when the caller sees the end of the connection. */
  readonly done: boolean;
  readonly closeDelimited: boolean;
  /**
   * Takes whatever is decodable now; the result may be empty.
   *
   * @throws {Malformed}
   */
  decode(input: ReadBuffer): Uint8Array<ArrayBuffer>;
}

export function bodyDecoder(framing: Framing): BodyDecoder {
  if (framing.kind === "chunked") return new ChunkedDecoder();
  return new PlainDecoder(framing.kind === "length" ? framing.lengthBytes : undefined);
}

class PlainDecoder implements BodyDecoder {
  readonly closeDelimited: boolean;
  #leftBytes: number;

  constructor(lengthBytes: number | undefined) {
    this.closeDelimited = lengthBytes === undefined;
    this.#leftBytes = lengthBytes ?? Infinity;
  }

  get done(): boolean {
    return this.#leftBytes === 0;
  }

  decode(input: ReadBuffer): Uint8Array<ArrayBuffer> {
    const piece = input.take(Math.min(this.#leftBytes, input.length));
    this.#leftBytes -= piece.length;
    return piece;
  }
}

class ChunkedDecoder implements BodyDecoder {
  readonly closeDelimited = false;
  #state: "size" | "data" | "data end" | "trailer" | "done" = "size";
  #leftBytes = 0;
  #trailerBytes = 0;

  get done(): boolean {
    return this.#state === "done";
  }

  decode(input: ReadBuffer): Uint8Array<ArrayBuffer> {
    // Data moves down over the framing between it, so that many small chunks cost one copy and one piece.
    const from = input.start;
    let to = from;
    while (this.#step(input)) {
      if (this.#state !== "data") continue;
      const size = Math.min(this.#leftBytes, input.length);
      input.bytes.copyWithin(to, input.start, input.start + size);
      to += size;
      input.start += size;
      this.#leftBytes -= size;
      if (this.#leftBytes > 0) break;
      this.#state = "data end";
    }
    return input.bytes.slice(from, to);
  }

  /** Reads framing up to the next chunk's data; false where more bytes are needed or the body is over. */
  #step(input: ReadBuffer): boolean {
    switch (this.#state) {
      case "data":
        return input.length > 0;
      case "done":
        return false;
      case "data end":
        if (input.length < 2) return false;
        if (input.bytes[input.start] !== CR || input.bytes[input.start + 1] !== LF) {
          throw new Malformed("sent a chunk longer than its size");
        }
        input.start += 2;
        this.#state = "size";
        return true;
      case "size":
        return this.#line(input, MAX_CHUNK_LINE_BYTES, (end) => {
          this.#leftBytes = parseChunkLine(input.bytes, input.start, end);
          this.#state = this.#leftBytes === 0 ? "trailer" : "data";
        });
      case "trailer":
        return this.#line(input, MAX_TRAILER_BYTES - this.#trailerBytes, (end) => {
          this.#trailerBytes += end + 2 - input.start;
          if (end === input.start) this.#state = "done";
          else checkFieldLine(input.bytes, input.start, end);
        });
    }
  }

  #line(input: ReadBuffer, maxBytes: number, take: (end: number) => void): boolean {
    const end = findLineEnd(input, input.start);
    if ((end === -1 ? input.end : end) - input.start > maxBytes) {
      throw new Malformed("sent a chunk line or trailer that is too long");
    }
    if (end === -1) return false;
    take(end);
    input.start = end + 2;
    return true;
  }
}

/** RFC 9112 §7.1: 1–16 hex digits, then nothing or extensions, which are ignored but may hide no control character. */
function parseChunkLine(bytes: Uint8Array, from: number, to: number): number {
  let size = 0;
  let at = from;
  for (; at < to; at++) {
    const digit = hexValue(bytes[at] ?? 0);
    if (digit === -1) break;
    size = size * 16 + digit;
  }
  if (at === from || at - from > 16 || !Number.isSafeInteger(size)) {
    throw new Malformed("sent an invalid chunk size");
  }
  let blank = at;
  while (blank < to && (bytes[blank] === SP || bytes[blank] === TAB)) blank++;
  if (at < to && bytes[blank] !== SEMICOLON) throw new Malformed("sent an invalid chunk size");
  for (; at < to; at++) {
    const byte = bytes[at] ?? 0;
    if ((byte < SP && byte !== TAB) || byte === 127) {
      throw new Malformed("sent a control character in a chunk extension");
    }
  }
  return size;
}

function hexValue(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
