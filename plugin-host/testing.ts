/**
 * Tests of plugins without a gateway: hooks run through the same context, diff and rules as in the plugin host and the gateway.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { createTestContext, loadPlugin, runHook } from "conduit/testing";
 * import auth from "./001-auth.ts";
 *
 * Deno.test("no token, no entry", async () => {
 *   await loadPlugin(auth, { config: { token: "secret" } });
 *   const { rejected } = await runHook(auth, "beforeRequest", createTestContext({ path: "/me" }));
 *   assert.equal(rejected?.status, 401);
 * });
 * ```
 *
 * @module
 */

import {
  decodeFromIsolate,
  decodeToIsolate,
  type HookResult,
  type LogRecord,
} from "../protocol/messages.ts";
import type { Denial } from "../protocol/mutation_rules.ts";
import type { Patch } from "../protocol/patch.ts";
import type { HookName, Json } from "../protocol/snapshot.ts";
import { runHook as runHookFrame } from "./hook_runner.ts";
import { isolateLog } from "./isolate_log.ts";
import { checkShape } from "./loader.ts";
import type { Plugin, Services } from "./mod.ts";
import { httpService } from "./services/http.ts";
import { brokenCache, type TestCache, testCache } from "./testing/cache.ts";
import { type TestClock, withClock } from "./testing/clock.ts";
import {
  type ClientResponse,
  type Rejected,
  TestExchange,
  type TestHeaders,
  type TestRequest,
  TRACE_ID,
} from "./testing/exchange.ts";
import { fakeFetch, type FakeHttp } from "./testing/network.ts";

export type { ClientResponse, Denial, FakeHttp, LogRecord, Patch, Rejected };
export type { TestBody, TestHeaders, TestRequest, TestResponse } from "./testing/exchange.ts";
export type { TestCache, TestClock };

export interface TestContextOptions extends TestRequest {
  /** What is in the cache; or the cache of another context, to be shared with its clock; or `"down"`: each call rejects. */
  readonly cache?: { readonly [key: string]: Json } | TestCache | "down";
  /** What `services.http` reaches. By default nothing: each host is refused. */
  readonly http?: FakeHttp;
  /** `hookTimeoutMs`, in real time. Default 1000, more than a gateway's, so that a busy machine fails no test. */
  readonly timeoutMs?: number;
}

/**
 * One request on its way through the chain. Hooks that run on it one after another see what the earlier ones set, as in the
 * gateway. Made by `createTestContext`.
 */
export class TestContext {
  readonly cache: TestCache;
  readonly #exchange: TestExchange;
  readonly #fetch: typeof fetch;
  readonly #timeoutMs: number;

  constructor(options: TestContextOptions) {
    const { cache, http = {}, timeoutMs = 1000 } = options;
    this.cache = cache === "down" ? brokenCache() : isCache(cache) ? cache : testCache(cache);
    this.#exchange = new TestExchange(options);
    this.#fetch = fakeFetch(http);
    this.#timeoutMs = timeoutMs;
  }

  /**
   * The clock of the cache. Once it has been set, `Date.now()` and `new Date()` follow it while a hook or `onLoad` runs. Time
   * limits, `ctx.signal` and timers stay in real time.
   */
  get clock(): TestClock {
    return this.cache.clock;
  }

