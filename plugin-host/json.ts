/**
 * Plugin data on its way to the gateway: made plain JSON here, where an error can name what the plugin did.
 *
 * @module
 */

import { assertDepth } from "../protocol/decode.ts";
import type { Json } from "../protocol/snapshot.ts";
import { authorStack } from "./stack.ts";

/** What Deno puts behind the message of a `NotCapable`: with a flag that is not the author's to give. */
const DENO_FLAG = /, run again with the --(?:allow|unstable)-([\w-]+) flag\b/;
const NO_REMEDY = "; plugins are not allowed that";
const REMEDIES: { readonly [flag: string]: string | undefined } = {
  net: '; name the host in "pluginNet"',
  env: '; name the variable in "pluginEnv"',
  read: "; plugins read nothing but their own folder",
};
const UNSHOWABLE = "a value that cannot be shown";

/**
 * `value` as plain JSON, detached from the plugin's own object; `null` for `undefined`.
 *
 * @throws {TypeError} when it cannot be JSON (a function, a cycle, a BigInt, too deep), or only by losing what it says
 * (`NaN`, a Map, bytes)
 */
export function toJson(value: unknown, what: string): Json {
  if (value === undefined || value === null) return null;
  if (typeof value === "string" || typeof value === "boolean") return value;
  return converted(value, what, assertLossless);
}

/** JSON makes `null` or `{}` of these without a word, or leaves them out. What `toJSON` makes of an object is its author's choice. */
function assertLossless(value: unknown): void {
  if (typeof value === "function" || typeof value === "symbol") {
    throw new TypeError(`a ${typeof value} is not a kind of JSON value`);
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new TypeError(`${value} is not a number in JSON`);
  }
  if (typeof value !== "object" || value === null || "toJSON" in value) return;
  const kind = Object.prototype.toString.call(value).slice("[object ".length, -1);
  if (kind !== "Object" && kind !== "Array") {
    throw new TypeError(`${kind} is not a kind of JSON value`);
  }
  for (const each of Object.values(value)) assertLossless(each);
}

function converted(value: unknown, what: string, check?: (value: unknown) => void): Json {
  let json: Json | undefined;
  try {
    const text: string | undefined = check ? JSON.stringify(value) : JSON.stringify(value, shown);
    if (text !== undefined) json = JSON.parse(text);
    // After `stringify`: it calls a cycle a cycle, and what counts is what it made of `toJSON`.
    assertDepth(json, what);
    if (json !== undefined) check?.(value);
  } catch (cause) {
    throw new TypeError(`${what} cannot be sent as JSON: ${describeError(cause).message}`, {
      cause,
    });
  }
  if (json === undefined) throw new TypeError(`${what} is a ${typeof value}, which is not JSON`);
  return json;
}

/**
 * What a plugin gives as text: a string, or what is written as one (a number, a URL), but nothing of which only the kind would be left.
 *
 * @throws {TypeError} for `undefined`, a list, a promise, …
 */
export function asText(value: unknown, what: string): string {
  if (typeof value === "string") return value;
  const isNothing = value === undefined || value === null;
  if (!isNothing && !["function", "symbol"].includes(typeof value) && !Array.isArray(value)) {
    const text = String(value);
    if (!text.startsWith("[object ")) return text;
  }
  const kind = Object.prototype.toString.call(value).slice("[object ".length, -1);
  throw new TypeError(`${what} is ${isNothing ? value : kind}, not text`);
}

/** Log fields as JSON, whatever they are: errors with their stack, what cannot be JSON as text. */
export function toJsonFields(fields: Readonly<Record<string, unknown>>): Record<string, Json> {
  const json: Record<string, Json> = Object.create(null);
  for (const [key, value] of fieldsOf(fields)) {
    try {
      json[key] = converted(shown(key, value ?? null), key);
    } catch {
      json[key] = safeString(value);
    }
  }
  return json;
}

/** Plugins are not checked for types when they run: `log.error("failed", error)` must not lose the error. */
function fieldsOf(fields: unknown): Iterable<[string, unknown]> {
  try {
    if (fields instanceof Error) return [["error", fields]];
    if (typeof fields === "object" && fields !== null && !Array.isArray(fields)) {
      return Object.entries(fields);
    }
  } catch {
    // a trap of the plugin
  }
  return [["value", fields]];
}

/** For `JSON.stringify`, which would make `{}` or `null` of these. */
function shown(_key: string, value: unknown): unknown {
  if (value instanceof Error) return describeError(value);
  if (value instanceof Map || value instanceof Set) return [...value];
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

/** The message of a log record, whatever it is. */
export function messageText(message: unknown): string {
  if (typeof message !== "object" || message === null) return safeString(message);
  try {
    const text: string | undefined = JSON.stringify(message, shown);
    if (text !== undefined && !(message instanceof Error)) return text;
  } catch {
    // a cycle, or a getter of the plugin
  }
  return safeString(message);
}

/** Anything thrown, in the shape that crosses the socket: with the stack that its author knows. */
export function describeError(error: unknown): Thrown {
  const { stack, ...thrown } = thrownParts(error);
  return { ...thrown, ...(stack === undefined ? {} : { stack: authorStack(stack) }) };
}

type Thrown = { readonly name: string; readonly message: string; readonly stack?: string };

/** Anything thrown as text, its stack as it came. */
export function thrownParts(error: unknown): Thrown {
  try {
    if (!(error instanceof Error)) return { name: "Error", message: thrownText(error) };
    const { name, message, stack } = error;
    return {
      name: String(name),
      message: String(message).replace(DENO_FLAG, (_, flag: string) => REMEDIES[flag] ?? NO_REMEDY),
      ...(typeof stack === "string" ? { stack } : {}),
    };
  } catch { // a getter or a `toString` of the plugin
    return { name: "Error", message: UNSHOWABLE };
  }
}

/** Its kind alone would say nothing of `{ status: 401 }`. */
function thrownText(thrown: unknown): string {
  const text = String(thrown);
  return text === "[object Object]" ? messageText(thrown) : text;
}

function safeString(value: unknown): string {
  try {
    return String(value);
  } catch {
    return UNSHOWABLE;
  }
}
