/**
 * One plugin host process: started with the sandbox's flags, told over stdin what to load, heard over the plugin socket.
 *
 * @module
 */

import { join } from "@std/path";
import { MessageError } from "../protocol/decode.ts";
import type { HostStart } from "../protocol/host_stdin.ts";
import { decodeFromHost, type FromHost, type Hello, type ToHost } from "../protocol/messages.ts";
import type { Config } from "./config.ts";
import type { Generation } from "./generation.ts";
import { HostGenerations } from "./host_generations.ts";
import type { PluginEvents } from "./isolate_link.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./observe/metrics.ts";
import { faultText, HostLostError, PluginLoadError } from "./plugin_errors.ts";
import type { PluginFiles } from "./plugin_files.ts";
import type { Peer, PeerConnection, PluginSocket } from "./plugin_socket.ts";
import { LATE, within } from "./waiting.ts";

/** How long plugins may take to load, and the process to come up on top of it. */
const LOAD_TIMEOUT_MS = 10_000;
const START_TIMEOUT_MS = LOAD_TIMEOUT_MS + 10_000;
const PING_TIMEOUT_MS = 1000;
/** How long an orderly end may take before the process is killed. */
const END_TIMEOUT_MS = 1000;

export interface HostNeeds {
  readonly config: Config;
  /** Starts the process, which connects to `socket` with the secret in `init`. */
  readonly start: (init: HostStart) => HostChild;
  readonly socket: PluginSocket;
  readonly version: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly isolateEvents: PluginEvents;
  readonly onBlocked: (host: HostProcess) => void;
  readonly onExit: (host: HostProcess, reason: string) => void;
}

/** The process of a host, wherever it runs. */
export interface HostChild {
  /** Absent where it is not a child of this process. */
  readonly pid?: number;
  /** Resolves with why it ended. */
  readonly ended: Promise<string>;
  load(generation: number, files: PluginFiles): void;
  kill(): void;
}

interface Loading extends PromiseWithResolvers<Generation> {
  readonly files: PluginFiles;
}

type Pong = Extract<FromHost, { type: "pong" }>;

export class HostProcess implements Peer {
  readonly #needs: HostNeeds;
  readonly #secret = crypto.getRandomValues(new Uint8Array(32)).toHex();
  readonly #process: HostChild;
  readonly #generations: HostGenerations;
  readonly #loading = new Map<number, Loading>();
  readonly #pings = new Map<number, (pong: Pong | undefined) => void>();
  readonly #ended: Promise<void>;
  #connection: PeerConnection | undefined;
  #saidPid: number | undefined;
  #lastPing = 0;
  #gone = false;

