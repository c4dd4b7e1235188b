/**
 * Reads response heads (RFC 9112 §4 and §5), strictly: whatever two parsers could understand differently is refused.
 *
 * Pure: it works on the bytes in a `ReadBuffer` and does no I/O.
 *
 * @module
 */

import type { HeaderList } from "./origin.ts";
import { MAX_BUFFER_BYTES, type ReadBuffer } from "./read_buffer.ts";

const MAX_FIELDS = 256;
const LF = 10;
const CR = 13;
const SP = 32;
const TAB = 9;
const COLON = 58;
const ZERO = 48;
const NINE = 57;

/** What the upstream sent is not HTTP/1.1. The message continues the sentence `upstream "…"`. */
export class Malformed extends Error {}

/** How long a body is; `length` is also used for none at all, as 0. */
export type Framing =
  | { readonly kind: "length"; readonly lengthBytes: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "close" };

export interface ResponseHead {
  readonly status: number;
  readonly headers: HeaderList;
  /** As declared; a HEAD, 204 or 304 response has no body all the same. */
  readonly framing: Framing;
  /** HTTP/1.1 without `Connection: close`. */
  readonly keepAlive: boolean;
}

/** RFC 9110 §5.6.2: a token byte maps to itself in lower case, any other byte to 0. */
const TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
  TOKEN[char.charCodeAt(0)] = char.charCodeAt(0);
  TOKEN[char.toUpperCase().charCodeAt(0)] = char.charCodeAt(0);
}

/** The end of the line that starts at `from` (where its CR stands), or -1 if it is not complete; throws for a bare LF. */
export function findLineEnd(input: ReadBuffer, from: number): number {
  const lf = input.bytes.indexOf(LF, from);
  if (lf === -1 || lf >= input.end) return -1;
  // `lf > start` keeps a CR that was already consumed from counting.
  if (lf === input.start || input.bytes[lf - 1] !== CR) throw new Malformed("sent a bare LF");
  return lf - 1;
}

/**
 * Checks the field line `[from, to)` and puts its name into lower case in place.
 *
 * @returns where the colon is
 */
export function checkFieldLine(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  for (; at < to; at++) {
    const lower = TOKEN[bytes[at] ?? 0] ?? 0;
    if (lower === 0) break;
    bytes[at] = lower;
  }
  // This covers obs-fold (a leading space), a space before the colon, an empty name and a line without a colon.
  if (at === from || at === to || bytes[at] !== COLON) {
    throw new Malformed("sent a header line without a valid name and colon");
  }
  checkText(bytes, at + 1, to);
  return at;
}

function checkText(bytes: Uint8Array, from: number, to: number): void {
  for (let at = from; at < to; at++) {
    const byte = bytes[at] ?? 0;
    if ((byte < SP && byte !== TAB) || byte === 127) {
      throw new Malformed("sent a control character in its head");
    }
  }
}

/** Reads one head after another from a buffer that fills up piece by piece; no byte is looked at twice. */
export class HeadParser {
  /** Offsets from `input.start`: the first line not yet parsed, and the first byte not yet searched for its end. */
  #line = 0;
  #searched = 0;
  #status = 0;
  #http10 = false;
  /** An interim response may end the connection too. */
  #keepAlive = true;
  /** Four offsets for each field: name from, to, value from, to. */
  #offsets: number[] = [];

