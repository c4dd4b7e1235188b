/**
 * Header hygiene (docs/edge.md): what of a client's or an upstream's fields goes further, before any
 * plugin sees them. Header maps have no prototype, so that `__proto__` and `constructor` are names
 * like any other.
 *
 * @module
 */

import { plainName } from "../protocol/headers.ts";
import { isDroppedFromAnswers, isDroppedFromClients } from "../protocol/mutation_rules.ts";
import type { HeaderMap } from "../protocol/snapshot.ts";

/** Decides on a field name as `plainName` gives it. */
export type NameMatcher = (name: string) => boolean;

/**
 * Compiles `stripInboundHeaders`: names, or prefixes that end in `*`, both read as
 * `plainName` does.
 */
export function stripMatcher(patterns: readonly string[]): NameMatcher {
  const names = new Set(patterns.filter((pattern) => !pattern.endsWith("*")).map(plainName));
  const prefixes = patterns.filter((p) => p.endsWith("*")).map((p) => plainName(p.slice(0, -1)));
  return (name) => names.has(name) || prefixes.some((prefix) => name.startsWith(prefix));
}

/**
 * What plugins see of a client's fields and what goes upstream of them: no hop-by-hop fields and
 * none that `Connection` names, nothing that the gateway sets, nothing that `strip` matches, under
 * none of its aliases (`plainName`).
 *
 * A client can name any field in `Connection`, but takes away only what it sent itself, and before
 * the plugins look: what the gateway and plugins set is laid over this map later (CVE-2022-31813).
 */
export function requestHeaderMap(
  headers: Headers,
  options: { readonly strip: NameMatcher },
): HeaderMap {
  const map = newHeaderMap();
  const named = connectionNames(headers.get("connection"));
  // Deno's iterator of Headers takes several times as long as forEach.
  headers.forEach((value, name) => {
    const plain = clientName(name);
    if (plain !== null && !named?.has(name) && !options.strip(plain)) {
      add(map, name, withoutBlanks(value));
    }
  });
  return map;
}

/** Around values HTTP/1 has no blanks. HTTP/2 brings them (RFC 9113 §8.2.1 forbids it): the upstream would not read what plugins did. */
function withoutBlanks(value: string): string {
  let from = 0;
  let to = value.length;
  while (from < to && isBlank(value.charCodeAt(from))) from++;
  while (to > from && isBlank(value.charCodeAt(to - 1))) to--;
  return to - from === value.length ? value : value.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

/** `plainName` of the names that came lately; `null` for those of which nothing goes further. */
const clientNames = new Map<string, string | null>();
const MAX_CLIENT_NAMES = 1024;
const MAX_NAME_LENGTH = 64;

function clientName(name: string): string | null {
  const known = clientNames.get(name);
  if (known !== undefined) return known;
  const plain = plainName(name);
  const found = isDroppedFromClients(plain) ? null : plain;
  // Clients choose the names: what is kept of them is bounded.
  if (name.length > MAX_NAME_LENGTH) return found;
  if (clientNames.size >= MAX_CLIENT_NAMES) clientNames.clear();
  clientNames.set(name, found);
  return found;
}

/**
 * What goes further of an upstream's fields, names in lower case, fields that came more than once
 * as arrays in their order.
 */
export function responseHeaderMap(pairs: readonly (readonly [string, string])[]): HeaderMap {
  const map = newHeaderMap();
  let connection: string | null = null;
  for (const [name, value] of pairs) {
    if (name.length === CONNECTION.length && name.toLowerCase() === CONNECTION) {
      connection = connection === null ? value : `${connection},${value}`;
    }
  }
  const named = connectionNames(connection);
  for (const [given, value] of pairs) {
    const name = given.toLowerCase();
    if (isDroppedFromAnswers(name) || named?.has(name)) continue;
    add(map, name, value);
  }
  return map;
}

/** An empty map to build a `HeaderMap` in. */
export function newHeaderMap(): Record<string, string | readonly string[]> {
  return Object.create(null);
}

function add(
  map: Record<string, string | readonly string[]>,
  name: string,
  value: string,
): void {
  const before = map[name];
  if (before === undefined) map[name] = value;
  else map[name] = typeof before === "string" ? [before, value] : [...before, value];
}

const CONNECTION = "connection";

function connectionNames(value: string | null): ReadonlySet<string> | undefined {
  return value === null
    ? undefined
    : new Set(value.split(",").map((name) => name.trim().toLowerCase()));
}
