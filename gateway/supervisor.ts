/**
 * Keeps a set of plugins running: starts the host, has a new generation swapped in when files change, renews a host with a stuck thread,
 * restarts one that died. Changes are made one at a time.
 *
 * @module
 */

import { Backoff } from "./backoff.ts";
import { errorText } from "./errors.ts";
import type { Generation } from "./generation.ts";
import { HostSuccession, type HostSuccessionNeeds } from "./host_succession.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./observe/metrics.ts";
import { HostLostError, PluginLoadError } from "./plugin_errors.ts";
import type { PluginFiles } from "./plugin_files.ts";

export interface SupervisorNeeds extends Pick<HostSuccessionNeeds, "prepareHost" | "unfit"> {
  readonly log: Log;
  readonly metrics: Metrics;
  /** Why no process can be started at all, for now; `reload` will be called when one can be. */
  readonly isAway: (() => string | undefined) | undefined;
  /** Shows an author why plugins do not load; the log then says only that they do not. */
  readonly explain: ((error: PluginLoadError) => void) | undefined;
  /** The files on disk are what runs. */
  readonly onLive: (files: PluginFiles) => void;
}

/** How the first attempt to load went. */
export type StartResult =
  | { readonly kind: "ready" }
  /** The plugins are at fault. */
  | { readonly kind: "failed"; readonly reason: string }
  /** The host process is; it is being restarted. */
  | { readonly kind: "absent"; readonly reason: string };

export class Supervisor {
  readonly #needs: SupervisorNeeds;
  readonly #hosts: HostSuccession;
  #latest: PluginFiles | undefined;
  #lastGood: PluginFiles | undefined;
  #loadError: PluginLoadError | undefined;
  /** How often in a row a process was lost while it loaded these. */
  #losses: { readonly files: PluginFiles; readonly times: number } | undefined;
  readonly #backoff = new Backoff();
  #away = false;
  #changes: Promise<unknown> = Promise.resolve();