  /**
   * Takes a complete head out of `input`.
   *
   * @returns `undefined` where more bytes are needed
   * @throws {Malformed}
   */
  parse(input: ReadBuffer): ResponseHead | undefined {
    const { bytes, start } = input;
    for (;;) {
      const end = findLineEnd(input, start + this.#searched);
      if (end === -1) {
        this.#searched = input.length;
        if (input.length >= MAX_BUFFER_BYTES) throw new Malformed("sent a head over 64 KiB");
        return undefined;
      }
      const line = start + this.#line;
      this.#line = this.#searched = end + 2 - start;
      if (this.#status === 0) this.#parseStatusLine(bytes, line, end);
      else if (end > line) this.#parseField(bytes, { line, end, start });
      else return this.#finish(input);
    }
  }

  /** RFC 9112 §4. A missing space before an absent reason is common and harmless. */
  #parseStatusLine(bytes: Uint8Array, from: number, to: number): void {
    const minor = (bytes[from + 7] ?? 0) - ZERO;
    let status = 0;
    let valid = to - from >= 12 && (minor === 0 || minor === 1) && bytes[from + 8] === SP;
    for (let i = 0; i < 7; i++) valid &&= bytes[from + i] === "HTTP/1.".charCodeAt(i);
    for (let at = from + 9; at < from + 12; at++) {
      const byte = bytes[at] ?? 0;
      valid &&= byte >= ZERO && byte <= NINE;
      status = status * 10 + byte - ZERO;
    }
    valid &&= to - from === 12 || bytes[from + 12] === SP;
    if (!valid || status < 100 || status > 599) throw new Malformed("sent an invalid status line");
    checkText(bytes, from + 12, to);
    this.#status = status;
    this.#http10 = minor === 0;
  }

  #parseField(bytes: Uint8Array, at: { line: number; end: number; start: number }): void {
    if (this.#offsets.length === MAX_FIELDS * 4) {
      throw new Malformed(`sent more than ${MAX_FIELDS} header fields`);
    }
    const colon = checkFieldLine(bytes, at.line, at.end);
    let from = colon + 1;
    let to = at.end;
    while (from < to && isBlank(bytes[from])) from++;
    while (to > from && isBlank(bytes[to - 1])) to--;
    if (to < at.end && bytes.subarray(to, at.end).includes(TAB)) {
      refuseFraming(bytes.subarray(at.line, colon));
    }
    this.#offsets.push(at.line - at.start, colon - at.start, from - at.start, to - at.start);
  }

  #finish(input: ReadBuffer): ResponseHead {
    const text = input.latin1(input.start, input.start + this.#line);
    input.start += this.#line;
    const headers: [string, string][] = [];
    for (let i = 0; i < this.#offsets.length; i += 4) {
      const at = this.#offsets;
      headers.push([text.slice(at[i], at[i + 1]), text.slice(at[i + 2], at[i + 3])]);
    }
    const head = interpret(this.#status, headers, this.#http10);
    this.#keepAlive &&= head.keepAlive;
    this.#line = this.#searched = this.#status = 0;
    this.#offsets = [];
    return this.#keepAlive ? head : { ...head, keepAlive: false };
  }
}

/** `chunked` with a tab behind it is `chunked` by RFC 9112 §5, and to llhttp another coding, whose body has no end. */
function refuseFraming(name: Uint8Array): void {
  const text = String.fromCharCode(...name);
  if (text === "content-length" || text === "transfer-encoding") {
    throw new Malformed("sent a framing field with a tab behind its value");
  }
}

function isBlank(byte: number | undefined): boolean {
  return byte === SP || byte === TAB;
}

/**
 * Framing and persistence (RFC 9112 §6.3 and §9.3). Stricter than it has to be: a repeated length is refused even where
 * both are equal, as is any transfer coding but `chunked`, once.
 */
function interpret(status: number, headers: HeaderList, http10: boolean): ResponseHead {
  let length: string | undefined;
  let coding: string | undefined;
  let keepAlive = !http10;
  for (const [name, value] of headers) {
    if (name === "content-length") {
      if (length !== undefined) throw new Malformed("sent more than one Content-Length");
      length = value;
    } else if (name === "transfer-encoding") {
      if (coding !== undefined) throw new Malformed("sent more than one Transfer-Encoding");
      coding = value;
    } else if (name === "connection" && hasClose(value)) {
      keepAlive = false;
    }
  }
  return { status, headers, framing: framingOf(length, coding, http10), keepAlive };
}

function hasClose(connection: string): boolean {
  return connection.toLowerCase().split(",").some((option) => option.trim() === "close");
}

function framingOf(
  length: string | undefined,
  coding: string | undefined,
  http10: boolean,
): Framing {
  if (coding !== undefined) {
    if (length !== undefined) {
      throw new Malformed("sent both Content-Length and Transfer-Encoding");
    }
    if (http10) throw new Malformed("sent Transfer-Encoding in an HTTP/1.0 response");
    if (coding.toLowerCase() !== "chunked") {
      throw new Malformed(`sent the unsupported Transfer-Encoding ${JSON.stringify(coding)}`);
    }
    return { kind: "chunked" };
  }
  if (length === undefined) return { kind: "close" };
  const lengthBytes = /^[0-9]{1,16}$/.test(length) ? Number(length) : NaN;
  if (!Number.isSafeInteger(lengthBytes)) {
    throw new Malformed(`sent the invalid Content-Length ${JSON.stringify(length)}`);
  }
  return { kind: "length", lengthBytes };
}
