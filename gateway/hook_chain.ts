/**
 * One phase of one request: the hooks of every plugin that has one, in order, with what a rejection, a timeout, an error or a
 * missing host means. Each of these outcomes is a row of the failure table in `docs/operations.md`.
 *
 * @module
 */

import { type Denial, deniedStatus } from "../protocol/mutation_rules.ts";
import type { HookResult, LogRecord, PluginManifest } from "../protocol/messages.ts";
import type { HeaderOverrides, HookName } from "../protocol/snapshot.ts";
import type { Config, Route } from "./config.ts";
import { proposal } from "./observe/proposals.ts";
import { EdgeError } from "./errors.ts";
import type { Exchange, HeaderNames, UpstreamAnswer } from "./exchange.ts";
import type { Generation } from "./generation.ts";
import type { HookCall, HookOutcome } from "./isolate_link.ts";
import type { Log } from "./log.ts";
import type { PluginLogs } from "./plugin_logs.ts";

/** What a plugin answered in place of the upstream. */
export interface Rejected {
  readonly plugin: string;
  readonly status: number;
  readonly message: string;
  readonly headers: HeaderOverrides;
}

/** Which plugins one route runs, in one generation. */
export interface HookPlan {
  readonly beforeRequest: readonly PluginManifest[];
  readonly afterResponse: readonly PluginManifest[];
}

/** Which hook of which plugin. */
interface HookPlace {
  readonly hook: HookName;
  readonly plugin: PluginManifest;
}

export interface ChainNeeds {
  readonly config: Pick<Config, "onHookTimeout" | "onHookError">;
  readonly log: Log;
  readonly pluginLogs: PluginLogs;
  /** Log what each hook proposed: for the author, not for `run`, as values of requests are in it. */
  readonly showsWay?: boolean;
}

const plans = new WeakMap<Generation, WeakMap<Route, HookPlan>>();

/** The plan of a route; worked out once for each generation. */
export function hookPlan(generation: Generation, route: Route): HookPlan {
  let byRoute = plans.get(generation);
  if (!byRoute) plans.set(generation, byRoute = new WeakMap());
  let plan = byRoute.get(route);
  if (!plan) {
    const { plugins } = route;
    const chosen = generation.plugins.filter(({ name }) =>
      plugins === "all" || plugins.includes(name)
    );
    const having = (hook: HookName) => chosen.filter((each) => each.hooks.includes(hook));
    plan = { beforeRequest: having("beforeRequest"), afterResponse: having("afterResponse") };
    byRoute.set(route, plan);
  }
  return plan;
}

/** Whether any of these plugins looks at bodies, so that capturing one is worth it. */
export function readsBodies(plugins: readonly PluginManifest[]): boolean {
  return plugins.some((each) => each.readsBodies);
}

interface Reads {
  readonly bodies: boolean;
  readonly headers?: HeaderNames | undefined;
}

const reads = new WeakMap<readonly PluginManifest[], Reads>();

/** What some of these plugins read of a request. The isolate shows each of them what it declared itself. */
function whatIsRead(plugins: readonly PluginManifest[]): Reads {
  const [first] = plugins;
  if (first && plugins.length === 1) {
    return { bodies: first.readsBodies, headers: first.readsHeaders };
  }
  let known = reads.get(plugins);
  if (!known) {
    const lists = plugins.map((each) => each.readsHeaders);
    const isAll = lists.includes(undefined);
    const bodies = readsBodies(plugins);
    known = isAll
      ? { bodies }
      : { bodies, headers: [...new Set(lists.flatMap((list) => list ?? []))] };
    reads.set(plugins, known);
  }
  return known;
}

/** Runs the hooks of one phase of one request. */
export class HookChain {
  readonly #generation: Generation;
  readonly #exchange: Exchange;
  readonly #needs: ChainNeeds;

