/**
 * Where log lines go: standard output, written beside serving. Whoever reads it may be slow, gone, or a disk that is full; the
 * gateway then serves on, and says how many lines that cost as soon as one can be written again.
 *
 * @module
 */

import { errorText } from "./errors.ts";
import { within } from "./waiting.ts";

export interface LogOutputOptions {
  readonly stream: { write(bytes: Uint8Array): Promise<number> };
  /** Other processes write to the same stream. */
  readonly isShared?: boolean | undefined;
  /** Writing works again. */
  readonly onBack: (lost: { readonly lines: number; readonly reason: string }) => void;
}

/** What may wait for a reader that is slow, in UTF-16 code units. */
const MAX_WAITING_CHARS = 1024 * 1024;
/** How long the end of the process waits for a reader. */
const LAST_LINES_LIMIT_MS = 1000;
/** What a pipe takes as a whole, however full it is and whoever else writes to it (PIPE_BUF, pipe(7)). */
const ATOMIC_BYTES = 4096;
const NEWLINE = 0x0a;

const encoder = new TextEncoder();

export class LogOutput {
  readonly #options: LogOutputOptions;
  #waiting = "";
  #writing: Promise<void> | undefined;
  #lostLines = 0;
  /** Of these, what `onBack` was not told of yet. */
  #untoldLines = 0;
  #reason = "";
  /** What was written last is the beginning of a line. */
  #isBroken = false;

  constructor(options: LogOutputOptions) {
    this.#options = options;
  }

  /** Lines that were never written, in the life of this process. */
  get lostLines(): number {
    return this.#lostLines;
  }

  /** Takes whole lines; never throws and never waits. */
  write(lines: string): void {
    if (this.#waiting.length + lines.length > MAX_WAITING_CHARS) {
      return this.#lose(count(lines), "nobody reads them fast enough");
    }
    this.#waiting += lines;
    this.#writing ??= this.#drain();
  }

  /** Resolves when all is written, or cannot be within a second. */
  async end(): Promise<void> {
    if (this.#writing) await within(LAST_LINES_LIMIT_MS, this.#writing);
  }

  async #drain(): Promise<void> {
    while (this.#waiting !== "") {
      const lines = this.#waiting;
      this.#waiting = "";
      await this.#writeAll(encoder.encode(this.#isBroken ? `\n${lines}` : lines));
    }
    this.#writing = undefined;
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    const { stream, isShared = false, onBack } = this.#options;
    let at = 0;
    try {
      while (at < bytes.length) {
        const end = isShared ? endOfChunk(bytes, at) : bytes.length;
        at += await stream.write(bytes.subarray(at, end));
      }
    } catch (error) {
      if (at > 0) this.#isBroken = bytes[at - 1] !== NEWLINE;
      return this.#lose(count(bytes.subarray(at)), errorText(error));
    }
    this.#isBroken = false;
    if (this.#untoldLines === 0) return;
    const lost = { lines: this.#untoldLines, reason: this.#reason };
    this.#untoldLines = 0;
    onBack(lost);
  }

  #lose(lines: number, reason: string): void {
    this.#lostLines += lines;
    this.#untoldLines += lines;
    this.#reason = reason;
  }
}

function count(lines: string | Uint8Array): number {
  if (typeof lines === "string") return lines.split("\n").length - 1;
  let newlines = 0;
  for (let at = lines.indexOf(NEWLINE); at >= 0; at = lines.indexOf(NEWLINE, at + 1)) newlines++;
  return newlines;
}

/**
 * Behind the last line that fits into `ATOMIC_BYTES`, or behind the first one if that is too long: such a line can be broken by
 * another process's where the reader is so slow that the pipe is full.
 */
function endOfChunk(bytes: Uint8Array, from: number): number {
  if (bytes.length - from <= ATOMIC_BYTES) return bytes.length;
  const last = bytes.lastIndexOf(NEWLINE, from + ATOMIC_BYTES - 1);
  return (last >= from ? last : bytes.indexOf(NEWLINE, from)) + 1 || bytes.length;
}
