/**
 * Patches between drafts: `diff` says what a hook changed, `apply` lays it over what was there.
 *
 * The laws, each a property test:
 * 1. `apply(base, diff(base, next))` equals `next`
 * 2. `diff(x, x)` is empty
 * 3. `apply` does not touch its inputs
 * 4. omitted = unchanged, present = overwrite, `null` = delete; so a `null` value in a draft means absent
 * 5. `__proto__`, `constructor` and `prototype` are names like any other: every map has no prototype
 * 6. the size of a patch does not depend on what was not changed; the unit is one entry (a header field, a key of `state`)
 *
 * @module
 */

import type { Draft, DraftBody, HeaderChange, Json } from "./snapshot.ts";

type HeaderPatch = { readonly [name: string]: HeaderChange | null };

/** What one hook proposes. A section that is not there was not touched. */
export interface Patch {
  readonly upstream?: {
    readonly path?: string | null;
    readonly query?: string | null;
    readonly headers?: HeaderPatch;
  };
  readonly response?: {
    readonly status?: number | null;
    readonly body?: DraftBody | null;
    readonly headers?: HeaderPatch;
  };
  readonly user?: Json;
  readonly state?: { readonly [key: string]: Json };
}

/** What turns `base` into `next`. */
export function diff(base: Draft, next: Draft): Patch {
  const upstream = compact({
    path: changed(base.upstream.path, next.upstream.path),
    query: changed(base.upstream.query, next.upstream.query),
    headers: diffMap(base.upstream.headers, next.upstream.headers),
  });
  const response = compact({
    status: changed(base.response.status, next.response.status),
    body: changed(base.response.body, next.response.body),
    headers: diffMap(base.response.headers, next.response.headers),
  });
  const user = changed(base.user ?? undefined, next.user ?? undefined);
  const state = diffMap(base.state, next.state);
  return compact({ upstream, response, user, state }) ?? {};
}

/** `base` with `patch` laid over it, a new draft. */
export function apply(base: Draft, patch: Patch): Draft {
  const { upstream, response } = patch;
  return {
    upstream: upstream === undefined ? base.upstream : present({
      path: pick(base.upstream.path, upstream.path),
      query: pick(base.upstream.query, upstream.query),
      headers: applyMap(base.upstream.headers, upstream.headers),
    }),
    response: response === undefined ? base.response : present({
      status: pick(base.response.status, response.status),
      body: pick(base.response.body, response.body),
      headers: applyMap(base.response.headers, response.headers),
    }),
    ...present({ user: pick(base.user ?? undefined, patch.user) }),
    state: applyMap(base.state, patch.state),
  };
}

/** Whether nothing is proposed. */
export function isEmpty(patch: Patch): boolean {
  return Object.keys(patch).length === 0;
}

/** Deep equality of JSON values, by own keys; `undefined` equals only itself. */
export function jsonEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) {
    return a === b; // 0 and -0 are one number in JSON
  }
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  return keys.every((key) => Object.hasOwn(right, key) && jsonEqual(left[key], right[key]));
}

/** `draft` for `JSON.stringify`, see `jsonMap`. */
export function jsonDraft(draft: Draft): Draft {
  const { upstream, response, state } = draft;
  return {
    ...draft,
    upstream: { ...upstream, headers: jsonMap(upstream.headers) },
    response: { ...response, headers: jsonMap(response.headers) },
    state: jsonMap(state),
  };
}

/** `patch` for `JSON.stringify`, see `jsonMap`. */
export function jsonPatch(patch: Patch): Patch {
  const { upstream, response, state } = patch;
  return {
    ...patch,
    ...(upstream?.headers && { upstream: { ...upstream, headers: jsonMap(upstream.headers) } }),
    ...(response?.headers && { response: { ...response, headers: jsonMap(response.headers) } }),
    ...(state && { state: jsonMap(state) }),
  };
}

/** A copy of `map` that `JSON.stringify` takes four times as fast as one without a prototype. For that and nothing else. */
export function jsonMap<T>(map: { readonly [key: string]: T }): { readonly [key: string]: T } {
  const copy: Record<string, T> = {};
  for (const key in map) {
    if (key !== "__proto__") copy[key] = map[key] as T;
    else Object.defineProperty(copy, key, { value: map[key], enumerable: true });
  }
  return copy;
}

/** A copy of `map` without a prototype, so that no name in it means anything to the language. */
export function bareMap<T>(map: { readonly [key: string]: T }): Record<string, T> {
  const copy: Record<string, T> = Object.create(null);
  for (const key of Object.keys(map)) copy[key] = map[key] as T;
  return copy;
}

/** `undefined` = unchanged, `null` = gone. */
function changed<T>(base: T | undefined, next: T | undefined): T | null | undefined {
  return jsonEqual(base, next) ? undefined : next ?? null;
}

function pick<T>(base: T | undefined, proposed: T | null | undefined): T | undefined {
  return proposed === undefined ? base : proposed ?? undefined;
}

function diffMap<T>(
  base: { readonly [key: string]: T },
  next: { readonly [key: string]: T },
): Record<string, T | null> | undefined {
  if (base === next) return undefined;
  let patch: Record<string, T | null> | undefined;
  const put = (key: string, value: T | null) => {
    patch ??= Object.create(null) as Record<string, T | null>;
    patch[key] = value;
  };
  for (const key of Object.keys(next)) {
    const value = next[key] as T;
    const before = Object.hasOwn(base, key) ? base[key] : null;
    if (!jsonEqual(before ?? null, value ?? null)) put(key, value ?? null);
  }
  for (const key of Object.keys(base)) {
    if (!Object.hasOwn(next, key) && (base[key] ?? null) !== null) put(key, null);
  }
  return patch;
}

function applyMap<T>(
  base: { readonly [key: string]: T },
  patch: { readonly [key: string]: T | null } | undefined,
): { readonly [key: string]: T } {
  if (patch === undefined) return base;
  const next = bareMap(base);
  for (const key of Object.keys(patch)) {
    const value = patch[key] as T | null;
    if (value === null) delete next[key];
    else next[key] = value;
  }
  return next;
}

type Present<T> = { [K in keyof T]: T[K] };

/** Drops members that are `undefined`, which JSON would drop too. */
function present<T extends object>(members: T): Present<T> {
  const kept: Record<string, unknown> = {};
  for (const key in members) if (members[key] !== undefined) kept[key] = members[key];
  return kept as Present<T>;
}

function compact<T extends object>(members: T): Present<T> | undefined {
  const kept = present(members);
  return Object.keys(kept).length === 0 ? undefined : kept;
}
