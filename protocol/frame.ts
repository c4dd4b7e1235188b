/**
 * The frame codec: a 4-byte big-endian length, then that many bytes of UTF-8 JSON holding one object. Both directions are
 * bounded by `maxFrameBytes`, and whatever is not a frame ends in a `FrameError`: the connection is to be dropped.
 *
 * @module
 */

/** The default bound on the JSON part of a frame. */
export const MAX_FRAME_BYTES = 8 * 1024 * 1024;

const HEADER_BYTES = 4;
const encoder = new TextEncoder();
const EMPTY = new Uint8Array(0);

/** Bytes that are not a frame, or a value too large for one. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/**
 * One frame holding `value`.
 *
 * @throws {FrameError} when the JSON is longer than `maxFrameBytes`
 */
export function encodeFrame(
  value: object,
  maxFrameBytes: number = MAX_FRAME_BYTES,
): Uint8Array<ArrayBuffer> {
  const json = JSON.stringify(value);
  // Most are ASCII, where a UTF-16 unit is one byte. Of others a unit takes at most three.
  let frame = room(HEADER_BYTES + json.length);
  let { read, written } = encoder.encodeInto(json, frame.subarray(HEADER_BYTES));
  if (read < json.length) {
    frame = room(HEADER_BYTES + json.length * 3);
    ({ written } = encoder.encodeInto(json, frame.subarray(HEADER_BYTES)));
  }
  if (written > maxFrameBytes) {
    throw new FrameError(`a frame of ${written} bytes is over the limit of ${maxFrameBytes}`);
  }
  for (let at = 0; at < HEADER_BYTES; at++) frame[at] = written >>> (8 * (HEADER_BYTES - 1 - at));
  if (frame.buffer === slab.buffer) slabUsed += HEADER_BYTES + written;
  return frame.subarray(0, HEADER_BYTES + written);
}

/** Small frames are cut from one buffer: making one for each takes longer than filling it. */
const SLAB_BYTES = 64 * 1024;
let slab = new Uint8Array(SLAB_BYTES);
let slabUsed = 0;

function room(bytes: number): Uint8Array<ArrayBuffer> {
  if (bytes > SLAB_BYTES / 8) return new Uint8Array(bytes);
  if (slabUsed + bytes > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  return slab.subarray(slabUsed, slabUsed + bytes);
}

const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const REPLACEMENT = "\ufffd";

/**
 * The text of these bytes. The lenient decoder is several times as fast, and leaves a mark where they are not UTF-8.
 *
 * @throws {TypeError} where they are not
 */
function utf8(bytes: Uint8Array): string {
  const text = lenient.decode(bytes);
  return text.includes(REPLACEMENT) ? strict.decode(bytes) : text;
}

/** Cuts a byte stream into frames. One decoder serves one connection; after an error it stays broken. */
export class FrameDecoder {
  readonly #maxFrameBytes: number;
  /** Its first `#heldBytes` are the unfinished frame; it grows by doubling, so a frame in many pieces takes linear time. */
  #held: Uint8Array = EMPTY;
  #heldBytes = 0;
  #broken: FrameError | undefined;

  constructor(maxFrameBytes: number = MAX_FRAME_BYTES) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Bytes of an unfinished frame that are held back: never more than one frame. */
  get bufferedBytes(): number {
    return this.#heldBytes;
  }

  /**
   * The objects of every frame that `chunk` completes. Does not keep `chunk`.
   *
   * @throws {FrameError} on a zero or too large length, bad UTF-8, bad JSON, or JSON that is not an object
   */
  push(chunk: Uint8Array): object[] {
    if (this.#broken) throw this.#broken;
    try {
      return this.#push(chunk);
    } catch (error) {
      this.#drop();
      this.#broken = error instanceof FrameError ? error : new FrameError("a frame is not valid", {
        cause: error,
      });
      throw this.#broken;
    }
  }

  #push(chunk: Uint8Array): object[] {
    const bytes = this.#heldBytes === 0 ? chunk : this.#hold(chunk);
    const objects: object[] = [];
    let at = 0;
    while (bytes.length - at >= HEADER_BYTES) {
      const length = uint32(bytes, at);
      if (length === 0) throw new FrameError("a frame has length 0");
      if (length > this.#maxFrameBytes) {
        throw new FrameError(
          `a frame of ${length} bytes is over the limit of ${this.#maxFrameBytes}`,
        );
      }
      const end = at + HEADER_BYTES + length;
      if (end > bytes.length) break;
      objects.push(this.#parse(bytes.subarray(at + HEADER_BYTES, end)));
      at = end;
    }
    if (at > 0 || this.#heldBytes === 0) {
      this.#drop();
      if (at < bytes.length) this.#hold(bytes.subarray(at));
    }
    return objects;
  }

  /** Adds `bytes` to what is held, and gives all of it. */
  #hold(bytes: Uint8Array): Uint8Array {
    const total = this.#heldBytes + bytes.length;
    if (total > this.#held.length) {
      const larger = new Uint8Array(Math.max(total, this.#held.length * 2));
      larger.set(this.#held);
      this.#held = larger;
    }
    this.#held.set(bytes, this.#heldBytes);
    this.#heldBytes = total;
    return this.#held.subarray(0, total);
  }

  #drop(): void {
    this.#held = EMPTY;
    this.#heldBytes = 0;
  }

  #parse(json: Uint8Array): object {
    let value: unknown;
    try {
      value = JSON.parse(utf8(json));
    } catch (cause) {
      throw new FrameError("a frame is not UTF-8 JSON", { cause });
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new FrameError("a frame is not a JSON object");
    }
    return value;
  }
}

function uint32(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = 0; i < HEADER_BYTES; i++) value = value * 256 + (bytes[at + i] ?? 0);
  return value;
}