  constructor(generation: Generation, exchange: Exchange, needs: ChainNeeds) {
    this.#generation = generation;
    this.#exchange = exchange;
    this.#needs = needs;
  }

  /**
   * @param answer the upstream's, in `afterResponse`
   * @returns the rejection that ended the phase, if one did
   * @throws {EdgeError} `plugin_error`, `hook_timeout` or `runtime_unavailable`, where the rules say so
   */
  async run(
    hook: HookName,
    plugins: readonly PluginManifest[],
    answer?: UpstreamAnswer,
  ): Promise<Rejected | undefined> {
    const { hookDispatch } = this.#exchange.facts.route;
    for (let rest = plugins; rest.length > 0;) {
      const asked = hookDispatch === "per-phase" ? rest : rest.slice(0, 1);
      const askedAt = performance.now();
      this.#exchange.facts.span?.asks(askedAt);
      const { results, outcome } = await this.#generation.run(this.#call(hook, asked, answer));
      for (const [index, result] of results.entries()) {
        const plugin = asked[index] as PluginManifest;
        this.#record({ hook, plugin }, result);
        const rejected = this.#judgeResult(result, { hook, plugin });
        if (rejected) return rejected;
      }
      const plugin = asked[results.length];
      if (outcome.kind !== "answered" && plugin) {
        const durationMs = performance.now() - askedAt;
        this.#record({ hook, plugin }, { action: outcome.kind, durationMs });
        if (this.#judgeOutcome(outcome, { hook, plugin }) === "skip the rest") return undefined;
        rest = rest.slice(1);
      }
      rest = rest.slice(results.length);
    }
  }

  #call(
    hook: HookName,
    plugins: readonly PluginManifest[],
    answer: UpstreamAnswer | undefined,
  ): HookCall {
    const { traceId, trace, route, ownsCors } = this.#exchange.facts;
    return {
      hook,
      chain: plugins.map((plugin) => ({
        plugin: plugin.name,
        readsBodies: plugin.readsBodies,
        stopsOnError: this.#errorRule({ hook, plugin }) === "reject",
      })),
      ownsCors,
      traceId,
      traceparent: trace.traceparent,
      timeoutMs: route.hookTimeoutMs,
      ctx: this.#exchange.context(whatIsRead(plugins), answer),
    };
  }

