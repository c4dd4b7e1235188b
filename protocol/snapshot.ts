/**
 * What crosses the socket: data types only. A hook gets a `HookContext`; what plugins have proposed so far is its
 * `Draft`, and what one hook adds is a patch between two drafts (`patch.ts`).
 *
 * @module
 */

export type Json = null | boolean | number | string | readonly Json[] | {
  readonly [key: string]: Json;
};

/** Lower-case names; an array where the field came more than once (`set-cookie`). */
export type HeaderMap = { readonly [name: string]: string | readonly string[] };

export type HookName = "beforeRequest" | "afterResponse";

/**
 * A body as a hook sees it. `inline`: all of it is here (`base64`), unless the plugin said it reads none.
 * `reference`: it is over the inline limit or streams past; `ref` is `stream://N`, `sizeBytes` is what was declared.
 */
export type BodyInfo =
  | { readonly kind: "none" }
  | { readonly kind: "inline"; readonly sizeBytes: number; readonly base64?: string }
  | { readonly kind: "reference"; readonly ref: string; readonly sizeBytes?: number };

export interface RequestSnapshot {
  readonly method: string;
  /** The canonical path, see `path.ts`. */
  readonly path: string;
  /** Raw, without `?`. */
  readonly query: string;
  readonly headers: HeaderMap;
  readonly remoteAddr: string;
  readonly host: string;
  /** The `path` pattern of the matched route. */
  readonly route: string;
  readonly body: BodyInfo;
}

/** What the upstream answered, before any plugin touched it. */
export interface ResponseSnapshot {
  readonly status: number;
  readonly headers: HeaderMap;
  readonly body: BodyInfo;
}

/** A body that a plugin made. */
export interface DraftBody {
  readonly encoding: "utf8" | "base64";
  readonly data: string;
}

/**
 * A change to one header field: a value or a list replaces the field, an empty list removes it, `append` adds to
 * whatever is there.
 */
export type HeaderChange = string | readonly string[] | { readonly append: readonly string[] };

/** Header changes by lower-case name, to be laid over the real fields (`overlay` in `headers.ts`). */
export type HeaderOverrides = { readonly [name: string]: HeaderChange };

/** Everything plugins may propose, as the sum of what the hooks so far proposed. It starts as `EMPTY_DRAFT`. */
export interface Draft {
  readonly upstream: {
    readonly path?: string;
    readonly query?: string;
    readonly headers: HeaderOverrides;
  };
  readonly response: {
    readonly status?: number;
    readonly headers: HeaderOverrides;
    readonly body?: DraftBody;
  };
  readonly user?: Json;
  readonly state: { readonly [key: string]: Json };
}

export const EMPTY_DRAFT: Draft = Object.freeze({
  upstream: Object.freeze({ headers: Object.freeze(Object.create(null)) }),
  response: Object.freeze({ headers: Object.freeze(Object.create(null)) }),
  state: Object.freeze(Object.create(null)),
});

/** The `ctx` section of a `hook` frame. `response` is there in `afterResponse` only. */
export interface HookContext {
  readonly request: RequestSnapshot;
  readonly response?: ResponseSnapshot;
  readonly draft: Draft;
}
