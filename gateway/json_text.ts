/**
 * JSON (RFC 8259) with comments, and with what `JSON.parse` does not tell: the line and column of a mistake, and the keys
 * that are given twice, of which `JSON.parse` silently keeps the last.
 *
 * @module
 */

import type { Json } from "../protocol/snapshot.ts";

/** A place in a document: `["routes", 1, "upstream"]`. */
export type Path = readonly (string | number)[];

export interface JsonDocument {
  readonly value: Json;
  /** Keys that an object has more than once, each with the line of the later one. */
  readonly repeatedKeys: readonly { readonly path: Path; readonly line: number }[];
}

/** The text is not JSON. `message` ends with the line in question and a caret below the column. */
export class JsonTextError extends Error {
  override readonly name = "JsonTextError";
  readonly line: number;
  readonly column: number;

  constructor(problem: string, text: string, offset: number) {
    const lineStart = text.lastIndexOf("\n", offset - 1) + 1;
    const line = text.slice(0, lineStart).split("\n").length;
    const from = Math.max(lineStart, offset - 60);
    const [excerpt = ""] = text.slice(from, offset + 30).split("\n");
    const shown = excerpt.replace(/\p{Cc}/gu, " ");
    super(`${problem}\n  ${shown}\n  ${" ".repeat(offset - from)}^`);
    this.line = line;
    this.column = offset - lineStart + 1;
  }
}

// Bounds the recursion here and in everything that walks the value later.
const MAX_DEPTH = 64;

const SPACE = /[ \t\n\r]*/y;
// Its contents are left to JSON.parse.
const STRING = /"(?:[^"\\\n]|\\.)*"/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;

/**
 * Reads `text` as one JSON value. Accepts what `JSON.parse` accepts, except for the key `__proto__`, numbers beyond a
 * double, and more than 64 levels; and comments wherever there may be a space.
 *
 * @throws {JsonTextError} at the first mistake
 */
export function parseJsonText(text: string): JsonDocument {
  const reader = new Reader(text);
  return { value: reader.document(), repeatedKeys: reader.repeatedKeys };
}

class Reader {
  readonly repeatedKeys: { path: Path; line: number }[] = [];
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): Json {
    const value = this.#value([]);
    if (this.#at < this.#text.length) this.#fail("the end of the file");
    return value;
  }

  #value(path: Path): Json {
    if (path.length > MAX_DEPTH) this.#fail(`at most ${MAX_DEPTH} levels of nesting`);
    this.#takeSpace();
    const first = this.#text[this.#at];
    const value = first === "{"
      ? this.#object(path)
      : first === "["
      ? this.#array(path)
      : first === '"'
      ? this.#string("a value")
      : this.#scalar();
    this.#takeSpace();
    return value;
  }

  #object(path: Path): Json {
    const object: Record<string, Json> = {};
    this.#items("}", () => {
      this.#takeSpace();
      const start = this.#at;
      const key = this.#string("a key in double quotes");
      if (key === "__proto__") this.#fail('a key other than "__proto__"', start);
      if (Object.hasOwn(object, key)) {
        const line = this.#text.slice(0, start).split("\n").length;
        this.repeatedKeys.push({ path: [...path, key], line });
      }
      this.#takeSpace();
      if (!this.#skip(":")) this.#fail('":"');
      object[key] = this.#value([...path, key]);
    });
    return object;
  }

  #array(path: Path): Json {
    const array: Json[] = [];
    this.#items("]", () => array.push(this.#value([...path, array.length])));
    return array;
  }

  #items(close: "}" | "]", item: () => void): void {
    this.#at++;
    this.#takeSpace();
    if (this.#skip(close)) return;
    do {
      item();
      this.#takeSpace();
    } while (this.#skip(","));
    if (!this.#skip(close)) this.#fail(`"," or "${close}"`);
  }

  #string(expected: string): string {
    if (this.#text[this.#at] !== '"') this.#fail(expected);
    const start = this.#at;
    try {
      return JSON.parse(this.#take(STRING));
    } catch {
      this.#fail("a string that ends on its line and has only JSON's escapes", start);
    }
  }

  #scalar(): Json {
    const start = this.#at;
    const literal = this.#take(WORD) || this.#take(NUMBER);
    if (literal === "") this.#fail("a value");
    const value: Json = JSON.parse(literal);
    if (Math.abs(Number(value)) === Infinity) this.#fail("a number that fits a double", start);
    return value;
  }

  /** Space and comments, as in JavaScript. */
  #takeSpace(): void {
    for (;;) {
      this.#take(SPACE);
      const isBlock = this.#text.startsWith("/*", this.#at);
      if (!isBlock && !this.#text.startsWith("//", this.#at)) return;
      const end = this.#text.indexOf(isBlock ? "*/" : "\n", this.#at + 2);
      if (isBlock && end < 0) return; // no comment, and nothing else either
      this.#at = end < 0 ? this.#text.length : isBlock ? end + 2 : end;
    }
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text)?.[0] ?? "";
    this.#at += match.length;
    return match;
  }

  #skip(char: string): boolean {
    const found = this.#text[this.#at] === char;
    if (found) this.#at++;
    return found;
  }

  #fail(expected: string, at = this.#at): never {
    const next = this.#text.slice(at, at + 2);
    const isOpen = next === "/*" ? " (the comment has no end)" : "";
    const found = next === "" ? "the end of the file" : JSON.stringify(next[0]);
    throw new JsonTextError(`expected ${expected}, found ${found}${isOpen}`, this.#text, at);
  }
}
