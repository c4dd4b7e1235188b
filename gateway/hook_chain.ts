/**
 * One phase of one request: the hooks of every plugin that has one, in order, with what a rejection, a timeout, an error or a
 * missing host means. Each of these outcomes is a row of the failure table in `docs/operations.md`.
 *
 * @module
 */

import { type Denial, deniedStatus } from "../protocol/mutation_rules.ts";
import type { HookResult, LogRecord } from "../protocol/messages.ts";
import type { HeaderOverrides } from "../protocol/snapshot.ts";
import { proposal } from "./observe/proposals.ts";
import { EdgeError } from "./errors.ts";
import type { Exchange, UpstreamAnswer } from "./exchange.ts";
import type { Generation } from "./generation.ts";
import type { HookGroup, PhasePlan, PlannedHook } from "./hook_plan.ts";
import type { Log } from "./log.ts";
import type { HookCall, HookOutcome } from "./pending_hook.ts";
import type { PluginLogs } from "./plugin_logs.ts";

/** What a plugin answered in place of the upstream. */
export interface Rejected {
  readonly plugin: string;
  readonly status: number;
  readonly message: string;
  readonly headers: HeaderOverrides;
}

export interface ChainNeeds {
  readonly log: Log;
  readonly pluginLogs: PluginLogs;
  /** Log what each hook proposed: for the author, not for `run`, as values of requests are in it. */
  readonly showsWay?: boolean;
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
  async run(phase: PhasePlan, answer?: UpstreamAnswer): Promise<Rejected | undefined> {
    for (let at = 0; at < phase.hooks.length;) {
      const group = phase.groups[at] as HookGroup;
      const askedAt = performance.now();
      this.#exchange.facts.span?.asks(askedAt);
      const { results, outcome } = await this.#generation.run(this.#call(phase, group, answer));
      for (const result of results) {
        const planned = phase.hooks[at++] as PlannedHook;
        this.#record(planned, result);
        const rejected = this.#judgeResult(result, planned);
        if (rejected) return rejected;
      }
      // Its last result may have been found when it was given up.
      const unanswered = group.hooks[results.length];
      if (outcome.kind === "answered" || !unanswered) continue;
      at++;
      this.#record(unanswered, { action: outcome.kind, durationMs: performance.now() - askedAt });
      if (this.#judgeOutcome(outcome, unanswered) === "skip the rest") return undefined;
    }
  }

  #call(
    { hook }: PhasePlan,
    { chain, reads }: HookGroup,
    answer: UpstreamAnswer | undefined,
  ): HookCall {
    const { traceId, trace, route, ownsCors } = this.#exchange.facts;
    return {
      hook,
      chain,
      ownsCors,
      traceId,
      traceparent: trace.traceparent,
      timeoutMs: route.hookTimeoutMs,
      ctx: this.#exchange.context(reads, answer),
    };
  }

  /** For the access log, metrics and `/trace`, and for `conduit dev`. */
  #record(
    { hook, plugin }: PlannedHook,
    result: HookResult | { readonly action: string; readonly durationMs: number },
  ): void {
    const answered = "id" in result ? result : undefined;
    const action = answered ? actionOf(answered) : result.action;
    const { durationMs } = result;
    // What proposes nothing is not kept: most hooks of most requests do so.
    const kept = action === "continue" ? undefined : answered;
    const step = { plugin, hook, action, durationMs, result: kept };
    this.#exchange.steps.push(step);
    this.#exchange.facts.span?.hook(step);
    if (!this.#needs.showsWay) return;
    this.#needs.log.debug("plugin proposed", {
      traceId: this.#exchange.facts.traceId,
      plugin,
      hook,
      action,
      durationMs,
      ...(answered ? proposal(answered) : {}),
    });
  }

  #judgeOutcome(
    outcome: Exclude<HookOutcome, { kind: "answered" }>,
    at: PlannedHook,
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

  #judgeResult(result: HookResult, at: PlannedHook): Rejected | undefined {
    for (const record of result.logs ?? []) this.#relay(record, at.plugin);
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

  #onReject(result: Extract<HookResult, { action: "reject" }>, at: PlannedHook): Rejected {
    const denials = this.#exchange.accept(result.patch ?? {});
    const headers = this.#exchange.permittedHeaders(result.headers ?? {}, denials);
    this.#report(denials, at);
    const denied = deniedStatus(result.status);
    // The plugin wants this request refused: an impossible status must not let it through.
    if (denied !== null) {
      this.#onErrorRejecting(at, result.error ? { error: result.error } : { reason: denied });
    }
    return { plugin: at.plugin, status: result.status, message: result.message, headers };
  }

  #onTimeout({ hook, plugin, onTimeout }: PlannedHook): undefined {
    const { traceId } = this.#exchange.facts;
    const log = this.#needs.pluginLogs.about(plugin);
    log.warn(`hook timed out; treating as ${onTimeout}`, { traceId, plugin, hook });
    if (onTimeout === "reject") throw new EdgeError("hook_timeout", "a policy check took too long");
  }

  #onError(
    at: PlannedHook,
    fields: { readonly reason?: string; readonly error?: unknown },
  ): undefined {
    if (at.onError === "reject") this.#onErrorRejecting(at, fields);
    this.#logError("hook failed; treating as continue", at, fields);
  }

  #onErrorRejecting(
    at: PlannedHook,
    fields: { readonly reason?: string; readonly error?: unknown },
  ): never {
    this.#logError("hook failed; treating as reject", at, fields);
    throw new EdgeError("plugin_error", "a policy check failed");
  }

  #logError(
    message: string,
    { hook, plugin }: PlannedHook,
    fields: { readonly reason?: string; readonly error?: unknown },
  ): void {
    this.#needs.pluginLogs.about(plugin).error(message, {
      traceId: this.#exchange.facts.traceId,
      plugin,
      hook,
      ...fields,
    });
  }

  #report(denials: readonly Denial[], { hook, plugin }: PlannedHook): undefined {
    const step = this.#exchange.steps.at(-1);
    if (step && denials.length > 0) step.denials = denials;
    const { traceId } = this.#exchange.facts;
    for (const { what, reason } of denials) {
      const log = this.#needs.pluginLogs.about(plugin);
      log.warn("denied what a plugin set", { traceId, plugin, hook, what, reason });
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
