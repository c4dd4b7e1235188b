/**
 * One listener for clients, with what runs on it. A gateway has one, and for a while a second one when a reload changed its address.
 *
 * @module
 */

import type { ListenAddress } from "./config.ts";
import { Drain, type DrainOptions, type Handle } from "./drain.ts";
import { type Listening, type ListenOptions, serveOn } from "./listen.ts";

export class Front {
  readonly #server: Listening;
  readonly #drain: Drain;
  readonly #cut: AbortController;

  private constructor(server: Listening, drain: Drain, cut: AbortController) {
    this.#server = server;
    this.#drain = drain;
    this.#cut = cut;
  }

  /** @throws {ListenError} */
  static async open(
    address: ListenAddress,
    options: Omit<ListenOptions, "signal">,
    handle: Handle,
  ): Promise<Front> {
    const drain = new Drain();
    const cut = new AbortController();
    const server = await serveOn(
      address,
      { ...options, signal: cut.signal },
      drain.watch(handle),
    );
    return new Front(server, drain, cut);
  }

  get address(): ListenAddress {
    return this.#server.address;
  }

  get inFlight(): number {
    return this.#drain.inFlight;
  }

  /** The gateway serves on elsewhere; resolves when nothing runs here any more. */
  leave(graceMs: number): Promise<void> {
    return this.#drain.leave(this.#server, graceMs);
  }

  /** The gateway ends. */
  end(options: Omit<DrainOptions, "cut">): Promise<void> {
    return this.#drain.end(this.#server, { ...options, cut: () => this.#cut.abort() });
  }

  /** Ends at once what has served nobody. */
  close(): void {
    this.#cut.abort();
  }
}
