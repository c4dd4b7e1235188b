/**
 * Plugin data on its way to the gateway: made plain JSON here, where an error can name what the plugin did.
 *
 * @module
 */

import { assertDepth } from "../protocol/decode.ts";
import type { Json } from "../protocol/snapshot.ts";
import { authorStack } from "./stack.ts";

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

/** JSON makes `null` or `{}` of these without a word. What `toJSON` makes of an object is its author's choice. */
function assertLossless(value: unknown): void {
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
    const text: string | undefined = JSON.stringify(value);
    if (text !== undefined) json = JSON.parse(text);
    // After `stringify`: it calls a cycle a cycle, and what counts is what it made of `toJSON`.
    assertDepth(json, what);
    check?.(value);
  } catch (cause) {
    throw new TypeError(`${what} cannot be sent as JSON: ${describeError(cause).message}`, {
      cause,
    });
  }
  if (json === undefined) throw new TypeError(`${what} is a ${typeof value}, which is not JSON`);
  return json;
}

/** Log fields as JSON, whatever they are: errors with their stack, what cannot be JSON as text. */
export function toJsonFields(fields: Readonly<Record<string, unknown>>): Record<string, Json> {
  const json: Record<string, Json> = Object.create(null);
  for (const [key, value] of Object.entries(fields)) {
    try {
      const shown = value instanceof Error ? describeError(value) : value ?? null;
      json[key] = converted(shown, key);
    } catch {
      json[key] = safeString(value);
    }
  }
  return json;
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
    if (!(error instanceof Error)) return { name: "Error", message: String(error) };
    const { name, message, stack } = error;
    return {
      name: String(name),
      message: String(message),
      ...(typeof stack === "string" ? { stack } : {}),
    };
  } catch { // a getter or a `toString` of the plugin
    return { name: "Error", message: UNSHOWABLE };
  }
}

function safeString(value: unknown): string {
  try {
    return String(value);
  } catch {
    return UNSHOWABLE;
  }
}
