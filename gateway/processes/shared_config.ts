/**
 * The configuration that several gateway processes share, and how they get another one: one after another, and all or none.
 *
 * @module
 */

import type { Config, ListenAddress } from "../config.ts";
import { changes, isSame, refusedChanges } from "../config_changes.ts";
import { errorText } from "../errors.ts";
import { listenAddressText, reserveAddress } from "../listen.ts";
import type { Log } from "../log.ts";
import type { Reloaded } from "../reload.ts";
import { ReloadLate } from "./gateway_process.ts";
import type { KeptProcess } from "./kept_process.ts";

export class SharedConfig {
  readonly #log: Log;
  #config: Config;
  #listen: ListenAddress;

  /** @throws {ListenError} */
  constructor(config: Config, log: Log) {
    this.#log = log;
    this.#config = config;
    this.#listen = reserveAddress(config.listen);
  }

  /** As the file has it. */
  get config(): Config {
    return this.#config;
  }

  /** With a port, where the file leaves it to the system. */
  get listen(): ListenAddress {
    return this.#listen;
  }

  /** What a process that is started now is given. */
  forProcess(adminSocket: string): Config {
    const admin = { listen: { kind: "unix", path: adminSocket }, allowedHosts: [] } as const;
    return { ...this.#config, listen: this.#listen, admin };
  }

  /**
   * Hands another configuration to the processes. The first that cannot work with it ends that, and those before it go back.
   *
   * @throws {Error} which process, and why
   */
  async reload(next: Config, places: readonly Place[]): Promise<Reloaded> {
    const [config, listen] = [this.#config, this.#listen];
    const refused = refusedChanges(config, next);
    if (refused.length > 0) throw new Error(refused.join("\n"));
    if (!isSame(config.listen, next.listen)) this.#listen = reserveAddress(next.listen);
    // First of all: what is started in the meantime has it then.
    this.#config = next;
    for (const place of places) {
      try {
        await place.process.reload(this.forProcess(place.adminSocket));
      } catch (error) {
        [this.#config, this.#listen] = [config, listen];
        // What hangs comes to what it was told when it goes on.
        if (error instanceof ReloadLate) {
          place.process.sendConfig(this.forProcess(place.adminSocket));
        }
        // Those behind it too: one that was started in the meantime has begun with the new one.
        await this.#goBack(places.filter((each) => each !== place));
        throw error;
      }
    }
    if (this.#listen !== listen) {
      this.#log.info("listening", { address: listenAddressText(this.#listen), pid: Deno.pid });
    }
    return {
      changed: changes(config, next).map(({ path }) => path),
      processes: places.length,
    };
  }

  async #goBack(places: readonly Place[]): Promise<void> {
    for (const { process, adminSocket } of places) {
      try {
        await process.reload(this.forProcess(adminSocket));
      } catch (error) {
        this.#log.error("a gateway process cannot go back to the configuration before", {
          reason: errorText(error),
        });
      }
    }
  }
}

/** One of the processes, and where the parent asks it. */
export interface Place {
  readonly process: KeptProcess;
  readonly adminSocket: string;
}