  constructor(needs: HostNeeds) {
    this.#needs = needs;
    this.#generations = new HostGenerations({
      hardCeilingMs: needs.config.hardCeilingMs,
      isolateEvents: needs.isolateEvents,
      send: (message) => this.#send(message),
      isLoading: (id) => this.#loading.has(id),
      progress: () => this.#ping(),
      onBlocked: () => needs.onBlocked(this),
      onHostStuck: () => this.kill(),
    });
    // Before it starts: it may connect at once.
    needs.socket.expect(this.#secret, (hello, connection) => this.#admit(hello, connection));
    try {
      this.#process = needs.start(this.#init());
    } catch (error) {
      needs.socket.forget(this.#secret);
      throw error;
    }
    this.#ended = this.#process.ended.then((reason) => this.#onEnd(reason));
  }

  /** `undefined` until it has said so, where it is not a child of this process. */
  get pid(): number | undefined {
    return this.#process.pid ?? this.#saidPid;
  }

  /** Sets of plugins that it has in memory. */
  get generations(): number {
    return this.#generations.size;
  }

  /** Whether requests still use one of its generations. */
  get busy(): boolean {
    return this.#generations.busy;
  }

  /**
   * Loads one copy of the plugin files as a generation.
   *
   * @throws {PluginLoadError} when the files are at fault
   * @throws {HostLostError} when the process had come up, and died or hangs
   * @throws {Error} when it did not come up
   */
  async load(id: number, files: PluginFiles): Promise<Generation> {
    const done = Promise.withResolvers<Generation>();
    if (this.#gone) throw new Error("the plugin host has ended");
    this.#loading.set(id, { ...done, files });
    this.#process.load(id, files);
    try {
      const generation = await within(START_TIMEOUT_MS, done.promise);
      if (generation !== LATE) return generation;
      const reason = `the plugin host did not answer within ${START_TIMEOUT_MS} ms`;
      throw this.#lost(reason, { hangs: true });
    } finally {
      this.#loading.delete(id);
      this.#generations.forgetStrays();
    }
  }

  /** Asks the process to end, and kills it when it does not. Resolves when it is gone. */
  async end(): Promise<void> {
    this.#send({ type: "shutdown" });
    const timer = setTimeout(() => this.kill(), END_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.#process.kill();
  }

  onMessage(message: object): void {
    this.#accept(decodeFromHost(message));
  }

  /** Without its connection the host ends by itself; what it was doing is lost now. */
  onClose(): void {
    this.kill();
  }

  #accept(message: FromHost): void {
    switch (message.type) {
      case "pool": {
        const generation = this.#generations.onPool(message);
        if (generation) this.#loading.get(generation.id)?.resolve(generation);
        return;
      }
      case "reload_failed":
        return this.#onLoadFailed(message);
      case "isolate_lost": {
        const { isolate, reason } = message;
        this.#needs.metrics.isolateLost();
        this.#needs.log.warn("an isolate is lost; it is replaced", { isolate, reason });
        return this.#generations.onIsolateLost(message);
      }
      case "pong":
        return this.#pings.get(message.id)?.(message);
      case "log":
        return this.#needs.isolateEvents.onLog(message);
      case "hello":
        throw new MessageError("a second hello");
    }
  }

  #admit(hello: Hello, connection: PeerConnection): Peer | string {
    if (hello.version !== this.#needs.version) {
      return `version ${hello.version} is not ${this.#needs.version}`;
    }
    if (hello.role !== "host") return this.#generations.admit(hello, connection);
    if (this.#connection) return "this host is connected already";
    this.#connection = connection;
    this.#saidPid = hello.pid;
    return this;
  }

  #onLoadFailed(failed: Extract<FromHost, { type: "reload_failed" }>): void {
    const { generation, file, line, column, message, others = [], blocked = false } = failed;
    const loading = this.#loading.get(generation);
    const faults = [{ file, line, column, message }, ...others].map((each) => ({
      ...each,
      path: loading && join(loading.files.path, each.file),
    }));
    const error = new PluginLoadError(faults.map(faultText).join("\n"), { blocked, faults });
    if (loading) return loading.reject(error);
    this.#needs.log.error("an isolate could not be replaced", { reason: error.message });
    if (blocked) this.#needs.onBlocked(this);
  }

  /** What the isolates are about, or `undefined` when the host does not answer in time. */
  async #ping(): Promise<Pong | undefined> {
    const id = ++this.#lastPing;
    const { promise, resolve } = Promise.withResolvers<Pong | undefined>();
    this.#pings.set(id, resolve);
    this.#send({ type: "ping", id });
    const pong = await within(PING_TIMEOUT_MS, promise);
    this.#pings.delete(id);
    return pong === LATE ? undefined : pong;
  }

  #send(message: ToHost): void {
    this.#connection?.send(message);
  }

  #init(): HostStart {
    const { config, version } = this.#needs;
    return {
      secret: this.#secret,
      version,
      poolSize: config.pluginPoolSize,
      loadTimeoutMs: LOAD_TIMEOUT_MS,
      maxFrameBytes: config.maxFrameBytes,
      pluginConfig: config.pluginConfig,
    };
  }

  #lost(reason: string, how: { readonly hangs: boolean }): Error {
    return this.#connection ? new HostLostError(reason, how) : new Error(reason);
  }

  #onEnd(reason: string): void {
    this.#gone = true;
    this.#needs.socket.forget(this.#secret);
    this.#connection?.close();
    for (const answered of this.#pings.values()) answered(undefined);
    for (const loading of this.#loading.values()) {
      loading.reject(this.#lost(`the plugin host ended (${reason})`, { hangs: false }));
    }
    this.#generations.close();
    this.#needs.onExit(this, reason);
  }
}
