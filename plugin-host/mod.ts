/**
 * What a plugin is written against: `import type { GatewayContext, Plugin } from "conduit/plugin"`.
 *
 * @module
 */

import type { BodyInfo, Json } from "../protocol/snapshot.ts";

export type { BodyInfo, Json };

/** The default export of a plugin file. Every member is optional; hooks run in file-name order. */
export interface Plugin {
  /** What a hook of this plugin that takes too long means; overrides the configuration, a route overrides it. */
  readonly onTimeout?: "continue" | "reject";
  /** What a hook of this plugin that throws means in `beforeRequest`; a route overrides it. */
  readonly onHookError?: "continue" | "reject";
  /** `false`: this plugin never looks at bodies, so none is sent to it. Default `true`. */
  readonly readsBodies?: boolean;
  /**
   * The request header fields that this plugin reads: no others are sent to it, and reading one that is not named throws. Names in
   * any case. Default: all.
   */
  readonly readsHeaders?: readonly string[];
  /** Once per isolate, before the first hook. An error here keeps the new set of plugins from going live. */
  onLoad?(init: PluginInit): void | Promise<void>;
  /** Before the upstream is asked. */
  beforeRequest?(ctx: GatewayContext): void | Promise<void>;
  /** After the upstream answered, before the client gets the answer. Not after a `reject`. */
  afterResponse?(ctx: GatewayContext): void | Promise<void>;
  /** After a hook of this plugin threw. It can log; what it changes has no effect. */
  onError?(error: unknown, ctx: GatewayContext): void | Promise<void>;
}

export interface PluginInit {
  /** `pluginConfig["<plugin name>"]` of the configuration, or `{}`. */
  readonly config: Json;
  /** The variables named in `pluginEnv`, where they are set. */
  readonly env: Readonly<Record<string, string>>;
  readonly services: Services;
  readonly log: Log;
}

export interface GatewayContext {
  readonly request: GatewayRequest;
  readonly response: ResponseBuilder;
  /** Usable in `beforeRequest` only: later the upstream has been asked already. */
  readonly upstream: UpstreamBuilder;
  /** Who the client is, set by an authentication plugin, read by the later ones. JSON; `null` and `undefined` mean nobody. */
  user: Json | undefined;
  /** Values of this request, shared along the chain. JSON; setting `null` or `undefined` deletes. */
  readonly state: Record<string, Json | undefined>;
  readonly log: Log;
  readonly services: Services;
  /** Aborts when the hook's time is over. */
  readonly signal: AbortSignal;
  /**
   * Ends the pipeline with this answer. Throws, so nothing after it runs; that is control flow and no error.
   *
   * @param status 200–599
   */
  reject(status: number, message: string, headers?: Readonly<Record<string, string>>): never;
  /** Proposes another target, an absolute http or https URL; the gateway judges it. In `beforeRequest` only. */
  forward(url: string | URL): void;
}

/** A deeply frozen snapshot. */
export interface GatewayRequest {
  readonly method: string;
  /** The canonical path: percent-decoded where that changes nothing, no dot segments, no `//`. */
  readonly path: string;
  /** Raw, without `?`. */
  readonly query: string;
  /** Lower-case names. A repeated field is joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  readonly remoteAddr: string;
  readonly host: string;
  /** The `path` pattern of the matched route. */
  readonly route: string;
  readonly body: BodyInfo;
  /** The field's value, whatever the case of `name`; `undefined` where it is absent. */
  header(name: string): string | undefined;
  /** The members of a list-valued field, split at commas outside of quotes. */
  headerValues(name: string): string[];
  searchParams(): URLSearchParams;
  /** @throws {TypeError} when the body is a reference, or the plugin declared `readsBodies: false` */
  text(): string;
  /** @throws {TypeError | SyntaxError} */
  json(): Json;
  /** @throws {TypeError} */
  bytes(): Uint8Array;
}

/**
 * What the client will get. In `beforeRequest` the changes wait and are laid over whatever answer comes; in
 * `afterResponse` `status`, `headers` and the body readers show the answer with the changes so far.
 */
export interface ResponseBuilder {
  /** `undefined` in `beforeRequest`, unless a plugin has set it. */
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: BodyInfo;
  header(name: string): string | undefined;
  headerValues(name: string): string[];
  /** @throws {TypeError} when there is no inline body to read */
  text(): string;
  /** @throws {TypeError | SyntaxError} */
  json(): Json;
  /** @throws {TypeError} */
  bytes(): Uint8Array;
  setStatus(status: number): void;
  setHeader(name: string, value: string): void;
  appendHeader(name: string, value: string): void;
  deleteHeader(name: string): void;
  /** A string is sent as UTF-8, an object as JSON with that content type; the length is set by the gateway. */
  setBody(body: string | Uint8Array | { readonly [key: string]: Json } | readonly Json[]): void;
}

/** What the upstream will get. */
export interface UpstreamBuilder {
  setHeader(name: string, value: string): void;
  appendHeader(name: string, value: string): void;
  deleteHeader(name: string): void;
  /** A path as it stands in a request line; the gateway makes it canonical. */
  setPath(path: string): void;
  /** Without `?`. */
  setQuery(query: string): void;
}

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface Services {
  readonly http: HttpService;
  readonly cache: CacheService;
}

export interface HttpService {
  /** `fetch` to the hosts that the configuration allows, with the trace headers set, within the hook's time. */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
}

/** One store for all isolates. Every call rejects when the store is down or a value is no JSON. */
export interface CacheService {
  /** `null` where there is no such key. */
  get(key: string): Promise<Json>;
  /** Whether the value was stored: `false` only with `onlyIfAbsent`, when there was one. */
  set(key: string, value: Json, options?: CacheSetOptions): Promise<boolean>;
  /** Whether there was such a key. */
  delete(key: string): Promise<boolean>;
  /** Adds 1, atomically; a new key starts at 1 and gets the time to live, an existing one keeps its own. */
  increment(key: string, options?: { readonly ttlSeconds?: number }): Promise<number>;
  /** Gives a key a new time to live; whether there was such a key. */
  expire(key: string, ttlSeconds: number): Promise<boolean>;
}

export interface CacheSetOptions {
  readonly ttlSeconds?: number;
  readonly onlyIfAbsent?: boolean;
}
