/**
 * One set of loaded plugins, from the gateway's side: its manifest and its isolates. Hooks go to the least busy isolate; one
 * that blocks is given up, and what it had not begun runs elsewhere.
 *
 * @module
 */

import type { FromHost, PluginManifest } from "../protocol/messages.ts";
import { isAfter, type IsolateEvents, IsolateLink, type PluginEvents } from "./isolate_link.ts";
import { type HookAnswer, type HookCall, type HookOutcome, PendingHook } from "./pending_hook.ts";

/** How often unanswered hooks are looked at, while there are any. */
const SWEEP_MS = 20;
/** An isolate tells of a timeout by itself. Only when it is silent for this much longer is it taken to be stuck. */
const GRACE_MS = 20;
/** A stall of the gateway itself must not look like a stuck isolate: it gets this long after the first suspicion. */
const MIN_SUSPECT_MS = 50;
/** How long a hook may wait for a free isolate, all attempts together. */
const DISPATCH_LIMIT_MS = 3000;
/**
 * Calls go to the first isolate that will come to them within so long, and to the least busy one where none will. An isolate that
 * has several at hand reads and writes them together; on a machine with fewer cores than isolates that doubles the rate.
 */
const MAX_PACKED_WAIT_MS = 2;
/** Calls that a blocked isolate may hold up. */
const MAX_PACKED_CALLS = 16;
/** How long the host may take to confirm that an isolate is given up. */
const CONFIRM_LIMIT_MS = 2000;

export interface GenerationNeeds {
  readonly hardCeilingMs: number;
  /** What the isolates are about; `undefined` when the host does not answer. */
  readonly progress: () => Promise<
    Pick<Extract<FromHost, { type: "pong" }>, "started" | "unsent"> | undefined
  >;
  readonly replace: (isolate: number, reason: string) => void;
  /** An isolate's thread is stuck for good: only a new process frees its core. */
  readonly onBlocked: () => void;
  /** The host's main thread does not answer either. */
  readonly onHostStuck: () => void;
  /** Retired, and no request uses it any more. */
  readonly onIdle: (generation: Generation) => void;
  readonly isolateEvents: PluginEvents;
}

interface Lost {
  readonly link: IsolateLink;
  readonly outcome: HookOutcome;
  readonly since: number;
}

export class Generation implements Pick<IsolateEvents, "onAnswer" | "onClose"> {
  readonly id: number;
  readonly plugins: readonly PluginManifest[];
  readonly #needs: GenerationNeeds;
  readonly #isolates = new Map<number, IsolateLink>();
  readonly #lost = new Map<number, Lost>();
  #waiting: PendingHook[] = [];
  #leases = 0;
  #retired = false;
  #closed = false;
  #sweeper: ReturnType<typeof setInterval> | undefined;
  #looking = false;

  constructor(id: number, plugins: readonly PluginManifest[], needs: GenerationNeeds) {
    this.id = id;
    this.plugins = plugins;
    this.#needs = needs;
  }

  /** Isolates that take hooks now. */
  get readyIsolates(): number {
    return [...this.#isolates.values()].filter((each) => each.suspectSince === undefined).length;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether requests or unanswered hooks still need it. */
  get busy(): boolean {
    return this.#leases > 0;
  }

  hasIsolate(isolate: number): boolean {
    return this.#isolates.has(isolate) || this.#lost.has(isolate);
  }

  addIsolate(link: IsolateLink): void {
    link.adopt({
      onAnswer: (from) => this.onAnswer(from),
      onClose: (from, reason) => this.onClose(from, reason),
      ...this.#needs.isolateEvents,
    });
    this.#isolates.set(link.id, link);
    if (!link.open) this.onClose(link, undefined);
    this.#dispatchWaiting();
  }

  /** Keeps this generation alive from a request's first hook to its last. The returned function ends that, once. */
  lease(): () => void {
    this.#leases++;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#leases--;
      this.#checkIdle();
    };
  }

  /** No new request will come; `onIdle` is called when the last one is done. */
  retire(): void {
    this.#retired = true;
    this.#checkIdle();
  }

  /** Runs the hooks of one call somewhere. Never throws. */
  run(call: HookCall): Promise<HookAnswer> {
    return new Promise((resolve) => {
      this.#dispatch(new PendingHook(call, resolve));
      this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS);
    });
  }

