/**
 * What is fuzzed: something that takes bytes from others, and what it promises for all of them.
 *
 * @module
 */

export interface FuzzTarget {
  readonly name: string;
  /** What the format is made of, for mutations to put in. */
  readonly dictionary: readonly string[];
  /** Its inputs are JSON: mutations of values count for more than those of bytes. */
  readonly isJson?: boolean;
  /** The only errors that may come out. */
  readonly errors: readonly (abstract new (...args: never[]) => Error)[];
  /** Seeds that come from the code, beside the corpus. */
  readonly seeds?: () => readonly string[];
  /**
   * @returns what sort of thing came out: an input with a new answer is kept and mutated further
   * @throws one of `errors`, which is as good an answer; anything else is a finding
   */
  readonly run: (input: Uint8Array) => string | Promise<string>;
}

/** A promise of the product that does not hold for an input. */
export class BrokenLaw extends Error {
  override readonly name = "BrokenLaw";
}

/** @throws {BrokenLaw} */
export function law(holds: boolean, what: string): asserts holds {
  if (!holds) throw new BrokenLaw(what);
}

export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** One character a byte. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** The input as text. @throws {SyntaxError} where it is not UTF-8 */
export function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new SyntaxError("not UTF-8");
  }
}

/** Cuts an input into pieces, the same ones each time: what is read in pieces has to mean the same as whole. */
export function pieces(input: Uint8Array): Uint8Array[] {
  const cut: Uint8Array[] = [];
  let sum = 7;
  for (let from = 0; from < input.length;) {
    sum = (sum * 31 + (input[from] ?? 0)) & 0xffff;
    const to = Math.min(input.length, from + 1 + (sum % 13 === 0 ? sum % 500 : sum % 5));
    cut.push(input.subarray(from, to));
    from = to;
  }
  return cut;
}
