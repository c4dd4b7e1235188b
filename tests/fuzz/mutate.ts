/**
 * Makes new inputs of old ones: of bytes, of tokens, and of values where the format is JSON.
 *
 * @module
 */

import type { Random } from "./random.ts";
import { bytesOf } from "./target.ts";

export interface MutationSource {
  /** At least one. */
  readonly corpus: readonly Uint8Array[];
  readonly dictionary: readonly string[];
  readonly isJson: boolean;
}

/** Inputs are cut at this length. */
export const MAX_INPUT_BYTES = 16_384;
const EDGE_BYTES = [
  0,
  1,
  9,
  10,
  13,
  32,
  0x22,
  0x25,
  0x2e,
  0x2f,
  0x5c,
  0x7f,
  0x80,
  0xbf,
  0xc0,
  0xff,
];
const EDGE_NUMBERS = [
  "0",
  "-0",
  "-1",
  "1e999",
  "0.1",
  "65535",
  "65536",
  "2147483648",
  "4294967295",
  "9007199254740991",
  "9007199254740993",
  "18446744073709551616",
  "00000000000000001",
  "0x10",
  "+5",
];
const EDGE_VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 31,
  2 ** 53,
  -(2 ** 53),
  1e308,
  "",
  "__proto__",
  "constructor",
  "\u0000",
  "\r\n",
  "é\u{1f600}",
  "\ud800",
  "a".repeat(300),
  [],
  {},
  [[]],
];

/** A new input, of at most `MAX_INPUT_BYTES`. */
export function mutate(random: Random, source: MutationSource): Uint8Array {
  let bytes = random.pick(source.corpus);
  if (source.isJson && !random.oneIn(4)) bytes = mutateJson(random, bytes, source) ?? bytes;
  else {
    for (let times = 1 + random.below(4); times > 0; times--) {
      bytes = mutateBytes(random, bytes, source);
    }
  }
  return bytes.subarray(0, MAX_INPUT_BYTES);
}

function mutateBytes(random: Random, bytes: Uint8Array, source: MutationSource): Uint8Array {
  const from = random.below(bytes.length + 1);
  const to = Math.min(bytes.length, from + 1 + random.below(random.oneIn(4) ? 200 : 8));
  switch (random.below(9)) {
    case 0: { // one bit
      const copy = bytes.slice();
      if (from < copy.length) copy[from] = (copy[from] ?? 0) ^ (1 << random.below(8));
      return copy;
    }
    case 1:
      return splice(bytes, from, Math.min(from + 1, bytes.length), [random.pick(EDGE_BYTES)]);
    case 2:
      return splice(bytes, from, to, []);
    case 3: // again, once or so often that a limit is met
      return splice(bytes, to, to, repeated(bytes.subarray(from, to), random.oneIn(8) ? 300 : 1));
    case 4: {
      const other = random.pick(source.corpus);
      const at = random.below(other.length + 1);
      return splice(bytes, from, to, other.subarray(at, at + 1 + random.below(64)));
    }
    case 5: { // the beginning of one and the end of another
      const other = random.pick(source.corpus);
      return splice(bytes, from, bytes.length, other.subarray(random.below(other.length + 1)));
    }
    case 6:
    case 7: {
      if (source.dictionary.length === 0) return bytes;
      const token = bytesOf(random.pick(source.dictionary));
      return splice(bytes, from, random.oneIn(2) ? to : from, token);
    }
    default:
      return replaceNumber(random, bytes);
  }
}

