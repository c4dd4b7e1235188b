/**
 * Header overrides: what plugins propose for header fields, and what that makes of the real ones, upstream and downstream.
 *
 * @module
 */

import { bareMap } from "./patch.ts";
import type { Draft, HeaderChange, HeaderMap, HeaderOverrides } from "./snapshot.ts";

type Value = string | readonly string[];

/**
 * Fields that describe the bytes of a body, to be removed with it (RFC 9110 §8, RFC 9530, RFC 3230). With `last-modified` and
 * `accept-ranges` left, a client that resumes (`if-range`) would join parts of two bodies, and one that asks again get a 304 for its own.
 */
const OF_THE_OLD_BODY: HeaderOverrides = {
  "accept-ranges": [],
  "content-encoding": [],
  "content-range": [],
  "content-md5": [],
  "content-digest": [],
  "repr-digest": [],
  "digest": [],
  "etag": [],
  "last-modified": [],
};

/** Their names: also what an earlier plugin proposed for them goes where another one sets a body. */
export const FIELDS_OF_BODY = Object.keys(OF_THE_OLD_BODY);

/** What one answer says of its body, and no other answer. */
const OF_ONE_BODY = new Set([
  ...FIELDS_OF_BODY,
  "content-disposition",
  "content-language",
  "content-location",
  "content-type",
]);

/** RFC 9110 §14.6: the form of several parts, and the type of none of them. */
const PARTS = /^multipart\/byteranges *(?:;|$)/i;

/** Whether this answer has no end to wait for, so that its body is never shown to hooks. */
export function isEventStream(headers: HeaderMap): boolean {
  return /^text\/event-stream\s*(?:;|$)/i.test(String(headers["content-type"] ?? ""));
}

/** `headers` with `overrides` laid over them; the inputs stay as they are. */
export function overlay(headers: HeaderMap, overrides: HeaderOverrides): HeaderMap {
  const names = Object.keys(overrides);
  if (names.length === 0) return headers;
  const merged = bareMap<Value>(headers);
  for (const name of names) {
    const value = changed(merged[name], overrides[name] as HeaderChange);
    if (value === undefined) delete merged[name];
    else merged[name] = value;
  }
  return merged;
}

/** @returns `undefined` where the field is gone */
function changed(before: Value | undefined, change: HeaderChange): Value | undefined {
  if (typeof change === "string") return change;
  if ("append" in change) return [...valueList(before), ...change.append];
  return change.length === 0 ? undefined : change;
}

/**
 * Lays what plugins proposed over the fields there are (`HeaderChange`). Aliases of a changed field
 * go: where a plugin sets `x-user-id`, a client's `X_User_Id` must not arrive beside it.
 *
 * @param overrides lower-case, legal names
 */
export function applyOverrides(base: HeaderMap, overrides: HeaderOverrides): HeaderMap {
  if (Object.keys(overrides).length === 0) return base;
  const map = bareMap<Value>({});
  forEachField(base, overrides, (name, value) => map[name] = value);
  return map;
}

/** Calls `put` for each field of `applyOverrides(base, overrides)`, in the same order. */
export function forEachField(
  base: HeaderMap,
  overrides: HeaderOverrides,
  put: (name: string, value: Value) => void,
): void {
  const names = Object.keys(overrides);
  const plain = new Set(names.map(plainName));
  for (const name in base) {
    const before = base[name] as Value;
    if (!Object.hasOwn(overrides, name)) {
      if (names.length === 0 || !plain.has(plainName(name))) put(name, before);
      continue;
    }
    const value = changed(before, overrides[name] as HeaderChange);
    if (value !== undefined) put(name, value);
  }
  for (const name of names) {
    const value = Object.hasOwn(base, name)
      ? undefined
      : changed(undefined, overrides[name] as HeaderChange);
    if (value !== undefined) put(name, value);
  }
}

/** `change` followed by one more value of the same field. */
export function appended(change: HeaderChange | undefined, value: string): HeaderChange {
  if (change === undefined) return { append: [value] };
  if (typeof change === "object" && "append" in change) {
    return { append: [...change.append, value] };
  }
  return [...valueList(change), value];
}

/** The values of a field, one a field line. */
export function valueList(value: Value | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === "string" ? [value] : value;
}

/** The response fields: `headers` of the upstream with what plugins proposed. */
export function responseFields(
  headers: HeaderMap,
  { body, headers: proposed }: Draft["response"],
): HeaderMap {
  if (body === undefined) return overlay(headers, proposed);
  const kept = overlay(headers, OF_THE_OLD_BODY);
  const hasParts = PARTS.test(valueList(headers["content-type"]).join());
  return overlay(hasParts ? overlay(kept, { "content-type": [] }) : kept, proposed);
}

/** The status of a response: the upstream's, unless a plugin set one. What takes the place of a part is no part (RFC 9110 §15.3.7). */
export function responseStatus(upstream: number, { body, status }: Draft["response"]): number {
  return status ?? (upstream === 206 && body !== undefined ? 200 : upstream);
}

/** A 205 goes out as the 204 it nearly is: the HTTP server writes it without any framing, so that clients would wait for its body. */
export function sentStatus(decided: number): number {
  return decided === 205 ? 204 : decided;
}

/** Whether a response has no body, whatever was decided (RFC 9110 §9.3.2, §15). */
export function isBodiless(method: string, status: number): boolean {
  return method === "HEAD" || status === 204 || status === 205 || status === 304;
}

/** A rejection's fields: what the chain so far set belongs to this answer too; the rejection's own ones win. */
export function rejectionFields(
  own: HeaderOverrides,
  { headers }: Draft["response"],
): HeaderOverrides {
  const proposed = Object.entries(headers).filter(([name]) => !OF_ONE_BODY.has(name));
  return { ...Object.fromEntries(proposed), ...own };
}

/**
 * How servers that turn fields into variables read a name: they cannot tell `X_Real.IP` from `x-real-ip`, and some of them
 * (Apache httpd before 2.4, lighttpd) make the same of every character that is neither letter nor digit.
 */
export function plainName(name: string): string {
  // Hardly any name has one, and `replaceAll` costs more than the look.
  const plain = name.toLowerCase();
  return /[^a-z0-9-]/.test(plain) ? plain.replaceAll(/[^a-z0-9-]/g, "-") : plain;
}
