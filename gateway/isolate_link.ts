/**
 * One isolate as the gateway sees it: its connection, and the hooks that were sent to it and not yet answered.
 *
 * @module
 */

import {
  type CallFrame,
  decodeFromIsolate,
  type FromIsolate,
  type HookResult,
} from "../protocol/messages.ts";
import type { HookContext, HookName, Json } from "../protocol/snapshot.ts";
import { errorText } from "./errors.ts";
import type { Peer, PeerConnection } from "./plugin_socket.ts";

/** One hook of one plugin, for one request. */
export interface HookCall {
  readonly hook: HookName;
  readonly plugin: string;
  readonly traceId: string;
  readonly traceparent: string;
  readonly timeoutMs: number;
  readonly ctx: HookContext;
}

export type HookOutcome =
  | { readonly kind: "result"; readonly result: HookResult }
  | { readonly kind: "timed_out" }
  | { readonly kind: "crashed"; readonly reason: string }
  /** The host is gone, or has had no isolate free for too long. */
  | { readonly kind: "unavailable" };

/** A call on its way. */
export class PendingHook {
  readonly call: HookCall;
  readonly createdAt: number = performance.now();
  sentAt = 0;
  #settle: ((outcome: HookOutcome) => void) | undefined;

  constructor(call: HookCall, settle: (outcome: HookOutcome) => void) {
    this.call = call;
    this.#settle = settle;
  }

  get settled(): boolean {
    return this.#settle === undefined;
  }

  /** The first outcome counts; later ones are dropped. */
  settle(outcome: HookOutcome): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(outcome);
  }
}

export interface IsolateEvents {
  /** It answered: it is alive. */
  onAnswer(link: IsolateLink): void;
  onClose(link: IsolateLink, reason: string | undefined): void;
  onLog(record: Extract<FromIsolate, { type: "log" }>): void;
  /** Carries out a service call. */
  onCall(frame: CallFrame): Promise<Json>;
}

/** More unanswered service calls than this break the protocol: the isolate itself stops at fewer. */
const MAX_PENDING_CALLS = 2000;

export class IsolateLink implements Peer {
  readonly id: number;
  readonly generation: number;
  /** By id; ids count up, so the order is the order of sending. */
  readonly pending = new Map<number, PendingHook>();
  /** When a hook's time passed without an answer, in `performance.now()`; such an isolate gets nothing new. */
  suspectSince: number | undefined;
  readonly #connection: PeerConnection;
  #events: IsolateEvents | undefined;
  #lastId = 0;
  #pendingCalls = 0;

  constructor(
    from: { readonly isolate: number; readonly generation: number },
    connection: PeerConnection,
  ) {
    this.id = from.isolate;
    this.generation = from.generation;
    this.#connection = connection;
  }

  /** Until a generation takes the isolate in, nothing is expected of it but logs from `onLoad`. */
  adopt(events: IsolateEvents): void {
    this.#events = events;
  }

  get open(): boolean {
    return !this.#connection.closed;
  }

  send(pending: PendingHook): void {
    const id = ++this.#lastId;
    pending.sentAt = performance.now();
    this.pending.set(id, pending);
    try {
      this.#connection.send({ type: "hook", id, ...pending.call });
    } catch (error) {
      this.pending.delete(id);
      pending.settle({ kind: "crashed", reason: errorText(error) }); // larger than a frame may be
    }
  }

  onMessage(message: object): void {
    const decoded = decodeFromIsolate(message);
    switch (decoded.type) {
      case "result":
        return this.#onResult(decoded);
      case "log":
        return this.#events?.onLog(decoded);
      case "call":
        return void this.#onCall(decoded);
      case "hello":
        return this.#connection.close();
    }
  }

  onClose(reason: string | undefined): void {
    this.#events?.onClose(this, reason);
  }

  close(): void {
    this.#connection.close();
  }

  #onResult(result: HookResult): void {
    const pending = this.pending.get(result.id);
    // An id that was never sent, or answered already, or another plugin's name: not an answer to anything.
    if (!pending || pending.call.plugin !== result.plugin) return;
    this.pending.delete(result.id);
    pending.settle({ kind: "result", result });
    this.#events?.onAnswer(this);
  }

  async #onCall(frame: CallFrame): Promise<void> {
    if (++this.#pendingCalls > MAX_PENDING_CALLS) return this.#connection.close();
    try {
      const value = await this.#events?.onCall(frame) ?? null;
      this.#connection.send({ type: "return", id: frame.id, value });
    } catch (error) {
      this.#connection.send({ type: "return", id: frame.id, error: errorText(error) });
    } finally {
      this.#pendingCalls--;
    }
  }
}

/** Whether hook `id` was sent after `started`, the last one that was begun; both modulo 2³². */
export function isAfter(id: number, started: number): boolean {
  return ((id - started) | 0) > 0;
}
