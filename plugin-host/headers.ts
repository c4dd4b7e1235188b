/**
 * Header maps as plugins read and change them.
 *
 * @module
 */

import { appended, valueList } from "../protocol/headers.ts";
import { bareMap } from "../protocol/patch.ts";
import type { HeaderChange, HeaderMap, HeaderOverrides } from "../protocol/snapshot.ts";
import { asText } from "./json.ts";

type Value = string | readonly string[];

/**
 * Frozen, one string a field, repeats joined with `, ` (RFC 9110 §5.3).
 *
 * @param options.names those to take, all unless given; `options.prototype` stands behind them
 */
export function joinedHeaders(
  headers: HeaderMap,
  { names, prototype = null }: {
    readonly names?: ReadonlySet<string>;
    readonly prototype?: object | null;
  } = {},
): Readonly<Record<string, string>> {
  const joined: Record<string, string> = Object.create(prototype);
  for (const name of Object.keys(headers)) {
    if (names && !names.has(name)) continue;
    const value = headers[name] as Value;
    joined[name] = typeof value === "string" ? value : value.join(", ");
  }
  return Object.freeze(joined);
}

/**
 * The members of one field, split at commas outside of quotes. Only `set-cookie` is never a list: its dates hold commas
 * (RFC 9110 §5.3).
 *
 * @param name in lower case
 */
export function listValues(name: string, value: Value | undefined): string[] {
  const lines = valueList(value);
  return name === "set-cookie" ? [...lines] : lines.flatMap(splitList);
}

/**
 * Header overrides under construction; copied when the first one changes, which most hooks do not come to. Names and values that are
 * no text throw a `TypeError`.
 */
export class HeaderBuilder {
  readonly #base: HeaderOverrides;
  #changed: Record<string, HeaderChange> | undefined;
  /** The fields that this hook itself changed. */
  #own: Set<string> | undefined;

  constructor(overrides: HeaderOverrides) {
    this.#base = overrides;
  }

  get overrides(): HeaderOverrides {
    return this.#changed ?? this.#base;
  }

  set(name: string, value: string): void {
    const key = fieldName(name);
    this.#put(key, fieldValue(key, value));
  }

  append(name: string, value: string): void {
    const key = fieldName(name);
    this.#put(key, appended(this.#changes[key], fieldValue(key, value)));
  }

  delete(name: string): void {
    this.#put(fieldName(name), []);
  }

  /** Takes back what earlier hooks proposed for these fields. */
  withdraw(names: readonly string[]): void {
    for (const name of names) {
      if (Object.hasOwn(this.#base, name) && !this.#own?.has(name)) delete this.#changes[name];
    }
  }

  #put(key: string, change: HeaderChange): void {
    this.#changes[key] = change;
    (this.#own ??= new Set()).add(key);
  }

  get #changes(): Record<string, HeaderChange> {
    return this.#changed ??= bareMap(this.#base);
  }
}

function fieldName(name: string): string {
  return asText(name, "a header name").toLowerCase();
}

function fieldValue(key: string, value: string): string {
  return typeof value === "string" ? value : asText(value, `the value of ${JSON.stringify(key)}`);
}

function splitList(value: string): string[] {
  const members: string[] = [];
  let quoted = false;
  let from = 0;
  for (let at = 0; at <= value.length; at++) {
    const char = value[at];
    if (quoted && char === "\\" && at + 1 < value.length) at++;
    else if (char === '"') quoted = !quoted;
    else if (char === undefined || (char === "," && !quoted)) {
      const member = value.slice(from, at).trim();
      if (member !== "") members.push(member);
      from = at + 1;
    }
  }
  return members;
}
