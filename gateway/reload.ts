/**
 * SIGHUP: the configuration is read anew and put to work, or nothing changes and the log says why. Reloads run one at a time; however
 * many are asked for during one, one more follows.
 *
 * @module
 */

import { errorText } from "./errors.ts";
import type { Log } from "./log.ts";
import type { ServiceManager } from "./service_manager.ts";

/** What a reload has changed. */
export interface Reloaded {
  /** Paths in the configuration. */
  readonly changed: readonly string[];
  /** The process id of the plugin host that was started for it. */
  readonly pluginHost?: number | undefined;
  /** How many gateway processes have it now. */
  readonly processes?: number;
}

/** Nothing has changed where it throws. */
export type Reload = () => Promise<Reloaded>;

export class Reloader {
  readonly #log: Log;
  readonly #service: ServiceManager;
  #reload: Reload | undefined;
  #running = false;
  #wanted = false;

  constructor(log: Log, service: ServiceManager) {
    this.#log = log;
    this.#service = service;
  }

  /** There is something to reload now. What was asked for before is done at once. */
  begin(reload: Reload): void {
    this.#reload = reload;
    if (this.#wanted) this.request();
  }

  /** From now on what the file says is to be used. */
  request(): void {
    this.#wanted = true;
    if (this.#reload && !this.#running) void this.#run(this.#reload);
  }

  async #run(reload: Reload): Promise<void> {
    this.#running = true;
    while (this.#wanted) {
      this.#wanted = false;
      this.#service.reloading();
      const reason = await reloadWithLog(this.#log, reload);
      this.#service.ready(
        reason === undefined ? "configuration reloaded" : `not reloaded: ${reason}`,
      );
    }
    this.#running = false;
  }
}

/**
 * Tells in the log how it went.
 *
 * @returns why nothing changed, or `undefined`
 */
export async function reloadWithLog(log: Log, reload: Reload): Promise<string | undefined> {
  try {
    const { changed, ...fields } = await reload();
    log.info("configuration reloaded", { changed: changed.join(", ") || "nothing", ...fields });
    return undefined;
  } catch (error) {
    const reason = errorText(error);
    log.error("the configuration was not reloaded; what runs goes on", { reason });
    return reason;
  }
}
