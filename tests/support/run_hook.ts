/**
 * Runs one hook of a plugin as an isolate does, from a short description of the request.
 *
 * ```ts
 * await loadPlugin(auth, { tokens: { alice: { token: "secret" } } });
 * const result = await runPlugin(auth, "beforeRequest", { path: "/me" });
 * assertEquals(result.action, "reject");
 * ```
 *
 * @module
 */

import { runHook } from "../../plugin-host/hook_runner.ts";
import { isolateLog } from "../../plugin-host/isolate_log.ts";
import type { Plugin, Services } from "../../plugin-host/mod.ts";
import {
  decodeFromIsolate,
  decodeToIsolate,
  type HookResult,
  type LogRecord,
} from "../../protocol/messages.ts";
import { apply, type Patch } from "../../protocol/patch.ts";
import {
  type Draft,
  EMPTY_DRAFT,
  type HookName,
  type Json,
  type RequestSnapshot,
  type ResponseSnapshot,
} from "../../protocol/snapshot.ts";

/** What differs from a plain `GET /` without headers that was answered with a plain 200. */
export interface HookInput extends Partial<RequestSnapshot> {
  readonly response?: Partial<ResponseSnapshot>;
  /** What the earlier hooks proposed, see `draftAfter`. */
  readonly draft?: Draft;
  readonly timeoutMs?: number;
  /** By default there are none, and a plugin that asks for them throws. */
  readonly services?: Services;
}

/**
 * Runs `onLoad`, if there is one, with this configuration. A plugin's settings are its module's: the last call counts.
 *
 * @returns what it logged
 */
export async function loadPlugin(
  plugin: Plugin,
  config: Json = {},
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly services?: Services;
  } = {},
): Promise<readonly LogRecord[]> {
  const logs: LogRecord[] = [];
  await plugin.onLoad?.({
    config: structuredClone(config),
    env: options.env ?? {},
    get services() {
      return options.services ?? noServices();
    },
    log: isolateLog((record) => logs.push(record)),
  });
  return logs;
}

/** Runs `hook` of `plugin`. Both frames pass the strict decoders, as on the socket. */
export async function runPlugin(
  plugin: Plugin,
  hook: HookName,
  input: HookInput = {},
): Promise<HookResult> {
  const { response, draft = EMPTY_DRAFT, timeoutMs = 1000, services, ...request } = input;
  const frame = decodeToIsolate(wire({
    type: "hook",
    id: 1,
    hook,
    plugin: "plugin-under-test",
    traceId: "test",
    timeoutMs,
    ctx: {
      request: { ...PLAIN_REQUEST, ...request },
      ...(hook === "afterResponse" ? { response: { ...PLAIN_RESPONSE, ...response } } : {}),
      draft,
    },
  }));
  if (frame.type !== "hook") throw new TypeError(`a "${frame.type}" frame is not a hook frame`);
  const result = await runHook(plugin, frame, {
    services: () => services ?? noServices(),
    lateLog: () => {},
  });
  const decoded = decodeFromIsolate(wire(result));
  if (decoded.type !== "result") throw new TypeError(`a "${decoded.type}" frame is not a result`);
  return decoded;
}

/** What stands after this hook: the `draft` of the next one. Nothing is left of a hook that failed. */
export function draftAfter(result: HookResult, before: Draft = EMPTY_DRAFT): Draft {
  return apply(before, patchOf(result));
}

/** What the hook proposed; empty where that is nothing. */
export function patchOf(result: HookResult): Patch {
  return "patch" in result ? result.patch ?? {} : {};
}

const PLAIN_REQUEST: RequestSnapshot = {
  method: "GET",
  path: "/",
  query: "",
  headers: {},
  remoteAddr: "203.0.113.7",
  host: "gateway.test",
  route: "/*",
  body: { kind: "none" },
};

const PLAIN_RESPONSE: ResponseSnapshot = { status: 200, headers: {}, body: { kind: "none" } };

function wire(message: object): object {
  return JSON.parse(JSON.stringify(message));
}

function noServices(): Services {
  throw new TypeError("this test gives the plugin no services");
}