  /** For the access log, metrics and `/trace`, and for `conduit dev`. */
  #record(
    { hook, plugin }: HookPlace,
    result: HookResult | { readonly action: string; readonly durationMs: number },
  ): void {
    const answered = "id" in result ? result : undefined;
    const action = answered ? actionOf(answered) : result.action;
    const { durationMs } = result;
    // What proposes nothing is not kept: most hooks of most requests do so.
    const kept = action === "continue" ? undefined : answered;
    const step = { plugin: plugin.name, hook, action, durationMs, result: kept };
    this.#exchange.steps.push(step);
    this.#exchange.facts.span?.hook(step);
    if (!this.#needs.showsWay) return;
    this.#needs.log.debug("plugin proposed", {
      traceId: this.#exchange.facts.traceId,
      plugin: plugin.name,
      hook,
      action,
      durationMs,
      ...(answered ? proposal(answered) : {}),
    });
  }

  #judgeOutcome(
    outcome: Exclude<HookOutcome, { kind: "answered" }>,
    at: HookPlace,
  ): "skip the rest" | undefined {
    switch (outcome.kind) {
      case "timed_out":
        return this.#onTimeout(at);
      case "crashed":
        return this.#onError(at, { reason: outcome.reason });
      case "unavailable":
        if (this.#exchange.facts.route.failPolicy === "open") return "skip the rest";
        throw runtimeUnavailable();
    }
  }

  #judgeResult(
    result: HookResult,
    at: HookPlace,
  ): Rejected | undefined {
    for (const record of result.logs ?? []) this.#relay(record, at.plugin.name);
    switch (result.action) {
      case "continue":
        if (result.timedOut) return this.#onTimeout(at);
        if (result.error) return this.#onError(at, { error: result.error });
        return;
      case "modify":
        return this.#report(this.#exchange.accept(result.patch), at);
      case "forward":
        this.#report(this.#exchange.accept(result.patch ?? {}), at);
        this.#exchange.forwardUrl = result.url;
        return;
      case "reject":
        return this.#onReject(result, at);
    }
  }

  #onReject(
    result: Extract<HookResult, { action: "reject" }>,
    at: HookPlace,
  ): Rejected {
    const denials = this.#exchange.accept(result.patch ?? {});
    const headers = this.#exchange.permittedHeaders(result.headers ?? {}, denials);
    this.#report(denials, at);
    const denied = deniedStatus(result.status);
    // The plugin wants this request refused: an impossible status must not let it through.
    if (denied !== null) this.#onErrorRejecting(at, { reason: denied });
    return { plugin: at.plugin.name, status: result.status, message: result.message, headers };
  }

  #onTimeout(
    { hook, plugin }: HookPlace,
  ): undefined {
    const { route, traceId } = this.#exchange.facts;
    const rule = route.onHookTimeout ?? plugin.onTimeout ?? this.#needs.config.onHookTimeout;
    const log = this.#needs.pluginLogs.about(plugin.name);
    log.warn(`hook timed out; treating as ${rule}`, {
      traceId,
      plugin: plugin.name,
      hook,
    });
    if (rule === "reject") throw new EdgeError("hook_timeout", "a policy check took too long");
  }

  #onError(
    at: HookPlace,
    fields: { readonly reason?: string; readonly error?: unknown },
  ): undefined {
    if (this.#errorRule(at) === "reject") this.#onErrorRejecting(at, fields);
    this.#logError("hook failed; treating as continue", at, fields);
  }

  /** After the upstream has acted, hiding its answer helps nobody: only `beforeRequest` can end in a 500. */
  #errorRule({ hook, plugin }: HookPlace): "continue" | "reject" {
    if (hook === "afterResponse") return "continue";
    return this.#exchange.facts.route.onHookError ?? plugin.onHookError ??
      this.#needs.config.onHookError;
  }

  #onErrorRejecting(
    at: HookPlace,
    fields: { readonly reason?: string; readonly error?: unknown },
  ): never {
    this.#logError("hook failed; treating as reject", at, fields);
    throw new EdgeError("plugin_error", "a policy check failed");
  }

  #logError(
    message: string,
    { hook, plugin }: HookPlace,
    fields: { readonly reason?: string; readonly error?: unknown },
  ): void {
    this.#needs.pluginLogs.about(plugin.name).error(message, {
      traceId: this.#exchange.facts.traceId,
      plugin: plugin.name,
      hook,
      ...fields,
    });
  }

  #report(
    denials: readonly Denial[],
    { hook, plugin }: HookPlace,
  ): undefined {
    const step = this.#exchange.steps.at(-1);
    if (step && denials.length > 0) step.denials = denials;
    const { traceId } = this.#exchange.facts;
    for (const { what, reason } of denials) {
      const log = this.#needs.pluginLogs.about(plugin.name);
      log.warn("denied what a plugin set", {
        traceId,
        plugin: plugin.name,
        hook,
        what,
        reason,
      });
    }
  }

  #relay({ level, message, fields }: LogRecord, plugin: string): void {
    const { traceId } = this.#exchange.facts;
    this.#needs.pluginLogs.of(plugin)[level](message, { traceId, plugin, fields });
  }
}

/** What a closed route answers while there is nobody to ask. */
export function runtimeUnavailable(detail?: string): EdgeError {
  return new EdgeError("runtime_unavailable", detail ?? "plugin runtime unavailable");
}

function actionOf(result: HookResult): string {
  if (result.action !== "continue") return result.action;
  return result.timedOut ? "timed_out" : result.error ? "error" : "continue";
}
