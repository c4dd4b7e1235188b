/**
 * The sets of plugins that one host process has in memory, and which isolate belongs to which. An isolate says hello on its own connection
 * and is reported by the host on another: the two keep no common order.
 *
 * @module
 */

import type { FromHost, Hello, ToHost } from "../protocol/messages.ts";
import { Generation, type GenerationNeeds } from "./generation.ts";
import { IsolateLink } from "./isolate_link.ts";
import type { Peer, PeerConnection } from "./plugin_socket.ts";

export interface HostGenerationsNeeds extends Omit<GenerationNeeds, "replace" | "onIdle"> {
  readonly send: (message: ToHost) => void;
  /** The host has been told to load this one, and has not said how that went. */
  readonly isLoading: (generation: number) => boolean;
}

export class HostGenerations {
  readonly #needs: HostGenerationsNeeds;
  readonly #generations = new Map<number, Generation>();
  /** Isolates that said hello and are not yet reported. */
  readonly #arrived = new Map<number, IsolateLink>();
  /** The other way round. */
  readonly #reported = new Map<number, Generation>();

  constructor(needs: HostGenerationsNeeds) {
    this.#needs = needs;
  }

  get size(): number {
    return this.#generations.size;
  }

  /** Whether requests still use one of them. */
  get busy(): boolean {
    return [...this.#generations.values()].some((each) => each.busy && !each.closed);
  }

  /** An isolate has connected. @returns why it is refused, if so */
  admit({ isolate, generation }: Hello, connection: PeerConnection): Peer | string {
    if (isolate === undefined || this.#arrived.has(isolate)) return "not a new isolate";
    const { isolateEvents, send } = this.#needs;
    const link = new IsolateLink({ isolate, generation }, connection, {
      ...isolateEvents, // plugins log and ask the cache in `onLoad` too
      onAnswer() {},
      // Without this, the host would wait for the isolate's report until its time limit.
      onClose: () => send({ type: "replace", isolate, reason: "it ended while it loaded" }),
    });
    this.#arrived.set(isolate, link);
    this.#join(isolate);
    return link;
  }

  /** The host has loaded a generation, or replaced isolates of one. @returns nothing where that was retired in the meantime */
  onPool(
    { generation: id, plugins, isolates }: Extract<FromHost, { type: "pool" }>,
  ): Generation | undefined {
    const generation = this.#generations.get(id) ??
      (this.#needs.isLoading(id) ? this.#open(id, plugins) : undefined);
    for (const isolate of isolates) {
      if (!generation || generation.hasIsolate(isolate)) continue;
      this.#reported.set(isolate, generation);
      this.#join(isolate);
    }
    return generation;
  }

  onIsolateLost(message: Extract<FromHost, { type: "isolate_lost" }>): void {
    for (const each of this.#generations.values()) each.onIsolateLost(message);
  }

  /** Forgets the isolates of generations that did not come about. */
  forgetStrays(): void {
    for (const { id, generation } of this.#arrived.values()) {
      const isAwaited = this.#generations.has(generation) || this.#needs.isLoading(generation);
      if (!isAwaited) this.#arrived.delete(id);
    }
  }

  /** The host is gone. */
  close(): void {
    for (const generation of this.#generations.values()) generation.close();
    for (const link of this.#arrived.values()) link.close();
  }

  #open(id: number, plugins: Generation["plugins"]): Generation {
    const { send } = this.#needs;
    const generation = new Generation(id, plugins, {
      ...this.#needs,
      replace: (isolate, reason) => send({ type: "replace", isolate, reason }),
      onIdle: () => {
        this.#generations.delete(id);
        generation.close();
        send({ type: "retire", generation: id });
      },
    });
    this.#generations.set(id, generation);
    return generation;
  }

  #join(isolate: number): void {
    const link = this.#arrived.get(isolate);
    const generation = this.#reported.get(isolate);
    if (!link || !generation) return;
    this.#arrived.delete(isolate);
    this.#reported.delete(isolate);
    generation.addIsolate(link);
  }
}
