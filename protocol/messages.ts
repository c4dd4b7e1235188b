/**
 * Every message of the plugin socket, and the strict decoders for both directions. Each connection starts with `hello`;
 * a peer that sends anything that is not a message is dropped.
 *
 * @module
 */

import {
  arrayOf,
  boolean,
  count,
  decodeAs,
  type Decoded,
  type Decoder,
  either,
  literal,
  mapOf,
  nullable,
  number,
  object,
  type ObjectOf,
  optional,
  refuse,
  string,
  union,
} from "./decode.ts";
import type { Json } from "./snapshot.ts";

/** Raised whenever a message changes its meaning or shape; both sides must say the same. */
export const PROTOCOL_VERSION = 1;

/** How deep plugin data (`state`, `user`, log fields, cache values) may nest. */
export const MAX_JSON_DEPTH = 64;

const json: Decoder<Json> = (value, path) => {
  checkDepth(value, path, 0);
  return value as Json;
};

/**
 * Checks that plugin data can be sent: it nests at most `MAX_JSON_DEPTH` levels.
 *
 * @throws {MessageError}
 */
export const assertDepth = (value: unknown, path: string): void => checkDepth(value, path, 0);

function checkDepth(value: unknown, path: string | null, depth: number): void {
  if (typeof value !== "object" || value === null) return;
  if (depth >= MAX_JSON_DEPTH) {
    refuse(path, `nests deeper than ${MAX_JSON_DEPTH} levels`);
  }
  for (const each of Object.values(value)) checkDepth(each, path, depth + 1);
}

const headerValue = either(Array.isArray, arrayOf(string), string);
const headers = mapOf(headerValue);
/** A changed field: its new values, or `{append}`. */
const headerChange = either(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  object({ append: arrayOf(string) }),
  headerValue,
);
const overrides = mapOf(headerChange);
const hookName = literal("beforeRequest", "afterResponse");
const onTimeout = literal("continue", "reject");
const logLevel = literal("debug", "info", "warn", "error");

const bodyInfo = union("kind", {
  none: object({ kind: literal("none") }),
  inline: object({ kind: literal("inline"), sizeBytes: count, base64: optional(string) }),
  reference: object({ kind: literal("reference"), ref: string, sizeBytes: optional(count) }),
});

const draftBody = object({ encoding: literal("utf8", "base64"), data: string });

const draft = object({
  upstream: object({ path: optional(string), query: optional(string), headers: overrides }),
  response: object({ status: optional(count), headers: overrides, body: optional(draftBody) }),
  user: optional(json),
  state: mapOf(json),
});

const patch = object({
  upstream: optional(object({
    path: optional(nullable(string)),
    query: optional(nullable(string)),
    headers: optional(mapOf(nullable(headerChange))),
  })),
  response: optional(object({
    status: optional(nullable(number)),
    body: optional(nullable(draftBody)),
    headers: optional(mapOf(nullable(headerChange))),
  })),
  user: optional(json),
  state: optional(mapOf(json)),
});

const hookContext = object({
  request: object({
    method: string,
    path: string,
    query: string,
    headers,
    remoteAddr: string,
    host: string,
    route: string,
    body: bodyInfo,
  }),
  response: optional(object({ status: count, headers, body: bodyInfo })),
  draft,
});

const manifest = object({
  /** The file name without its ending: `001-auth`. */
  name: string,
  file: string,
  hooks: arrayOf(hookName),
  onTimeout: optional(onTimeout),
  onHookError: optional(onTimeout),
  readsBodies: boolean,
  /** Lower-case names of the request's fields that are sent to it; all where there is no list. */
  readsHeaders: optional(arrayOf(string)),
});

const logRecord = object({
  level: logLevel,
  message: string,
  fields: optional(mapOf(json)),
});

/** One of the hooks that one message asks for. */
const chainLink = object({
  plugin: string,
  readsBodies: boolean,
  /** The request ends where this hook throws. */
  stopsOnError: boolean,
});

const thrown = object({ name: string, message: string, stack: optional(string) });

/** What every result has, whatever the hook decided. */
const outcome = {
  type: literal("result"),
  id: count,
  plugin: string,
  durationMs: number,
  logs: optional(arrayOf(logRecord)),
} as const;

const result = union("action", {
  /** Nothing proposed; or the hook threw (`error`) or was too slow (`timedOut`), and what it proposed is void. */
  continue: object({
    ...outcome,
    action: literal("continue"),
    timedOut: optional(boolean),
    error: optional(thrown),
  }),
  modify: object({ ...outcome, action: literal("modify"), patch }),
  reject: object({
    ...outcome,
    action: literal("reject"),
    status: number,
    message: string,
    headers: optional(overrides),
    patch: optional(patch),
  }),
  forward: object({ ...outcome, action: literal("forward"), url: string, patch: optional(patch) }),
});

const hello = object({
  type: literal("hello"),
  protocol: count,
  role: literal("host", "isolate", "service"),
  generation: count,
  isolate: optional(count),
  pid: count,
  version: string,
  secret: string,
});

const backgroundLog = object({
  type: literal("log"),
  level: logLevel,
  message: string,
  fields: optional(mapOf(json)),
  plugin: optional(string),
  traceId: optional(string),
});

const problem = {
  file: string,
  line: optional(count),
  column: optional(count),
  message: string,
};

