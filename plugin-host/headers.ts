/**
 * Header maps as plugins read and change them.
 *
 * @module
 */

import { appended, valueList } from "../protocol/headers.ts";
import { bareMap } from "../protocol/patch.ts";
import type { HeaderChange, HeaderMap, HeaderOverrides } from "../protocol/snapshot.ts";

type Value = string | readonly string[];

/** Frozen, one string a field, repeats joined with `, ` (RFC 9110 §5.3). */
export function joinedHeaders(headers: HeaderMap): Readonly<Record<string, string>> {
  const joined: Record<string, string> = Object.create(null);
  for (const name of Object.keys(headers)) joined[name] = joinValue(headers[name] as Value);
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

/** Header overrides under construction. */
export class HeaderBuilder {
  readonly overrides: Record<string, HeaderChange>;

  constructor(overrides: HeaderOverrides) {
    this.overrides = bareMap(overrides);
  }

  set(name: string, value: string): void {
    this.overrides[fieldName(name)] = String(value);
  }

  append(name: string, value: string): void {
    const key = fieldName(name);
    this.overrides[key] = appended(this.overrides[key], String(value));
  }

  delete(name: string): void {
    this.overrides[fieldName(name)] = [];
  }
}

function fieldName(name: string): string {
  return String(name).toLowerCase();
}

function joinValue(value: Value): string {
  return typeof value === "string" ? value : value.join(", ");
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
