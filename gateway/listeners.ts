/**
 * The listeners of one gateway: for clients and for the operator, and while a reload moves the first of them, the one before it until what
 * runs there has ended.
 *
 * @module
 */

import { type AdminNeeds, serveAdmin } from "./admin.ts";
import type { Config, ListenAddress } from "./config.ts";
import { isSame } from "./config_changes.ts";
import { type EndOptions, Front, type Handle } from "./front.ts";
import { listenAddressText, ListenError, type Listening } from "./listen.ts";
import type { Log } from "./log.ts";

export interface ListenersNeeds {
  readonly log: Log;
  /** Other processes of this gateway listen there too. */
  readonly sharesPort: boolean | undefined;
  readonly handle: Handle;
  readonly admin: AdminNeeds;
}

/** Those of one configuration. */
export interface Opened {
  readonly config: Pick<Config, "listen" | "admin" | "shutdownGraceMs">;
  readonly front: Front;
  readonly admin: Listening | undefined;
}

export class Listeners {
  readonly #needs: ListenersNeeds;
  /** Of addresses that are no longer in the configuration. */
  readonly #leaving = new Set<Front>();
  #used: Opened | undefined;

  constructor(needs: ListenersNeeds) {
    this.#needs = needs;
  }

  /**
   * The listeners for `config`: those that are there, where it names the same address, and new ones beside them.
   *
   * @throws {ListenError} @throws {Error} where an address is one that this gateway holds itself
   */
  async open(config: Opened["config"]): Promise<Opened> {
    const { log, sharesPort, handle, admin } = this.#needs;
    const used = this.#used;
    let front: Front | undefined;
    try {
      front = used && isSame(used.config.listen, config.listen)
        ? used.front
        : await Front.open(config.listen, { log, reusePort: sharesPort }, handle);
      const isKept = used && isSame(adminAddress(used.config), adminAddress(config));
      const allowedHosts = () => adminHosts(this.#used?.config ?? config);
      const opened = isKept
        ? used.admin
        : config.admin && await serveAdmin(config.admin.listen, log, { ...admin, allowedHosts });
      return { config, front, admin: opened || undefined };
    } catch (error) {
      if (front !== used?.front) front?.close();
      throw this.#isOwn(error) ? overlap(error) : error;
    }
  }

  /** Closes what was opened in vain. */
  close({ front, admin }: Opened): void {
    if (front !== this.#used?.front) front.close();
    if (admin !== this.#used?.admin) void admin?.shutdown();
  }

  /** What was opened takes the place of what there was. */
  use(opened: Opened): void {
    const { config, front, admin } = opened;
    const old = this.#used;
    this.#used = opened;
    if (old && old.front !== front) {
      this.#leaving.add(old.front);
      void old.front.leave(config.shutdownGraceMs).finally(() => this.#leaving.delete(old.front));
    }
    if (old?.admin !== admin) void old?.admin?.shutdown();
    if (old?.front === front && old.admin === admin) return;
    this.#needs.log.info("listening", {
      address: listenAddressText(front.address),
      admin: admin && listenAddressText(admin.address),
      pid: Deno.pid,
    });
  }

  /** The gateway ends: clients first, then the operator. */
  async end(options: Omit<EndOptions, "log">): Promise<void> {
    const busy = [...this.#leaving].filter(({ inFlight }) => inFlight > 0);
    const fronts = [...(this.#used ? [this.#used.front] : []), ...busy];
    await Promise.all(fronts.map((front) => front.end({ ...options, log: this.#needs.log })));
    void this.#used?.admin?.shutdown();
  }

  #isOwn(error: unknown): error is ListenError {
    if (!(error instanceof ListenError) || error.address?.kind !== "tcp") return false;
    const { port } = error.address;
    return [this.#used?.front.address, this.#used?.admin?.address].some((own) =>
      own?.kind === "tcp" && own.port === port
    );
  }
}

/** Where the operator asks. */
export function adminAddress({ admin }: Pick<Config, "admin">): ListenAddress | undefined {
  return admin ? admin.listen : undefined;
}

/** By which names. */
export function adminHosts({ admin }: Pick<Config, "admin">): readonly string[] {
  return admin ? admin.allowedHosts : [];
}

function overlap({ address }: ListenError): Error {
  const own = address && listenAddressText(address);
  return new Error(
    `cannot listen on ${own}: it is this gateway's own: a new address is bound before an old one is left; restart the gateway`,
  );
}
