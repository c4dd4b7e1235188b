/**
 * Keeps a set of plugins running: starts the host, swaps in a new generation when files change, renews a host with a stuck
 * thread, restarts one that died. Requests take a lease on the current generation and notice none of it.
 *
 * Changes are made one at a time, in this order each: build the new generation, swap, let the old one drain.
 *
 * @module
 */

import { Backoff } from "./backoff.ts";
import { errorText } from "./errors.ts";
import type { Generation } from "./generation.ts";
import type { HostProcess } from "./host_process.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./observe/metrics.ts";
import { HostGoneError, PluginLoadError } from "./plugin_errors.ts";
import type { PluginFiles } from "./plugin_files.ts";

export interface SupervisorNeeds {
  readonly log: Log;
  readonly metrics: Metrics;
  /**
   * Gets ready what a process needs that is to load `files`.
   *
   * @returns what starts it, and wires its events to the supervisor
   * @throws {PluginLoadError} where they need packages that are not there
   */
  readonly prepareHost: (
    files: PluginFiles,
  ) => Promise<(events: Pick<SupervisorEvents, "onBlocked" | "onExit">) => HostProcess>;
  /** Why no process can be started at all, for now; `reload` will be called when one can be. */
  readonly isAway?: (() => string | undefined) | undefined;
  /** Shows an author why plugins do not load; the log then says only that they do not. */
  readonly explain?: ((error: PluginLoadError) => void) | undefined;
  /** The files on disk are what runs. */
  readonly onLive?: ((files: PluginFiles) => void) | undefined;
  /** A set of plugins that the routes cannot work with: the reason, or `undefined`. */
  readonly unfit: (generation: Generation) => string | undefined;
}

interface SupervisorEvents {
  onBlocked(host: HostProcess): void;
  onExit(host: HostProcess, reason: string): void;
}

/** How the first attempt to load went. */
export type StartResult =
  | { readonly kind: "ready" }
  /** The plugins are at fault. */
  | { readonly kind: "failed"; readonly reason: string }
  /** The host process is; it is being restarted. */
  | { readonly kind: "absent"; readonly reason: string };

/**
 * A host keeps about 140 KB of each set of plugins that has gone (Deno's, not ours), so after so many saves another process takes
 * over.
 */
const MAX_LOADS = 128;
/** Requests on a host with a stuck thread may take this long to end before it is killed under them. */
const BLOCKED_DRAIN_LIMIT_MS = 60_000;

export class Supervisor {
  readonly #needs: SupervisorNeeds;
  readonly #hosts = new Set<HostProcess>();
  #host: HostProcess | undefined;
  #current: Generation | undefined;
  #latest: PluginFiles | undefined;
  #lastGood: PluginFiles | undefined;
  #loadError: PluginLoadError | undefined;
  /** A host with a thread that burns a core. */
  #stuck: HostProcess | undefined;
  #lastGeneration = 0;
  /** Sets that the host which serves has loaded. */
  #loads = 0;
  readonly #backoff = new Backoff();
  #away = false;
  #changes: Promise<unknown> = Promise.resolve();
  #stopping = false;
  #retiring = false;

  /**
   * @param files `undefined` where they are still to come, by `reload`
   * @param options.lastGood a set that did load, for where `files` do not
   */
  constructor(
    files: PluginFiles | undefined,
    needs: SupervisorNeeds,
    { lastGood }: { readonly lastGood?: PluginFiles | undefined } = {},
  ) {
    this.#latest = files;
    this.#lastGood = lastGood;
    this.#needs = needs;
  }

  /** The generation for a new request; `undefined` while there is none, and the fail policy decides. */
  get current(): Generation | undefined {
    return this.#current;
  }

  /** Why the files on disk are not what is running; `undefined` when they are. */
  get problem(): string | undefined {
    return this.#loadError?.message;
  }

  /** The same, with its place. */
  get loadError(): PluginLoadError | undefined {
    return this.#loadError;
  }

