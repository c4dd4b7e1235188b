/**
 * One isolate as the gateway sees it: its connection, and the hooks that were sent to it and not yet answered.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { endsChain } from "../protocol/chain.ts";
import {
  type CallFrame,
  decodeFromIsolate,
  type FromIsolate,
  type HookFrame,
  type HookResult,
} from "../protocol/messages.ts";
import { MessageError } from "../protocol/decode.ts";
import type { Json } from "../protocol/snapshot.ts";
import { errorText } from "./errors.ts";
import { LiveList } from "./live_list.ts";
import type { DroppedAnswer } from "./observe/metrics.ts";
import type { HookCall, PendingHook } from "./pending_hook.ts";
import type { Peer, PeerConnection } from "./plugin_socket.ts";
import { ServiceCalls } from "./service_calls.ts";

export interface IsolateEvents {
  /** It answered: it is alive. */
  onAnswer(link: IsolateLink): void;
  onClose(link: IsolateLink, reason: string | undefined): void;
  onLog(record: Extract<FromIsolate, { type: "log" }>): void;
  /** It answered what nobody waits for. */
  onDropped(reason: DroppedAnswer): void;
  /** Carries out a service call. */
  onCall(frame: CallFrame): Promise<Json>;
}

/** What has nothing to do with one isolate or generation. */
export type PluginEvents = Pick<IsolateEvents, "onLog" | "onCall" | "onDropped">;

/** Of calls that are written ahead of an isolate: with bodies in them, those of many requests would fill the gateway's memory. */
const MAX_AHEAD_BYTES = 2 * 1024 * 1024;

export class IsolateLink implements Peer {
  readonly id: number;
  readonly generation: number;
  /** In the order of sending, and of their ids. */
  readonly pending = new LiveList<PendingHook>();
  /** When a hook's time passed without an answer, in `performance.now()`; such an isolate gets nothing new. */
  suspectSince: number | undefined;
  readonly #connection: PeerConnection;
  readonly #calls: ServiceCalls;
  #events: IsolateEvents;
  #lastId = 0;
  #begun = 0;
  /** When it last began or answered a hook, as far as we know. */
  #progressAt = 0;
  #flushesSoon = false;
  /** What a call takes: a moving average. NaN before the first one has ended. */
  #callMs = NaN;

  constructor(
    from: { readonly isolate: number; readonly generation: number },
    connection: PeerConnection,
    events: IsolateEvents,
  ) {
    this.id = from.isolate;
    this.generation = from.generation;
    this.#connection = connection;
    this.#calls = new ServiceCalls(connection, (frame) => this.#events.onCall(frame));
    this.#events = events;
  }

  /** From now on a generation hears of it. */
  adopt(events: IsolateEvents): void {
    this.#events = events;
  }

  get open(): boolean {
    return !this.#connection.closed;
  }

  /** It has yet to take so much that a further call can wait elsewhere as well. */
  get isFull(): boolean {
    return this.#connection.queuedBytes > MAX_AHEAD_BYTES;
  }

  /** How long a further call would wait here, by what the last ones took; NaN as long as nothing is known. */
  get waitMs(): number {
    return this.pending.size * this.#callMs;
  }

