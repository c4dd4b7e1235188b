/**
 * Hook frames with little in them, and a run whose result has crossed the wire.
 *
 * @module
 */

import {
  decodeFromIsolate,
  type HookFrame,
  type HookResult,
  type LogRecord,
} from "../../protocol/messages.ts";
import {
  EMPTY_DRAFT,
  type HookContext,
  type HookName,
  type RequestSnapshot,
} from "../../protocol/snapshot.ts";
import { runHook } from "../../plugin-host/hook_runner.ts";
import type { Plugin, Services } from "../../plugin-host/mod.ts";
import { cacheService } from "../../plugin-host/services/cache.ts";
import { httpService } from "../../plugin-host/services/http.ts";

export const REQUEST: RequestSnapshot = {
  method: "GET",
  path: "/users",
  query: "a=1&b=%20",
  headers: { accept: "text/html", "x-list": 'a, "b, c" , d' },
  remoteAddr: "203.0.113.7",
  host: "api.example.com",
  route: "/*",
  body: { kind: "none" },
};

/** A whole input from the parts that matter. */
export function input(
  parts: {
    readonly request?: Partial<RequestSnapshot>;
    readonly response?: HookContext["response"];
    readonly draft?: Partial<HookContext["draft"]>;
  } = {},
): HookContext {
  // As it comes from the socket: plain objects out of JSON.
  return JSON.parse(JSON.stringify({
    request: { ...REQUEST, ...parts.request },
    response: parts.response,
    draft: { ...EMPTY_DRAFT, ...parts.draft },
  }));
}

export interface RunOptions {
  readonly hook?: HookName;
  readonly timeoutMs?: number;
  readonly ctx?: HookContext;
  readonly lateLog?: (record: LogRecord, frame: HookFrame) => void;
}

/** Runs one hook and gives its result as the gateway decodes it. */
export async function run(plugin: Plugin, options: RunOptions = {}): Promise<HookResult> {
  const { hook = "beforeRequest", timeoutMs = 2000, ctx = input(), lateLog = () => {} } = options;
  const frame: HookFrame = {
    type: "hook",
    id: 7,
    hook,
    plugin: "001-test",
    traceId: "t1",
    timeoutMs,
    ctx,
  };
  const result = await runHook(plugin, frame, {
    services: (_, signal): Services => ({
      http: httpService({ traceHeaders: { "x-request-id": frame.traceId }, signal }),
      cache: cacheService((method, args) => Promise.resolve([method, ...args])),
    }),
    lateLog,
  });
  const decoded = decodeFromIsolate(JSON.parse(JSON.stringify(result)));
  if (decoded.type !== "result") throw new Error(`runHook gave a "${decoded.type}"`);
  return decoded;
}