  /** The files that run. */
  get running(): PluginFiles | undefined {
    return this.#current && this.#lastGood;
  }

  /** The last set that loaded. */
  get lastGood(): PluginFiles | undefined {
    return this.#lastGood;
  }

  /** Sets of plugins in memory, with those that drain. */
  get generations(): number {
    return [...this.#hosts].reduce((sum, host) => sum + host.generations, 0);
  }

  /** The process that serves new requests. */
  get hostPid(): number | undefined {
    return this.#current && this.#host?.pid;
  }

  /** Starts the first host. It goes on trying when that fails for lack of a process. */
  start(files = this.#latest, lastGood = this.#lastGood): Promise<StartResult> {
    this.#latest = files;
    this.#lastGood = lastGood;
    return this.#change(async () => {
      try {
        await this.#newHost();
        return { kind: "ready" };
      } catch (error) {
        const reason = errorText(error);
        if (!(error instanceof PluginLoadError)) return { kind: "absent", reason };
        if (this.#needs.explain) this.#report(error);
        this.#loadError = error;
        return { kind: "failed", reason };
      }
    });
  }

  /**
   * Puts a new state of the files to work. When it does not load, what runs goes on.
   *
   * @param anew the copies before it are gone, but for a set that did load, if there is one
   */
  reload(files: PluginFiles, anew?: { readonly lastGood: PluginFiles | undefined }): void {
    this.#latest = files;
    if (anew) this.#lastGood = anew.lastGood;
    void this.#change(async () => {
      if (files !== this.#latest) return; // saved again in the meantime
      // Which packages there are is told to a process at its start.
      const needsAnotherHost = packagesOf(files) !== packagesOf(this.#lastGood) ||
        this.#loads >= MAX_LOADS;
      try {
        if (!this.#host || !this.#current) await this.#newHost();
        else if (needsAnotherHost) await this.#launch(files);
        else await this.#loadInto(this.#host, files);
        this.#needs.log.info("plugins reloaded", {
          plugins: this.#current?.plugins.map((each) => each.name).join(","),
        });
      } catch (error) {
        const isStuck = error instanceof PluginLoadError && error.blocked && this.#current &&
          !needsAnotherHost;
        if (!isStuck) throw error;
        // A thread of this host is stuck in the new files; what it serves moves to a process without them.
        this.#report(error);
        this.#stuck = this.#host;
        await this.#newHost(this.#lastGood);
      }
    });
  }

  /** No new request will come: each host ends when the requests on its generations are done. Resolves then. */
  async retire(): Promise<void> {
    this.#retiring = true;
    this.#backoff.cancel();
    this.#current?.retire();
    this.#current = undefined;
    await Promise.all([...this.#hosts].map((host) => this.#drain(host)));
  }

  /** Ends every host. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#backoff.cancel();
    this.#current = undefined;
    await Promise.all([...this.#hosts].map((host) => host.end()));
  }

  get #ending(): boolean {
    return this.#stopping || this.#retiring;
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#changes.then(change);
    this.#changes = done.catch((error) => this.#report(error));
    return done;
  }

  /** Starts a process where there is none, or only a stuck one. */
  async #ensureHost(): Promise<void> {
    if (this.#ending || (this.#current && this.#host !== this.#stuck)) return;
    const isRenewal = this.#current !== undefined;
    await this.#newHost();
    if (isRenewal) this.#needs.log.info("the plugin host was renewed", { pid: this.#host?.pid });
  }

  /** A new process with `files`, or, when those do not load, with the ones that did before. */
  async #newHost(files: PluginFiles | undefined = this.#latest): Promise<void> {
    const away = this.#needs.isAway?.();
    if (!files || away !== undefined) throw new HostGoneError(away ?? "there are no plugin files");
    const lastGood = this.#lastGood;
    try {
      if (files !== this.#latest) {
        this.#needs.log.warn(
          "the plugin files on disk do not load; the last set that did is loaded again",
        );
      }
      await this.#launch(files);
    } catch (error) {
      const isBroken = error instanceof PluginLoadError;
      if (isBroken && lastGood && files !== lastGood) {
        this.#report(error);
        return await this.#newHost(lastGood);
      }
      // Files that never loaded wait for the next save; whatever else went wrong may pass.
      if (!isBroken || lastGood) this.#restart();
      throw error;
    }
  }

  async #launch(files: PluginFiles): Promise<void> {
    const start = await this.#needs.prepareHost(files);
    if (this.#ending) return;
    const host = start({
      onBlocked: (from) => this.#onBlocked(from),
      onExit: (from, reason) => this.#onExit(from, reason),
    });
    this.#hosts.add(host);
    try {
      await this.#loadInto(host, files);
    } catch (error) {
      void host.end();
      throw error;
    }
  }

  async #loadInto(host: HostProcess, files: PluginFiles): Promise<void> {
    const generation = await host.load(++this.#lastGeneration, files);
    if (this.#retiring) return generation.retire();
    const unfit = this.#needs.unfit(generation);
    if (unfit) {
      generation.retire();
      throw new PluginLoadError(unfit);
    }
    const [oldHost, old] = [this.#host, this.#current];
    this.#loads = oldHost === host ? this.#loads + 1 : 1;
    this.#host = host;
    this.#current = generation;
    this.#lastGood = files;
    this.#needs.metrics.pluginsLoaded("ok");
    if (files === this.#latest) {
      this.#loadError = undefined;
      this.#needs.onLive?.(files);
    }
    if (oldHost !== host) this.#backoff.up();
    if (this.#away) this.#needs.log.info("the plugin host is back", { pid: host.pid });
    this.#away = false;
    old?.retire();
    if (oldHost && oldHost !== host) void this.#drain(oldHost);
  }

  /** Ends a host when the requests on its generations are done. */
  async #drain(host: HostProcess): Promise<void> {
    const until = performance.now() + BLOCKED_DRAIN_LIMIT_MS;
    const isLate = () => host === this.#stuck && performance.now() > until;
    while (host.busy && !isLate() && !this.#stopping) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await host.end();
  }

  #onBlocked(host: HostProcess): void {
    if (host !== this.#host || host === this.#stuck) return;
    this.#stuck = host;
    if (this.#ending) return;
    this.#needs.metrics.hostRestarted("blocked");
    this.#needs.log.warn("a hook blocked its isolate; the plugin host is renewed", {
      pid: host.pid,
    });
    void this.#change(() => this.#ensureHost());
  }

  #onExit(host: HostProcess, reason: string): void {
    this.#hosts.delete(host);
    if (host !== this.#host || this.#ending) return;
    this.#host = undefined;
    this.#current = undefined;
    this.#needs.metrics.hostRestarted("died");
    this.#needs.log.error("the plugin host died", { pid: host.pid, reason });
    this.#backoff.down();
    this.#restart();
  }

  #restart(): void {
    if (this.#ending) return;
    this.#away = !this.#current;
    if (this.#needs.isAway?.() !== undefined) return;
    const delayMs = this.#backoff.retry(() => void this.#change(() => this.#ensureHost()));
    this.#needs.log.info("the plugin host is restarted", { delayMs });
  }

  #report(error: unknown): void {
    const reason = errorText(error);
    if (!(error instanceof PluginLoadError)) {
      return this.#needs.log.error("the plugin host failed while it loaded plugins", { reason });
    }
    this.#loadError = error;
    this.#needs.metrics.pluginsLoaded("failed");
    const after = this.#current ? "; what runs goes on" : "";
    this.#needs.log.error(
      `plugins did not load${after}`,
      this.#needs.explain ? {} : { reason },
    );
    this.#needs.explain?.(error);
  }
}

function packagesOf(files: PluginFiles | undefined): string {
  return `${files?.files["deno.json"]} ${files?.files["deno.lock"]}`;
}