const fromHost = union("type", {
  hello,
  pool: object({
    type: literal("pool"),
    generation: count,
    plugins: arrayOf(manifest),
    isolates: arrayOf(count),
  }),
  reload_failed: object({
    type: literal("reload_failed"),
    generation: count,
    ...problem,
    others: optional(arrayOf(object(problem))),
    /** A thread of the host burns a core and only ending the process stops it. */
    blocked: optional(boolean),
  }),
  /** `started` is the id of the last hook it began (compare with wrap-around): later ones never ran and never will. */
  isolate_lost: object({
    type: literal("isolate_lost"),
    isolate: count,
    reason: string,
    started: number,
    /** What hooks that ended came to, where that may not have been written on the isolate's own connection. */
    unsent: optional(arrayOf(result)),
  }),
  log: backgroundLog,
  /** Per isolate the id of the last hook it began, also while its thread is stuck; compare with wrap-around. */
  pong: object({
    type: literal("pong"),
    id: count,
    started: mapOf(number),
    /** Per isolate as in `isolate_lost`. */
    unsent: optional(arrayOf(object({ isolate: count, results: arrayOf(result) }))),
  }),
});

const fromIsolate = union("type", {
  hello,
  result,
  call: object({
    type: literal("call"),
    id: count,
    service: literal("cache"),
    method: string,
    args: arrayOf(json),
  }),
  log: backgroundLog,
});

/** From `conduit host`, which starts plugin hosts beside a gateway that does not. */
const fromService = union("type", {
  hello,
  /**
   * What lies in its plugins folder, after `hello` and after each save: SHA-256 of each file in hex, and a name for them all. `lastLive` is
   * the set that went live last, also for another gateway.
   */
  files: object({
    type: literal("files"),
    hash: string,
    files: mapOf(string),
    lastLive: optional(object({ hash: string, files: mapOf(string) })),
  }),
  /** A host has ended, or could not be started. */
  host_ended: object({ type: literal("host_ended"), host: count, reason: string }),
});

const toService = union("type", {
  refused: object({ type: literal("refused"), reason: string }),
  /**
   * Start a host that can load this state of the folder, and give it these lines on stdin. `hosts` and `env` are what the
   * gateway takes it to be permitted; the service derives the permissions from its own configuration and refuses where that says otherwise.
   */
  start_host: object({
    type: literal("start_host"),
    host: count,
    files: string,
    hosts: arrayOf(string),
    env: arrayOf(string),
    init: mapOf(json),
  }),
  load: object({ type: literal("load"), host: count, generation: count, files: string }),
  kill_host: object({ type: literal("kill_host"), host: count }),
  /** This state of the folder serves now. */
  live: object({ type: literal("live"), files: string }),
});

const toHost = union("type", {
  /** The last message of a connection that the gateway does not accept. */
  refused: object({ type: literal("refused"), reason: string }),
  retire: object({ type: literal("retire"), generation: count }),
  replace: object({ type: literal("replace"), isolate: count, reason: string }),
  ping: object({ type: literal("ping"), id: count }),
  shutdown: object({ type: literal("shutdown") }),
});

const toIsolate = union("type", {
  refused: object({ type: literal("refused"), reason: string }),
  hook: object({
    type: literal("hook"),
    id: count,
    hook: hookName,
    /** `*`: those of `chain` one after another, each with a result of its own under this id. */
    plugin: string,
    chain: optional(arrayOf(chainLink)),
    /** What of a hook's patch the next one of the chain sees depends on it (`mutation_rules.ts`). */
    ownsCors: optional(boolean),
    traceId: string,
    traceparent: optional(string),
    timeoutMs: number,
    ctx: hookContext,
  }),
  return: object({
    type: literal("return"),
    id: count,
    value: optional(json),
    error: optional(string),
  }),
});

export type Hello = Decoded<typeof hello>;
export type PluginManifest = Decoded<typeof manifest>;
/** What is wrong in one plugin file; `line` and `column` count from 1. */
export type LoadProblem = ObjectOf<typeof problem>;
export type LogRecord = Decoded<typeof logRecord>;
export type HookFrame = Extract<ToIsolate, { type: "hook" }>;
export type ChainLink = Decoded<typeof chainLink>;
export type HookResult = Decoded<typeof result>;
export type CallFrame = Extract<FromIsolate, { type: "call" }>;
export type FromHost = Decoded<typeof fromHost>;
export type FromIsolate = Decoded<typeof fromIsolate>;
export type FromService = Decoded<typeof fromService>;
export type ToService = Decoded<typeof toService>;
export type ToHost = Decoded<typeof toHost>;
export type ToIsolate = Decoded<typeof toIsolate>;

/** Decodes what the host sends. @throws {MessageError} */
export const decodeFromHost: (value: object) => FromHost = decodeAs(fromHost, "message");
/** Decodes what an isolate sends. @throws {MessageError} */
export const decodeFromIsolate: (value: object) => FromIsolate = decodeAs(fromIsolate, "message");
/** Decodes what the gateway sends to the host. @throws {MessageError} */
export const decodeToHost: (value: object) => ToHost = decodeAs(toHost, "message");
/** Decodes what the gateway sends to an isolate. @throws {MessageError} */
export const decodeToIsolate: (value: object) => ToIsolate = decodeAs(toIsolate, "message");
/** Decodes what a host service sends. @throws {MessageError} */
export const decodeFromService: (value: object) => FromService = decodeAs(fromService, "message");
/** Decodes what the gateway sends to a host service. @throws {MessageError} */
export const decodeToService: (value: object) => ToService = decodeAs(toService, "message");
/** Decodes the first message of a connection. @throws {MessageError} */
export const decodeHello: (value: object) => Hello = decodeAs(hello, "message");