  /** The services of one hook, or of `onLoad`. */
  services(signal: () => AbortSignal): Services {
    const traceHeaders = { "x-request-id": TRACE_ID };
    const http = httpService({ traceHeaders, signal, fetch: this.#fetch });
    return Object.freeze({ http, cache: this.cache });
  }

  /** See `runHook`. */
  async run(plugin: Plugin, hook: HookName): Promise<HookOutcome> {
    const exchange = this.#exchange;
    if (!checkShape("the plugin", plugin)[hook]) throw new TypeError(`the plugin has no "${hook}"`);
    if (exchange.rejection) {
      throw new Error(
        "an earlier hook rejected this request, so no other runs; make a new context",
      );
    }
    const frame = decodeToIsolate(wire({
      type: "hook",
      id: 1,
      hook,
      plugin: "plugin-under-test",
      traceId: TRACE_ID,
      timeoutMs: this.#timeoutMs,
      ctx: exchange.context(hook, { readsBodies: plugin.readsBodies ?? true }),
    }));
    if (frame.type !== "hook") throw new TypeError(`a "${frame.type}" frame is not a hook frame`);
    const logs: LogRecord[] = [];
    const sent = await withClock(this.clock, () =>
      runHookFrame(plugin, frame, {
        services: (_, signal) => this.services(signal),
        lateLog: (record) => logs.push(structuredClone(record)),
      }));
    const result = decodeFromIsolate(wire(sent));
    if (result.type !== "result") throw new TypeError(`a "${result.type}" frame is not a result`);
    logs.unshift(...structuredClone(result.logs ?? []));
    return this.#outcome(result, { hook, logs });
  }

  #outcome(
    result: HookResult,
    { hook, logs }: { readonly hook: HookName; readonly logs: readonly LogRecord[] },
  ): HookOutcome {
    const exchange = this.#exchange;
    const patch = "patch" in result ? result.patch ?? {} : {};
    const denied = exchange.accept(patch);
    if (result.action === "forward") exchange.forwarded = result.url;
    let rejected: Rejected | undefined;
    if (result.action === "reject") {
      const { status, message, headers = {} } = result;
      rejected = structuredClone({ status, message, headers });
      denied.push(...exchange.reject(rejected, { isMistaken: result.error !== undefined }));
    }
    return {
      action: actionOf(result),
      patch: structuredClone(patch),
      denied,
      rejected,
      forwarded: exchange.forwarded,
      error: "error" in result ? result.error : undefined,
      logs,
      user: structuredClone(exchange.draft.user),
      state: structuredClone(exchange.draft.state),
      upstreamHeaders: exchange.upstreamHeaders(),
      response: exchange.rejection ?? (hook === "afterResponse" ? exchange.response() : undefined),
    };
  }
}

/** What one hook did, and what of the request stands after it. */
export interface HookOutcome {
  /** In the words of `x-conduit-plugins`: what the rules for errors and timeouts then make of it is configuration. */
  readonly action: "continue" | "modify" | "forward" | "reject" | "error" | "timed_out";
  /** What the hook changed, with what is denied of it; `{}` where that is nothing. */
  readonly patch: Patch;
  /** What the gateway refuses of that. */
  readonly denied: readonly Denial[];
  /** What the hook gave to `ctx.reject`. */
  readonly rejected: Rejected | undefined;
  /** The target that was proposed last, by this hook or an earlier one; the gateway still judges it. */
  readonly forwarded: string | undefined;
  /** What the hook threw, where it threw. */
  readonly error: { readonly name: string; readonly message: string } | undefined;
  readonly logs: readonly LogRecord[];
  readonly user: Json | undefined;
  readonly state: { readonly [key: string]: Json };
  /** What the upstream gets, but for the fields that the gateway sets. Lower-case names. */
  readonly upstreamHeaders: TestHeaders;
  /** What the client gets: after a rejection, and in `afterResponse`. Otherwise `undefined`. */
  readonly response: ClientResponse | undefined;
}

/** A request for hooks to run on. Without options a `GET /` of nobody that is answered with an empty 200. */
export function createTestContext(options: TestContextOptions = {}): TestContext {
  return new TestContext(options);
}

/**
 * Runs one hook. What the hook throws is in the outcome.
 *
 * @throws {TypeError} when the plugin has no such hook
 * @throws {LoadError} when it is no plugin
 * @throws {Error} when an earlier hook rejected the request
 */
export function runHook(plugin: Plugin, hook: HookName, ctx: TestContext): Promise<HookOutcome> {
  return ctx.run(plugin, hook);
}

/**
 * Runs the plugin's `onLoad`, if it has one. Settings live in the plugin's module, so the last call counts.
 *
 * @param options.ctx whose services and clock `onLoad` sees
 * @returns what it logged
 * @throws what `onLoad` throws
 */
export async function loadPlugin(
  plugin: Plugin,
  { config = {}, env = {}, ctx = createTestContext() }: {
    /** `pluginConfig["<plugin name>"]`. */
    readonly config?: Json;
    readonly env?: Readonly<Record<string, string>>;
    readonly ctx?: TestContext;
  } = {},
): Promise<readonly LogRecord[]> {
  const logs: LogRecord[] = [];
  await withClock(ctx.clock, () =>
    checkShape("the plugin", plugin).onLoad?.({
      config: structuredClone(config),
      env,
      services: ctx.services(() => new AbortController().signal),
      log: isolateLog((record) => logs.push(structuredClone(record))),
    }));
  return logs;
}

function actionOf(result: HookResult): HookOutcome["action"] {
  if (result.action !== "continue") return result.action;
  return result.timedOut ? "timed_out" : result.error ? "error" : "continue";
}

function isCache(cache: TestContextOptions["cache"]): cache is TestCache {
  return typeof cache === "object" && "clock" in cache && "increment" in cache;
}

/** As a frame carries it. */
function wire(message: object): object {
  return JSON.parse(JSON.stringify(message));
}
