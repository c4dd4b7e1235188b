/**
 * The host processes of one set of plugins after another: the one that serves new requests, and those before it, which end when the requests
 * on them are done. What is new takes over when it has loaded; requests hold a lease on their generation and notice none of it.
 *
 * @module
 */

import type { Generation } from "./generation.ts";
import type { HostNeeds, HostProcess } from "./host_process.ts";
import { PluginLoadError } from "./plugin_errors.ts";
import type { PluginFiles } from "./plugin_files.ts";
import { pause } from "./waiting.ts";

export interface HostSuccessionNeeds {
  /**
   * Gets ready what a process needs that is to load `files`.
   *
   * @returns what starts it, and has its events handled
   * @throws {PluginLoadError} where they need packages that are not there
   */
  readonly prepareHost: (
    files: PluginFiles,
  ) => Promise<(events: Pick<HostNeeds, "onBlocked" | "onExit">) => HostProcess>;
  /** A set of plugins that the routes cannot work with: the reason, or `undefined`. */
  readonly unfit: (generation: Generation) => string | undefined;
  /** These files serve from now on. */
  readonly onServing: (files: PluginFiles, isNewHost: boolean) => void;
  /** A thread of the process that serves is stuck: it has to be renewed. */
  readonly onStuck: () => void;
  /** The process that served died, and nothing does now. */
  readonly onDied: (pid: number | undefined, reason: string) => void;
}

/**
 * A host keeps about 140 KB of each set of plugins that has gone (Deno's, not ours), so after so many saves another process takes
 * over.
 */
const MAX_LOADS = 128;
/** Requests on a host with a stuck thread may take this long to end before it is killed under them. */
const BLOCKED_DRAIN_LIMIT_MS = 60_000;

export class HostSuccession {
  readonly #needs: HostSuccessionNeeds;
  readonly #hosts = new Set<HostProcess>();
  #host: HostProcess | undefined;
  #current: Generation | undefined;
  /** A host with a thread that burns a core. */
  #stuck: HostProcess | undefined;
  #lastGeneration = 0;
  /** Sets that the host which serves has loaded. */
  #loads = 0;
  #stopping = false;
  #retiring = false;

  constructor(needs: HostSuccessionNeeds) {
    this.#needs = needs;
  }

  /** The generation for a new request. */
  get current(): Generation | undefined {
    return this.#current;
  }

  /** The process that serves new requests. */
  get pid(): number | undefined {
    return this.#current && this.#host?.pid;
  }

  /** Sets of plugins in memory, with those that drain. */
  get generations(): number {
    return [...this.#hosts].reduce((sum, host) => sum + host.generations, 0);
  }

  /** No process is started any more. */
  get ending(): boolean {
    return this.#stopping || this.#retiring;
  }

  get isStuck(): boolean {
    return this.#host !== undefined && this.#host === this.#stuck;
  }

  /** The process that serves has loaded so many sets that another one is to load the next. */
  get isWorn(): boolean {
    return this.#loads >= MAX_LOADS;
  }

  /** Lets another process load `files` and take over. */
  async launch(files: PluginFiles): Promise<void> {
    const start = await this.#needs.prepareHost(files);
    if (this.ending) return;
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

  /** Lets the process that serves load `files` beside what it has; or another one, where there is none. */
  async load(files: PluginFiles): Promise<void> {
    await (this.#host ? this.#loadInto(this.#host, files) : this.launch(files));
  }

  /** A thread of the process that serves is stuck in files that did not load. */
  giveUp(): void {
    this.#stuck = this.#host;
  }

  /** No new request will come: each host ends when the requests on its generations are done. Resolves then. */
  async retire(): Promise<void> {
    this.#retiring = true;
    this.#current?.retire();
    this.#current = undefined;
    await Promise.all([...this.#hosts].map((host) => this.#drain(host)));
  }

  /** Ends every host. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#current = undefined;
    await Promise.all([...this.#hosts].map((host) => host.end()));
  }

  async #loadInto(host: HostProcess, files: PluginFiles): Promise<void> {
    const generation = await host.load(++this.#lastGeneration, files);
    // It may have ended in the same moment; nobody would tell of that again.
    if (!this.#hosts.has(host)) throw new Error("the plugin host ended when it had loaded them");
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
    this.#needs.onServing(files, oldHost !== host);
    old?.retire();
    if (oldHost && oldHost !== host) void this.#drain(oldHost);
  }

  /** Ends a host when the requests on its generations are done. */
  async #drain(host: HostProcess): Promise<void> {
    const until = performance.now() + BLOCKED_DRAIN_LIMIT_MS;
    const isLate = () => host === this.#stuck && performance.now() > until;
    while (host.busy && !isLate() && !this.#stopping) {
      await pause(20);
    }
    await host.end();
  }

  #onBlocked(host: HostProcess): void {
    if (host !== this.#host || host === this.#stuck) return;
    this.#stuck = host;
    if (!this.ending) this.#needs.onStuck();
  }

  #onExit(host: HostProcess, reason: string): void {
    this.#hosts.delete(host);
    if (host !== this.#host || this.ending) return;
    this.#host = undefined;
    this.#current = undefined;
    this.#needs.onDied(host.pid, reason);
  }
}
