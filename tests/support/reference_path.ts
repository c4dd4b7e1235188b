/**
 * The canonical form of a target once more, byte by byte and after RFC 3986 alone: what `protocol/path.ts` is held against.
 * It shares no line with it, and takes its time.
 *
 * @module
 */

export interface ReferenceTarget {
  readonly path: string;
  readonly query: string;
  readonly hasEncodedSlash: boolean;
}

const ascii = (text: string) => new Set(new TextEncoder().encode(text));
const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/** RFC 3986 §2.3 */
const UNRESERVED = ascii(`${LETTERS}-._~`);
/** RFC 3986 §3.3: `pchar` without escapes. */
const PCHAR = ascii(`${LETTERS}-._~!$&'()*+,;=:@`);
const [SLASH = 0, QUESTION = 0, HASH = 0, PERCENT = 0, BACKSLASH = 0] = ascii("/?#%\\");

/** @returns `undefined` where the target is to be refused */
export function referenceTarget(target: string): ReferenceTarget | undefined {
  const bytes = new TextEncoder().encode(target.toWellFormed());
  const at = bytes.indexOf(QUESTION);
  const query = at < 0 ? "" : referenceQuery(bytes.subarray(at + 1));
  const segments = referenceSegments(at < 0 ? bytes : bytes.subarray(0, at));
  if (segments === undefined || query === undefined) return undefined;
  const kept = withoutDots(segments);
  // Encoded slashes make segments within segments for a server that decodes them, parameters end one for another.
  for (const segment of kept) {
    for (const inner of segment.split(/%2F|%5C/)) {
      const [name] = inner.split(/;|%3B/);
      if (name === "." || name === "..") return undefined;
    }
  }
  const isFolder = ["", ".", ".."].includes(segments.at(-1) ?? "") && kept.length > 0;
  const path = `/${kept.join("/")}${isFolder ? "/" : ""}`;
  return { path, query, hasEncodedSlash: /%2F|%5C/.test(path) };
}

/** RFC 3986 §6.2.2: each segment with its escapes in their one form. */
function referenceSegments(bytes: Uint8Array): string[] | undefined {
  if (bytes[0] !== SLASH) return undefined;
  const segments: string[] = [];
  let segment = "";
  for (let at = 1; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === SLASH) {
      segments.push(segment);
      segment = "";
    } else if (byte === PERCENT) {
      const hex = String.fromCharCode(...bytes.subarray(at + 1, at + 3));
      if (hex.length < 2 || [...hex].some((digit) => !"0123456789abcdefABCDEF".includes(digit))) {
        return undefined;
      }
      const value = Number.parseInt(hex, 16);
      if (value < 32 || value === 127) return undefined;
      segment += UNRESERVED.has(value) ? String.fromCharCode(value) : escaped(value);
      at += 2;
    } else if (byte === BACKSLASH || byte === HASH || isControl(bytes, at)) {
      return undefined;
    } else {
      segment += PCHAR.has(byte) ? String.fromCharCode(byte) : escaped(byte);
    }
  }
  return [...segments, segment];
}

/** RFC 3986 §5.2.4, and `//` is `/`. */
function withoutDots(segments: readonly string[]): string[] {
  const kept: string[] = [];
  for (const segment of segments) {
    if (segment === "..") kept.pop();
    else if (segment !== "." && segment !== "") kept.push(segment);
  }
  return kept;
}

function referenceQuery(bytes: Uint8Array): string | undefined {
  let query = "";
  for (const [at, byte] of bytes.entries()) {
    if (byte === HASH || isControl(bytes, at)) return undefined;
    query += byte > 32 && byte < 127 ? String.fromCharCode(byte) : escaped(byte);
  }
  return query;
}

/** C0, DEL, and C1, which is two bytes in UTF-8. */
function isControl(bytes: Uint8Array, at: number): boolean {
  const byte = bytes[at] ?? 0;
  return byte < 32 || byte === 127 || (byte === 0xc2 && (bytes[at + 1] ?? 0) < 0xa0);
}

function escaped(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
