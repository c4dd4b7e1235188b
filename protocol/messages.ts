/**
 * The messages between the gateway and a plugin host with its isolates, and the strict decoders for both directions. Each connection starts
 * with `hello`; a peer that sends anything that is not a message is dropped.
 *
 * @module
 */

import {
  arrayOf,
  boolean,
  count,
  decodeAs,
  type Decoded,
  json,
  literal,
  mapOf,
  number,
  object,
  type ObjectOf,
  optional,
  string,
  union,
} from "./decode.ts";
import { chainLink, hook, logLevel, logRecord, manifest, result } from "./hook_messages.ts";

/** Raised whenever a message changes its meaning or shape; both sides must say the same. */
export const PROTOCOL_VERSION = 1;

export const hello = object({
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

/** The last message of a connection that the gateway does not accept. */
export const refused = object({ type: literal("refused"), reason: string });

const toHost = union("type", {
  refused,
  retire: object({ type: literal("retire"), generation: count }),
  replace: object({ type: literal("replace"), isolate: count, reason: string }),
  ping: object({ type: literal("ping"), id: count }),
  shutdown: object({ type: literal("shutdown") }),
});

const toIsolate = union("type", {
  refused,
  hook,
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
/** Decodes the first message of a connection. @throws {MessageError} */
export const decodeHello: (value: object) => Hello = decodeAs(hello, "message");
