/**
 * What is said about hooks, as parts of `messages.ts`: which plugins have which, the question to an isolate with the context that the hook
 * is shown, and the result it comes to.
 *
 * @module
 */

import {
  arrayOf,
  boolean,
  count,
  either,
  json,
  literal,
  mapOf,
  nullable,
  number,
  object,
  optional,
  string,
  union,
} from "./decode.ts";

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
export const logLevel = literal("debug", "info", "warn", "error");

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

export const manifest = object({
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

export const logRecord = object({
  level: logLevel,
  message: string,
  fields: optional(mapOf(json)),
});

/** One of the hooks that one message asks for. */
export const chainLink = object({
  plugin: string,
  readsBodies: boolean,
  /** The request ends where this hook throws. */
  stopsOnError: boolean,
});

/** The question to an isolate. */
export const hook = object({
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

export const result = union("action", {
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
    /** How the hook went wrong in saying so, with status 0: the request is refused all the same. */
    error: optional(thrown),
  }),
  forward: object({ ...outcome, action: literal("forward"), url: string, patch: optional(patch) }),
});
