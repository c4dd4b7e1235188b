/**
 * One full example of every message, for the tests and for docs/protocol.md. The types make the list complete: a new
 * message (or a new action of `result`) without an example does not compile.
 *
 * @module
 */

import type {
  FromHost,
  FromIsolate,
  HookResult,
  ToHost,
  ToIsolate,
} from "../../protocol/messages.ts";
import type { FromService, ToService } from "../../protocol/service_messages.ts";

/** The examples of one direction by message name, each with all of its optional members. */
type Examples<M extends { readonly type: string }> = {
  readonly [T in M["type"]]: readonly Extract<M, { readonly type: T }>[];
};

const REFUSED = {
  type: "refused",
  reason: "protocol version 2 is not the gateway's 1; run both from one build",
} as const;

const RESULTS: { readonly [A in HookResult["action"]]: Extract<HookResult, { action: A }> } = {
  continue: {
    type: "result",
    id: 7,
    plugin: "001-auth",
    durationMs: 1.25,
    logs: [{ level: "error", message: "no session", fields: { id: "abc" } }],
    action: "continue",
    timedOut: false,
    error: { name: "Error", message: "boom", stack: "Error: boom\n    at 001-auth.ts:3:9" },
  },
  modify: {
    type: "result",
    id: 8,
    plugin: "003-header-rewrite",
    durationMs: 0.125,
    logs: [],
    action: "modify",
    patch: {
      upstream: {
        path: "/v2/users",
        query: null,
        headers: {
          "x-user": "42",
          "x-old": null,
          accept: ["a", "b"],
          via: { append: ["conduit"] },
        },
      },
      response: {
        status: 201,
        body: { encoding: "utf8", data: "hello" },
        headers: { "set-cookie": { append: ["a=1", "b=2"] } },
      },
      user: { id: "42", roles: ["admin"] },
      state: { startedAt: 1700000000000, old: null },
    },
  },
  reject: {
    type: "result",
    id: 9,
    plugin: "001-auth",
    durationMs: 0,
    logs: [],
    action: "reject",
    status: 401,
    message: "missing token",
    headers: { "www-authenticate": "Bearer" },
    patch: { state: { tried: true } },
  },
  forward: {
    type: "result",
    id: 10,
    plugin: "004-route-control",
    durationMs: 0.5,
    logs: [],
    action: "forward",
    url: "http://beta.example.com/users",
    patch: { upstream: { headers: { "x-beta": "1" } } },
  },
};

const UNSENT = {
  type: "result",
  id: 1042,
  plugin: "001-auth",
  durationMs: 0.25,
  action: "modify",
  patch: { user: { id: "42" } },
} as const;

export const FROM_HOST: Examples<FromHost> = {
  hello: [{
    type: "hello",
    protocol: 1,
    role: "host",
    generation: 0,
    pid: 4711,
    version: "0.1.0",
    secret: "b2Ygbm8gdXNl",
  }],
  pool: [{
    type: "pool",
    generation: 3,
    plugins: [{
      name: "001-auth",
      file: "001-auth.ts",
      hooks: ["beforeRequest", "afterResponse"],
      onTimeout: "reject",
      onHookError: "continue",
      readsBodies: false,
      readsHeaders: ["authorization"],
    }],
    isolates: [1, 2, 3, 4],
  }],
  reload_failed: [{
    type: "reload_failed",
    generation: 4,
    file: "001-auth.ts",
    line: 3,
    column: 14,
    message: "does not load: SyntaxError: Expected ';'",
    others: [{
      file: "002-roles.ts",
      line: 5,
      column: 11,
      message: "onLoad failed: Error: no roles",
    }],
    blocked: true,
  }],
  isolate_lost: [{
    type: "isolate_lost",
    isolate: 2,
    reason: "Uncaught Error: out of memory",
    started: 1042,
    unsent: [UNSENT],
  }],
  log: [{
    type: "log",
    level: "warn",
    message: "late",
    fields: { attempt: 2 },
    plugin: "001-auth",
    traceId: "0af7651916cd43dd8448eb211c80319c",
  }],
  pong: [
    { type: "pong", id: 5, started: { "1": 1041, "2": -2147483648 } },
    { type: "pong", id: 6, started: { "2": 1042 }, unsent: [{ isolate: 2, results: [UNSENT] }] },
  ],
};