  constructor(needs: SupervisorNeeds) {
    this.#needs = needs;
    this.#hosts = new HostSuccession({
      prepareHost: needs.prepareHost,
      unfit: needs.unfit,
      onServing: (now, isNewHost) => this.#onServing(now, isNewHost),
      onStuck: () => this.#onStuck(),
      onDied: (pid, reason) => this.#onDied(pid, reason),
    });
  }

  /** The generation for a new request; `undefined` while there is none, and the fail policy decides. */
  get current(): Generation | undefined {
    return this.#hosts.current;
  }

  /** Why the files on disk are not what is running; `undefined` when they are. */
  get loadError(): PluginLoadError | undefined {
    return this.#loadError;
  }

  /** The files that run. */
  get running(): PluginFiles | undefined {
    return this.current && this.#lastGood;
  }

  /** The last set that loaded. */
  get lastGood(): PluginFiles | undefined {
    return this.#lastGood;
  }

  /** Sets of plugins in memory, with those that drain. */
  get generations(): number {
    return this.#hosts.generations;
  }

  /** The process that serves new requests. */
  get hostPid(): number | undefined {
    return this.#hosts.pid;
  }

  /**
   * Starts the first host. It goes on trying when that fails for lack of a process.
   *
   * @param files `undefined` where they are still to come, by `reload`
   * @param lastGood a set that did load, for where `files` do not
   */
  start(
    files: PluginFiles | undefined,
    lastGood: PluginFiles | undefined,
  ): Promise<StartResult> {
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
    void this.#change(() => this.#put(files));
  }

  /** No new request will come: each host ends when the requests on its generations are done. Resolves then. */
  retire(): Promise<void> {
    this.#backoff.cancel();
    return this.#hosts.retire();
  }

  /** Ends every host, also what is just being prepared for one. */
  async stop(): Promise<void> {
    this.#backoff.cancel();
    await this.#hosts.stop();
    await this.#changes;
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#changes.then(change);
    this.#changes = done.catch((error) => this.#report(error));
    return done;
  }

  async #put(files: PluginFiles): Promise<void> {
    if (files !== this.#latest || this.#hosts.ending) return; // saved again in the meantime, or nobody is to load it
    // Which packages there are is told to a process at its start.
    const needsAnotherHost = packagesOf(files) !== packagesOf(this.#lastGood) || this.#hosts.isWorn;
    try {
      if (!this.current) await this.#newHost();
      else await this.#load(files, needsAnotherHost ? "launch" : "load");
      this.#tellReloaded();
    } catch (error) {
      if (!this.current) throw error;
      const isBroken = error instanceof PluginLoadError;
      if (needsAnotherHost) {
        if (!isBroken) this.#restart(() => this.#put(files));
        throw error;
      }
      const hangs = isBroken ? error.blocked : error instanceof HostLostError && error.hangs;
      if (!hangs) throw error;
      // A thread of this host is stuck in the new files, or all of it hangs; what it serves moves to another process.
      this.#report(error);
      this.#hosts.giveUp();
      await this.#newHost(isBroken ? this.#lastGood : this.#latest);
      if (!isBroken) this.#tellReloaded();
    }
  }

  #tellReloaded(): void {
    if (!this.current) return; // all of it ends
    this.#needs.log.info("plugins reloaded", {
      plugins: this.current?.plugins.map((each) => each.name).join(","),
    });
  }

  /** Starts a process where there is none, or only a stuck one. */
  async #ensureHost(): Promise<void> {
    const isRenewal = this.current !== undefined;
    if (this.#hosts.ending || (isRenewal && !this.#hosts.isStuck)) return;
    await this.#newHost();
    if (isRenewal) this.#needs.log.info("the plugin host was renewed", { pid: this.hostPid });
  }

  /** A new process with `files`, or, when those do not load, with the ones that did before. */
  async #newHost(files: PluginFiles | undefined = this.#latest): Promise<void> {
    const away = this.#needs.isAway?.();
    if (!files || away !== undefined) throw new Error(away ?? "there are no plugin files");
    const lastGood = this.#lastGood;
    try {
      if (files !== this.#latest) {
        this.#needs.log.warn(
          "the plugin files on disk do not load; the last set that did is loaded again",
        );
      }
      await this.#load(files, "launch");
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

  /** Files that a process was lost with twice are to blame, where there is a set that loads. */
  async #load(files: PluginFiles, how: "launch" | "load"): Promise<void> {
    try {
      await this.#hosts[how](files);
    } catch (error) {
      if (!(error instanceof HostLostError)) throw error;
      const times = this.#losses?.files === files ? this.#losses.times + 1 : 1;
      this.#losses = { files, times };
      const isSuspect = times > 1 && this.#lastGood && this.#lastGood !== files;
      throw isSuspect ? new PluginLoadError(`${error.message} each time it loaded them`) : error;
    }
  }

  #onServing(files: PluginFiles, isNewHost: boolean): void {
    this.#lastGood = files;
    this.#needs.metrics.pluginsLoaded("ok");
    if (files === this.#latest) {
      this.#loadError = undefined;
      this.#needs.onLive(files);
    }
    if (isNewHost) this.#backoff.up();
    if (this.#away) this.#needs.log.info("the plugin host is back", { pid: this.hostPid });
    this.#away = false;
  }

  #onStuck(): void {
    this.#needs.metrics.hostRestarted("blocked");
    this.#needs.log.warn("a hook blocked its isolate; the plugin host is renewed", {
      pid: this.hostPid,
    });
    void this.#change(() => this.#ensureHost());
  }

  #onDied(pid: number | undefined, reason: string): void {
    this.#needs.metrics.hostRestarted("died");
    this.#needs.log.error("the plugin host died", { pid, reason });
    this.#backoff.down();
    this.#restart();
  }

  #restart(start = () => this.#ensureHost()): void {
    if (this.#hosts.ending) return;
    this.#away = !this.current;
    if (this.#needs.isAway?.() !== undefined) return;
    const delayMs = this.#backoff.retry(() => void this.#change(start));
    this.#needs.log.info("the plugin host is restarted", { delayMs });
  }

  #report(error: unknown): void {
    const reason = errorText(error);
    if (!(error instanceof PluginLoadError)) {
      return this.#needs.log.error("the plugin host failed while it loaded plugins", { reason });
    }
    this.#loadError = error;
    this.#needs.metrics.pluginsLoaded("failed");
    const after = this.current ? "; what runs goes on" : "";
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
