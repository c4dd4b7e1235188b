/**
 * Tells the operator once when a store over the network goes away and once when it is back, however many calls fail in between.
 *
 * @module
 */

import type { Log } from "../log.ts";

/** A store that fails again within this time after it answered was not back. */
const RECOVERY_MS = 1000;
/** The same refusal is logged again after this time. */
const REFUSAL_LOG_MS = 60_000;

export class Availability {
  readonly #log: Log;
  /** Its address without credentials. */
  readonly #store: string;
  #isDown = false;
  #recovering: ReturnType<typeof setTimeout> | undefined;
  /** When each kind was logged, by the first word of what the store said. */
  readonly #refusals = new Map<string, number>();

  constructor({ log, store }: { readonly log: Log; readonly store: string }) {
    this.#log = log;
    this.#store = store;
  }

  answered(): void {
    if (!this.#isDown || this.#recovering !== undefined) return;
    this.#recovering = setTimeout(() => {
      this.#recovering = undefined;
      this.#isDown = false;
      this.#log.info("the cache is reachable again", { store: this.#store });
    }, RECOVERY_MS);
  }

  failed(reason: string): void {
    clearTimeout(this.#recovering);
    this.#recovering = undefined;
    if (this.#isDown) return;
    this.#isDown = true;
    this.#log.warn("the cache is not reachable", { store: this.#store, reason });
  }

  /** It answered, with an error that is not the plugin's fault: out of memory, read only, no permission. */
  refused(reason: string): void {
    this.answered();
    const [kind = ""] = reason.split(" ", 1);
    const now = performance.now();
    if (now - (this.#refusals.get(kind) ?? -Infinity) < REFUSAL_LOG_MS) return;
    this.#refusals.set(kind, now);
    this.#log.warn("the cache refused an operation", { store: this.#store, reason });
  }

  close(): void {
    clearTimeout(this.#recovering);
  }
}