export const FROM_ISOLATE: Examples<FromIsolate> = {
  hello: [{
    type: "hello",
    protocol: 1,
    role: "isolate",
    generation: 3,
    isolate: 2,
    pid: 4711,
    version: "0.1.0",
    secret: "b2Ygbm8gdXNl",
  }],
  result: Object.values(RESULTS),
  call: [{
    type: "call",
    id: 1,
    service: "cache",
    method: "set",
    args: ["nonce:1", { seen: true }, { ttlSeconds: 60, onlyIfAbsent: true }],
  }],
  log: FROM_HOST.log,
};

export const FROM_SERVICE: Examples<FromService> = {
  hello: [{
    type: "hello",
    protocol: 1,
    role: "service",
    generation: 0,
    pid: 4700,
    version: "0.1.0",
    secret: "b2Ygbm8gdXNl",
  }],
  files: [{
    type: "files",
    hash: "3f5a",
    files: { "001-auth.ts": "9b1c" },
    lastLive: { hash: "77d0", files: { "001-auth.ts": "04ef" } },
  }],
  host_ended: [{ type: "host_ended", host: 1, reason: "SIGKILL" }],
};

export const TO_SERVICE: Examples<ToService> = {
  refused: [REFUSED],
  start_host: [{
    type: "start_host",
    host: 1,
    files: "3f5a",
    hosts: ["127.0.0.1:2001"],
    env: ["SESSION_SECRET"],
    init: {
      secret: "b2Ygbm8gdXNl",
      version: "0.1.0",
      poolSize: 4,
      loadTimeoutMs: 10000,
      maxFrameBytes: 8388608,
      pluginConfig: { "001-auth": {} },
    },
  }],
  load: [{ type: "load", host: 1, generation: 3, files: "3f5a" }],
  kill_host: [{ type: "kill_host", host: 1 }],
  live: [{ type: "live", files: "3f5a" }],
};

export const TO_HOST: Examples<ToHost> = {
  refused: [REFUSED],
  retire: [{ type: "retire", generation: 2 }],
  replace: [{ type: "replace", isolate: 2, reason: "blocked" }],
  ping: [{ type: "ping", id: 5 }],
  shutdown: [{ type: "shutdown" }],
};

const REQUEST = {
  method: "POST",
  path: "/user-service/users",
  query: "page=2",
  headers: { accept: "application/json", "x-tag": ["a", "b"] },
  remoteAddr: "203.0.113.7",
  host: "api.example.com",
  route: "/user-service/*",
  body: { kind: "inline", sizeBytes: 5, base64: "aGVsbG8=" },
} as const;

export const TO_ISOLATE: Examples<ToIsolate> = {
  refused: [REFUSED],
  hook: [{
    type: "hook",
    id: 7,
    hook: "beforeRequest",
    plugin: "001-auth",
    traceId: "0af7651916cd43dd8448eb211c80319c",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    timeoutMs: 100,
    ctx: {
      request: REQUEST,
      draft: { upstream: { headers: {} }, response: { headers: {} }, state: {} },
    },
  }, {
    type: "hook",
    id: 8,
    hook: "afterResponse",
    plugin: "002-logging",
    traceId: "0af7651916cd43dd8448eb211c80319c",
    timeoutMs: 100,
    ctx: {
      request: { ...REQUEST, body: { kind: "reference", ref: "stream://12", sizeBytes: 10485760 } },
      response: {
        status: 200,
        headers: { "set-cookie": ["a=1", "b=2"], "content-type": "text/plain" },
        body: { kind: "none" },
      },
      draft: {
        upstream: { path: "/users", query: "page=2", headers: { "x-user": "42" } },
        response: {
          status: 201,
          headers: { "x-old": [], vary: { append: ["origin"] } },
          body: { encoding: "base64", data: "AAEC" },
        },
        user: { id: "42" },
        state: { startedAt: 1700000000000 },
      },
    },
  }, {
    type: "hook",
    id: 9,
    hook: "beforeRequest",
    plugin: "*",
    chain: [
      { plugin: "001-auth", readsBodies: false, stopsOnError: true },
      { plugin: "002-logging", readsBodies: true, stopsOnError: false },
    ],
    ownsCors: true,
    traceId: "0af7651916cd43dd8448eb211c80319c",
    timeoutMs: 100,
    ctx: {
      request: { ...REQUEST, body: { kind: "none" } },
      draft: { upstream: { headers: {} }, response: { headers: {} }, state: {} },
    },
  }],
  return: [
    { type: "return", id: 1, value: { seen: true } },
    { type: "return", id: 2, error: "the cache is not reachable" },
  ],
};
