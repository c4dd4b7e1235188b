/**
 * Header overrides: what plugins propose for header fields, and what that makes of the real ones.
 *
 * @module
 */

import { bareMap } from "./patch.ts";
import type { HeaderChange, HeaderMap, HeaderOverrides } from "./snapshot.ts";

type Value = string | readonly string[];

/** `headers` with `overrides` laid over them; the inputs stay as they are. */
export function overlay(headers: HeaderMap, overrides: HeaderOverrides): HeaderMap {
  const names = Object.keys(overrides);
  if (names.length === 0) return headers;
  const merged = bareMap<Value>(headers);
  for (const name of names) {
    const change = overrides[name] as HeaderChange;
    if (typeof change === "string") merged[name] = change;
    else if ("append" in change) merged[name] = [...valueList(merged[name]), ...change.append];
    else if (change.length === 0) delete merged[name];
    else merged[name] = change;
  }
  return merged;
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