  /** The host tells which hook it began last. */
  sawBegun(id: number): void {
    if (id === this.#begun) return;
    this.#begun = id;
    this.#progressAt = performance.now();
  }

  /**
   * How long a hook has waited here while the isolate neither began nor answered any: an isolate that works off a queue is
   * slow, one that does nothing is stuck.
   */
  stalledMs({ sentAt }: PendingHook, now: number): number {
    return now - Math.max(sentAt, this.#progressAt);
  }

  send(pending: PendingHook): void {
    const id = pending.id = ++this.#lastId;
    pending.sentAt = performance.now();
    this.pending.add(pending);
    try {
      this.#connection.hold({ type: "hook", id, ...asked(pending.call) });
      // Nobody else is on the way: nothing is gained by waiting for others.
      if (this.pending.size === 1) this.#connection.flush();
      else this.#flushSoon();
    } catch (error) {
      this.pending.delete(pending);
      pending.settle({ kind: "crashed", reason: errorText(error) }); // larger than a frame may be
    }
  }

  /** What requests ask for in one turn of the event loop is asked for together: a write costs more than most hooks. */
  #flushSoon(): void {
    if (this.#flushesSoon) return;
    this.#flushesSoon = true;
    setImmediate(() => {
      this.#flushesSoon = false;
      this.#connection.flush();
    });
  }

  /** Takes a call's results that the host found in an isolate which had no time to write them. Those that did arrive are passed over. */
  takeUnsent(pending: PendingHook, results: readonly HookResult[]): void {
    for (const result of results) {
      if (result.id !== pending.id || pending.awaited?.plugin !== result.plugin) continue;
      pending.accept(result);
    }
  }

  /**
   * Answers calls whose hooks have all ended, by results that the host found here: the isolate is busy with another hook, and
   * will write them when that ends, too late to count.
   */
  takeEnded(results: readonly HookResult[]): void {
    for (const pending of this.pending.toArray()) {
      const last = results.findLast((each) => each.id === pending.id);
      if (pending.settled || !last || !endsChain(last, pending.call.chain)) continue;
      this.takeUnsent(pending, results);
      pending.settle({ kind: "answered" });
    }
  }

  onMessage(message: object): void {
    const decoded = decodeFromIsolate(message);
    switch (decoded.type) {
      case "result":
        return this.#onResult(decoded);
      case "log":
        return this.#events.onLog(decoded);
      case "call":
        return this.#calls.accept(decoded);
      case "hello":
        throw new MessageError("a second hello");
    }
  }

  onClose(reason: string | undefined): void {
    this.#events.onClose(this, reason);
  }

  close(): void {
    this.#connection.close();
  }

  #pendingFor({ id }: HookResult): PendingHook | undefined {
    return this.pending.find((each) => each.id === id);
  }

  #onResult(result: HookResult): void {
    const pending = this.#pendingFor(result);
    if (pending?.settled) return this.#onLate(pending, result);
    if (pending?.awaited?.plugin !== result.plugin) {
      this.#events.onDropped(this.#wasAnswered(pending, result) ? "double" : "unknown");
      throw new MessageError(
        `a result for hook ${result.id} of ${
          JSON.stringify(result.plugin)
        }, which was not asked for`,
      );
    }
    this.#progressAt = performance.now();
    pending.accept(result);
    if (endsChain(result, pending.call.chain)) {
      const spentMs = pending.spentMs;
      this.#callMs = Number.isNaN(this.#callMs) ? spentMs : this.#callMs * 0.9 + spentMs * 0.1;
      this.pending.delete(pending);
      pending.settle({ kind: "answered" });
    }
    this.#events.onAnswer(this);
  }

  #wasAnswered(pending: PendingHook | undefined, { id, plugin }: HookResult): boolean {
    return pending
      ? pending.call.chain.some((each) => each.plugin === plugin)
      : !isAfter(id, this.#lastId);
  }

  /** What comes of a call that was given up; only its end matters. */
  #onLate(pending: PendingHook, result: HookResult): void {
    this.#events.onDropped("late");
    if (endsChain(result, pending.call.chain)) this.pending.delete(pending);
    this.#progressAt = performance.now();
    this.#events.onAnswer(this);
  }
}

/** A single hook is asked for by its name. */
function asked({ chain, ownsCors, ...call }: HookCall): Omit<HookFrame, "type" | "id"> {
  const [first] = chain;
  return first && chain.length === 1
    ? { ...call, plugin: first.plugin }
    : { ...call, plugin: "*", chain, ownsCors };
}

/** Whether hook `id` was sent after `started`, the last one that was begun; both modulo 2³². */
export function isAfter(id: number, started: number): boolean {
  return ((id - started) | 0) > 0;
}