/** Puts an edge in the place of a run of digits, or of a length in its binary form. */
function replaceNumber(random: Random, bytes: Uint8Array): Uint8Array {
  const runs: [number, number][] = [];
  for (let at = 0; at < bytes.length; at++) {
    const from = at;
    while (isDigit(bytes[at])) at++;
    if (at > from) runs.push([from, at]);
  }
  if (runs.length === 0 || random.oneIn(4)) {
    const at = random.below(Math.max(1, bytes.length - 3));
    const value = random.pick([0, 1, 2, bytes.length, 4096, 4097, 0x7fffffff, 0xffffffff]);
    return splice(bytes, at, at + 4, [24, 16, 8, 0].map((shift) => (value >>> shift) & 255));
  }
  const [from, to] = random.pick(runs);
  return splice(bytes, from, to, bytesOf(random.pick(EDGE_NUMBERS)));
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 48 && byte <= 57;
}

function splice(
  bytes: Uint8Array,
  from: number,
  to: number,
  put: ArrayLike<number>,
): Uint8Array {
  const end = Math.min(Math.max(from, to), bytes.length);
  const result = new Uint8Array(from + put.length + bytes.length - end);
  result.set(bytes.subarray(0, from));
  result.set(put, from);
  result.set(bytes.subarray(end), from + put.length);
  return result;
}

function repeated(bytes: Uint8Array, times: number): Uint8Array {
  const result = new Uint8Array(Math.min(bytes.length * times, MAX_INPUT_BYTES));
  for (let at = 0; at < result.length; at++) result[at] = bytes[at % bytes.length] ?? 0;
  return result;
}

/** Changes some values of a JSON text; `undefined` where it is none. */
function mutateJson(
  random: Random,
  bytes: Uint8Array,
  source: MutationSource,
): Uint8Array | undefined {
  let value = parsed(bytes);
  if (value === undefined) return undefined;
  for (let times = 1 + random.below(3); times > 0; times--) {
    value = changeWithin(random, value, source);
  }
  return new TextEncoder().encode(JSON.stringify(value));
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** Goes down a random way and changes what is at its end. */
function changeWithin(random: Random, value: unknown, source: MutationSource): unknown {
  const keys = typeof value === "object" && value !== null ? Object.keys(value) : [];
  if (keys.length === 0 || random.oneIn(4)) return changed(random, value, source);
  const key = random.pick(keys);
  if (Array.isArray(value)) {
    const copy = [...value];
    const at = Number(key);
    const what = random.below(8);
    if (what === 0) copy.splice(at, 1);
    else if (what === 1) copy.splice(at, 0, copy[at]);
    else copy[at] = changeWithin(random, copy[at], source);
    return copy;
  }
  const entries = Object.entries(value as object);
  const at = keys.indexOf(key);
  const [, member] = entries[at] as [string, unknown];
  const what = random.below(8);
  if (what === 0) entries.splice(at, 1);
  else if (what === 1) entries.push([newKey(random, source), member]);
  else entries[at] = [key, changeWithin(random, member, source)];
  return Object.fromEntries(entries);
}

function newKey(random: Random, { dictionary }: MutationSource): string {
  return random.pick(["__proto__", "constructor", "x", "", ...dictionary]);
}

function changed(random: Random, value: unknown, source: MutationSource): unknown {
  switch (random.below(6)) {
    case 0:
      return random.oneIn(3) ? null : random.pick(EDGE_VALUES);
    case 1:
      return random.pick(source.dictionary.length > 0 ? source.dictionary : [""]);
    case 2:
      return nested(random, value);
    case 3: { // a value from elsewhere
      const other = parsed(random.pick(source.corpus));
      const members = typeof other === "object" && other !== null ? Object.values(other) : [other];
      return members.length > 0 ? random.pick(members) : other;
    }
    case 4:
      return typeof value === "string"
        ? value.slice(0, random.below(value.length + 1)) + random.pick(source.dictionary)
        : [value];
    default:
      return typeof value === "number" ? value + random.pick([-1, 1, 0.5, 2 ** 32]) : value;
  }
}

function nested(random: Random, value: unknown): unknown {
  const levels = random.pick([1, 10, 63, 64, 65, 1000]);
  let deep = value;
  for (let level = 0; level < levels; level++) deep = level % 2 === 0 ? [deep] : { a: deep };
  return deep;
}