  /** The host is gone. Everything unanswered is `unavailable`. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#sweeper);
    const links = [
      ...this.#isolates.values(),
      ...[...this.#lost.values()].map((each) => each.link),
    ];
    const pending = [...links.flatMap((link) => link.pending.toArray()), ...this.#waiting];
    this.#isolates.clear();
    this.#lost.clear();
    this.#waiting = [];
    for (const link of links) link.close();
    for (const each of pending) each.settle({ kind: "unavailable" });
  }

  /** It works: it gets hooks again. */
  onAnswer(link: IsolateLink): void {
    link.suspectSince = undefined;
    if (this.#waiting.length > 0) this.#dispatchWaiting();
  }

  onClose(link: IsolateLink, reason: string | undefined): void {
    if (this.#isolates.has(link.id)) {
      this.#giveUp(link, { kind: "crashed", reason: reason ?? "the isolate ended" });
    }
  }

  /** The host confirms that an isolate begins nothing more. */
  onIsolateLost(
    { isolate, reason, started, unsent = [] }: Extract<FromHost, { type: "isolate_lost" }>,
  ): void {
    const outcome = this.#lost.get(isolate)?.outcome ?? { kind: "crashed", reason };
    const link = this.#lost.get(isolate)?.link ?? this.#isolates.get(isolate);
    this.#lost.delete(isolate);
    this.#isolates.delete(isolate);
    if (!link) return;
    const pending = link.pending.toArray();
    for (const each of pending) link.pending.delete(each);
    link.close();
    for (const each of pending) {
      if (each.settled) continue;
      link.takeUnsent(each, unsent);
      if (isAfter(each.id, started)) this.#dispatch(each);
      else each.settle(outcome);
    }
  }

  #dispatch(pending: PendingHook): void {
    if (this.#closed) return pending.settle({ kind: "unavailable" });
    // Nobody passes those who wait.
    const isolate = this.#waiting.length === 0 ? this.#freeIsolate() : undefined;
    if (isolate) isolate.send(pending);
    else this.#waiting.push(pending);
  }

  #freeIsolate(): IsolateLink | undefined {
    let best: IsolateLink | undefined;
    for (const link of this.#isolates.values()) {
      if (link.suspectSince !== undefined || link.isFull) continue;
      if (link.pending.size < MAX_PACKED_CALLS && link.waitMs < MAX_PACKED_WAIT_MS) {
        return link;
      }
      if (!best || link.pending.size < best.pending.size) best = link;
    }
    return best;
  }

  #dispatchWaiting(): void {
    for (let isolate = this.#freeIsolate(); isolate; isolate = this.#freeIsolate()) {
      const pending = this.#waiting.shift();
      if (!pending) return;
      isolate.send(pending);
    }
  }

  #giveUp(link: IsolateLink, outcome: HookOutcome): void {
    this.#isolates.delete(link.id);
    this.#lost.set(link.id, { link, outcome, since: performance.now() });
    this.#needs.replace(link.id, outcome.kind === "crashed" ? outcome.reason : "a hook blocked it");
    if (outcome.kind === "timed_out") this.#needs.onBlocked();
  }

  #checkIdle(): void {
    if (this.#retired && this.#leases === 0) this.#needs.onIdle(this);
  }

  #sweep(): void {
    const now = performance.now();
    let unanswered = this.#waiting.length + this.#lost.size;
    for (const link of this.#isolates.values()) {
      unanswered += link.pending.size;
      this.#sweepIsolate(link, now);
    }
    for (const { since } of this.#lost.values()) {
      if (now - since > CONFIRM_LIMIT_MS) return this.#needs.onHostStuck();
    }
    // An isolate may have taken what was queued after its last answer came.
    this.#dispatchWaiting();
    this.#waiting = this.#waiting.filter((pending) => {
      if (now - pending.createdAt < DISPATCH_LIMIT_MS) return true;
      pending.settle({ kind: "unavailable" });
      return false;
    });
    if (unanswered > 0) return void this.#timeOutBegun();
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  /** An isolate that is silent for longer than a hook may take gets nothing more, and after the hard ceiling it is given up. */
  #sweepIsolate(link: IsolateLink, now: number): void {
    let silentMs = 0;
    for (const pending of link.pending.toArray()) {
      if (isOverdue(link, pending, now)) {
        silentMs = Math.max(silentMs, link.stalledMs(pending, now));
      }
    }
    if (silentMs === 0) return this.onAnswer(link);
    link.suspectSince ??= now;
    if (silentMs > this.#needs.hardCeilingMs && now - link.suspectSince >= MIN_SUSPECT_MS) {
      this.#giveUp(link, { kind: "timed_out" });
    }
  }

  /** A stuck isolate cannot say that time is over. What it began is timed out here; what it did not begin may still run. */
  async #timeOutBegun(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const progress = await this.#needs.progress();
    // What an isolate wrote in time is in our socket by now: two turns of the event loop read it.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
    this.#looking = false;
    const now = performance.now();
    for (const link of this.#isolates.values()) {
      const last = progress?.started[link.id];
      if (last === undefined) continue;
      link.sawBegun(last);
      const unsent = progress?.unsent?.find(({ isolate }) => isolate === link.id)?.results ?? [];
      link.takeEnded(unsent);
      for (const pending of link.pending.toArray()) {
        if (pending.settled || isAfter(pending.id, last)) continue;
        if (!isOverdue(link, pending, now)) continue;
        link.takeUnsent(pending, unsent);
        pending.settle({ kind: "timed_out" });
      }
    }
  }
}

function isOverdue(link: IsolateLink, pending: PendingHook, now: number): boolean {
  return link.stalledMs(pending, now) > pending.call.timeoutMs + GRACE_MS;
}
