/**
 * What a plugin may ask of the cache: the method and arguments of a `call` frame, checked. The gateway's store and the fake of
 * `conduit/testing` decode with it, so that both refuse the same, in the same words.
 *
 * @module
 */

import type { Json } from "./snapshot.ts";

/** The largest value, as JSON in UTF-8. */
export const MAX_VALUE_BYTES = 256 * 1024;
const MAX_KEY_LENGTH = 1024;
/** Ten years: more is a mistake of units. */
const MAX_TTL_SECONDS = 315_360_000;

/** `ttlMs` is an integer of at least 1; undefined is no time to live. */
export type CacheCall =
  | { readonly method: "get"; readonly key: string }
  | {
    readonly method: "set";
    readonly key: string;
    /** The value as JSON, of at most `MAX_VALUE_BYTES`. */
    readonly json: string;
    readonly ttlMs: number | undefined;
    readonly onlyIfAbsent: boolean;
  }
  | { readonly method: "delete"; readonly key: string }
  | { readonly method: "increment"; readonly key: string; readonly ttlMs: number | undefined }
  | { readonly method: "expire"; readonly key: string; readonly ttlMs: number };

/** @throws {TypeError | RangeError} with a message for the plugin's author */
export function decodeCacheCall(method: string, args: readonly Json[]): CacheCall {
  const [first, second, third] = args;
  switch (method) {
    case "get":
    case "delete":
      return { method, key: checkKey(first) };
    case "set": {
      const key = checkKey(first);
      const { onlyIfAbsent = false, ttlMs } = options(key, third, ["ttlSeconds", "onlyIfAbsent"]);
      return { method, key, json: valueJson(key, second ?? null), ttlMs, onlyIfAbsent };
    }
    case "increment": {
      const key = checkKey(first);
      return { method, key, ttlMs: options(key, second, ["ttlSeconds"]).ttlMs };
    }
    case "expire": {
      const key = checkKey(first);
      return { method, key, ttlMs: ttlMs(key, second) };
    }
    default:
      throw new TypeError(`the cache has no method ${JSON.stringify(method)}`);
  }
}

/** What `increment` says where it cannot count: one wording for all stores. */
export function notAnInteger(key: string): TypeError {
  return new TypeError(`the value of ${quote(key)} is not an integer`);
}

function checkKey(key: Json | undefined): string {
  if (typeof key !== "string" || key === "" || key.length > MAX_KEY_LENGTH) {
    throw new TypeError(`a cache key is a string of 1 to ${MAX_KEY_LENGTH} characters`);
  }
  // As UTF-8, all lone surrogates are the same: two keys would become one.
  if (!key.isWellFormed()) throw new TypeError(`the cache key ${quote(key)} is not Unicode text`);
  return key;
}

function valueJson(key: string, value: Json): string {
  const json = JSON.stringify(value);
  const bytes = new TextEncoder().encode(json).length;
  if (bytes > MAX_VALUE_BYTES) {
    throw new RangeError(
      `the value of ${quote(key)} has ${bytes} bytes; at most ${MAX_VALUE_BYTES} are stored`,
    );
  }
  return json;
}

function ttlMs(key: string, ttlSeconds: Json | undefined): number {
  if (typeof ttlSeconds !== "number" || !(ttlSeconds > 0)) {
    throw new TypeError(`the ttlSeconds of ${quote(key)} is not a number greater than 0`);
  }
  if (ttlSeconds > MAX_TTL_SECONDS) {
    throw new RangeError(
      `the ttlSeconds of ${quote(key)} is more than ${MAX_TTL_SECONDS}, ten years`,
    );
  }
  return Math.max(1, Math.round(ttlSeconds * 1000));
}

interface Options {
  readonly ttlMs: number | undefined;
  readonly onlyIfAbsent?: boolean;
}

function options(key: string, value: Json | undefined, known: readonly string[]): Options {
  if (value === undefined || value === null) return { ttlMs: undefined };
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new TypeError(`the options of ${quote(key)} are not an object`);
  }
  const unknown = Object.keys(value).find((each) => !known.includes(each));
  if (unknown !== undefined) {
    throw new TypeError(
      `the options of ${quote(key)} have an unknown key ${quote(unknown)}, known here: ${
        known.join(", ")
      }`,
    );
  }
  const { ttlSeconds, onlyIfAbsent = false } = value as { readonly [key: string]: Json };
  if (typeof onlyIfAbsent !== "boolean") {
    throw new TypeError(`the onlyIfAbsent of ${quote(key)} is not true or false`);
  }
  return {
    ttlMs: ttlSeconds === undefined ? undefined : ttlMs(key, ttlSeconds),
    onlyIfAbsent,
  };
}

function quote(text: string): string {
  return JSON.stringify(text);
}
