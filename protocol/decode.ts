/**
 * Small strict decoders: each takes a value that came out of `JSON.parse` and gives it back typed, or throws a
 * `MessageError` that names the place. Unknown keys are refused. Values are checked in place, not copied.
 *
 * @module
 */

import type { Json } from "./snapshot.ts";

/** How deep plugin data (`state`, `user`, log fields, cache values) may nest. */
export const MAX_JSON_DEPTH = 64;

/** A frame that holds JSON, but not a message of this protocol. */
export class MessageError extends Error {
  override readonly name = "MessageError";
}

/**
 * Checks one value; `path` is where it stands, for the error. Nearly all messages are right, and putting paths together takes longer
 * than checking: so the first pass goes without (`null`), and only what it refuses is gone through again for the error.
 */
export type Decoder<T> = (value: unknown, path: string | null) => T;
type Optional<T> = Decoder<T> & { readonly optional: true };
export type Decoded<D> = D extends Decoder<infer T> ? T : never;

type Fields = { readonly [key: string]: Decoder<unknown> };
type OptionalKeys<F extends Fields> = {
  [K in keyof F]: F[K] extends Optional<unknown> ? K : never;
}[keyof F];
export type ObjectOf<F extends Fields> =
  & { readonly [K in Exclude<keyof F, OptionalKeys<F>>]: Decoded<F[K]> }
  & { readonly [K in OptionalKeys<F>]?: Decoded<F[K]> };

/** What the first pass throws. */
const REFUSED = new MessageError("not a message");

/** @throws {MessageError} what is wrong with the value at `path` */
function refuse(path: string | null, problem: string): never {
  throw path === null ? REFUSED : new MessageError(`${path} ${problem}`);
}

function fail(path: string | null, expected: string): never {
  refuse(path, `is not ${expected}`);
}

/** Decodes a whole message. @throws {MessageError} that names the place as one below `name` */
export function decodeAs<T>(decoder: Decoder<T>, name: string): (value: unknown) => T {
  return (value) => {
    try {
      return decoder(value, null);
    } catch (error) {
      if (error !== REFUSED) throw error;
      return decoder(value, name);
    }
  };
}

export const string: Decoder<string> = (value, path) =>
  typeof value === "string" ? value : fail(path, "a string");

export const boolean: Decoder<boolean> = (value, path) =>
  typeof value === "boolean" ? value : fail(path, "true or false");

/** A non-negative safe integer. */
export const count: Decoder<number> = (value, path) =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? value as number : fail(path, "a count");

export const number: Decoder<number> = (value, path) =>
  Number.isFinite(value) ? value as number : fail(path, "a number");

/** Plugin data. */
export const json: Decoder<Json> = (value, path) => {
  assertDepth(value, path);
  return value as Json;
};

/** @throws {MessageError} where `value` nests more than `MAX_JSON_DEPTH` levels */
export function assertDepth(value: unknown, path: string | null, depth = 0): void {
  if (typeof value !== "object" || value === null) return;
  if (depth >= MAX_JSON_DEPTH) refuse(path, `nests deeper than ${MAX_JSON_DEPTH} levels`);
  for (const each of Object.values(value)) assertDepth(each, path, depth + 1);
}

export function literal<const T extends string | number>(...allowed: readonly T[]): Decoder<T> {
  return (value, path) =>
    (allowed as readonly unknown[]).includes(value)
      ? value as T
      : fail(path, allowed.map((each) => JSON.stringify(each)).join(" or "));
}

export function optional<T>(decoder: Decoder<T>): Optional<T> {
  const check: Decoder<T> = (value, path) => decoder(value, path);
  return Object.assign(check, { optional: true as const });
}

export function nullable<T>(decoder: Decoder<T>): Decoder<T | null> {
  return (value, path) => value === null ? null : decoder(value, path);
}

export function either<A, B>(
  isFirst: (value: unknown) => boolean,
  first: Decoder<A>,
  second: Decoder<B>,
): Decoder<A | B> {
  return (value, path) => isFirst(value) ? first(value, path) : second(value, path);
}

export function arrayOf<T>(decoder: Decoder<T>): Decoder<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) fail(path, "a list");
    for (let at = 0; at < value.length; at++) {
      decoder(value[at], path === null ? null : `${path}[${at}]`);
    }
    return value;
  };
}

export function mapOf<T>(decoder: Decoder<T>): Decoder<{ readonly [key: string]: T }> {
  return (value, path) => {
    const map = record(value, path);
    for (const key of Object.keys(map)) {
      decoder(map[key], path === null ? null : `${path}["${key}"]`);
    }
    return map as { readonly [key: string]: T };
  };
}

export function object<const F extends Fields>(fields: F): Decoder<ObjectOf<F>> {
  const known = new Map(Object.entries(fields));
  const required = [...known].filter(([, decoder]) => !("optional" in decoder)).map(([key]) => key);
  return (value, path) => {
    const map = record(value, path);
    for (const key of Object.keys(map)) {
      const decoder = known.get(key);
      if (!decoder) refuse(path, `has an unknown key ${JSON.stringify(key)}`);
      decoder(map[key], path === null ? null : `${path}.${key}`);
    }
    for (const key of required) {
      if (!Object.hasOwn(map, key)) fail(path === null ? null : `${path}.${key}`, "there");
    }
    return map as ObjectOf<F>;
  };
}

/** A union told apart by the string under `tag`. */
export function union<const D extends { readonly [name: string]: Decoder<unknown> }>(
  tag: string,
  members: D,
): Decoder<Decoded<D[keyof D]>> {
  const known = new Map(Object.entries(members));
  return (value, path) => {
    const member = known.get(record(value, path)[tag] as string);
    if (!member) {
      fail(
        path === null ? null : `${path}.${tag}`,
        Object.keys(members).map((each) => JSON.stringify(each)).join(" or "),
      );
    }
    return member(value, path) as Decoded<D[keyof D]>;
  };
}

function record(value: unknown, path: string | null): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) fail(path, "an object");
  return value as Record<string, unknown>;
}
