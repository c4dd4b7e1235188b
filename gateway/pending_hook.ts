/**
 * A call of hooks: what is asked, what has come back, how it ended.
 *
 * @module
 */

import type { ChainLink, HookResult } from "../protocol/messages.ts";
import type { HookContext, HookName } from "../protocol/snapshot.ts";
import type { Listed } from "./live_list.ts";

/** One hook for one request, or several one after another. */
export interface HookCall {
  readonly hook: HookName;
  /** At least one. */
  readonly chain: readonly ChainLink[];
  readonly ownsCors: boolean;
  readonly traceId: string;
  readonly traceparent: string;
  readonly timeoutMs: number;
  readonly ctx: HookContext;
}

/** How a call ended: `answered`, or with the hook that comes after those of `results`. */
export type HookOutcome =
  | { readonly kind: "answered" }
  | { readonly kind: "timed_out" }
  | { readonly kind: "crashed"; readonly reason: string }
  /** The host is gone, or has had no isolate free for too long. */
  | { readonly kind: "unavailable" };

export interface HookAnswer {
  readonly results: readonly HookResult[];
  readonly outcome: HookOutcome;
}

/** A call on its way. */
export class PendingHook implements Listed<PendingHook> {
  readonly call: HookCall;
  /** Under which it was sent last. */
  id = 0;
  before: PendingHook | undefined;
  after: PendingHook | undefined;
  listed = false;
  /** In the order of the chain. */
  readonly #results: HookResult[] = [];
  readonly createdAt: number = performance.now();
  sentAt = 0;
  #settle: ((answer: HookAnswer) => void) | undefined;

  constructor(call: HookCall, settle: (answer: HookAnswer) => void) {
    this.call = call;
    this.#settle = settle;
  }

  get settled(): boolean {
    return this.#settle === undefined;
  }

  /** What its hooks have taken so far. */
  get spentMs(): number {
    return this.#results.reduce((sum, { durationMs }) => sum + durationMs, 0);
  }

  /** The hook whose result comes next. */
  get awaited(): ChainLink | undefined {
    return this.call.chain[this.#results.length];
  }

  /** Takes the result of `awaited`. */
  accept(result: HookResult): void {
    this.#results.push(result);
  }

  /** The first outcome counts; later ones are dropped. */
  settle(outcome: HookOutcome): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.({ results: [...this.#results], outcome });
  }
}
