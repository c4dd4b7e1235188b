/**
 * Plugin hosts that `conduit host` starts, as another service: the gateway listens on `runtime.socket`, the service connects to it, and is told
 * which hosts to start and what they are to load. Only what supervises hosts knows that; a host itself connects like every other.
 *
 * @module
 */

import type { ConnectionOptions } from "../../protocol/connection.ts";
import { MessageError } from "../../protocol/decode.ts";
import type { HostStart } from "../../protocol/host_stdin.ts";
import type { Hello } from "../../protocol/messages.ts";
import { decodeFromService, type ToService } from "../../protocol/service_messages.ts";
import type { Config } from "../config.ts";
import type { HostChild } from "../host_process.ts";
import { ListenError, removeStaleSocket } from "../listen.ts";
import { errorText } from "../errors.ts";
import type { Log } from "../log.ts";
import { exists, type PluginFiles } from "../plugin_files.ts";
import { type Peer, type PeerConnection, PluginSocket } from "../plugin_socket.ts";
import { pluginHosts } from "../sandbox.ts";
import { LATE, pause, within } from "../waiting.ts";
import { areThere, removeSecret, writeSecret } from "./secret_file.ts";

export interface ExternalHostsOptions extends ConnectionOptions {
  readonly log: Log;
  readonly version: string;
}

export type OnFiles = (files: PluginFiles, options?: FromNewService) => void;

/** Of a service that has just connected. */
export interface FromNewService {
  /** All that it has of the sets before. */
  readonly isAnew: true;
  readonly lastGood: PluginFiles | undefined;
}

/** How long the service may take to confirm that a host is killed. */
const KILL_CONFIRM_MS = 1000;
/** How often socket and secret are looked for. */
const SOCKET_POLL_MS = 1000;

const AWAY = "no plugin host service is connected; start `conduit host`";

export class ExternalHosts {
  readonly socket: PluginSocket;
  readonly #options: ExternalHostsOptions;
  readonly #ends = new Map<number, (reason: string) => void>();
  #service: PeerConnection | undefined;
  #files: PluginFiles | undefined;
  #lastGood: PluginFiles | undefined;
  #arrived = Promise.withResolvers<void>();
  readonly #watchers = new Set<OnFiles>();
  #lastHost = 0;
  #secret = "";
  #closed = false;

  private constructor(socket: PluginSocket, options: ExternalHostsOptions) {
    this.socket = socket;
    this.#options = options;
  }

  /** @throws {ListenError} */
  static async open(path: string, options: ExternalHostsOptions): Promise<ExternalHosts> {
    try {
      await removeStaleSocket(path);
      const hosts = new ExternalHosts(new PluginSocket(path, options), options);
      await hosts.#giveSecret();
      void hosts.#keepSocket();
      return hosts;
    } catch (error) {
      const reason = error instanceof Deno.errors.AddrInUse
        ? "another gateway listens there already"
        : errorText(error);
      throw new ListenError(`cannot listen on runtime.socket unix:${path}: ${reason}`, {
        cause: error,
      });
    }
  }

  /** What lies in the service's folder; `undefined` until it has said so. */
  get files(): PluginFiles | undefined {
    return this.#files;
  }

  /** The set that went live before this gateway came. */
  get lastGood(): PluginFiles | undefined {
    return this.#lastGood;
  }

  /** This set serves now. */
  live({ hash }: PluginFiles): void {
    this.#service?.send({ type: "live", files: hash });
  }

  /** Why no host can be started now. */
  get away(): string | undefined {
    return this.#service ? undefined : AWAY;
  }

  /** From now on `onFiles` is told of each state of the folder, until the returned function is called. */
  watch(onFiles: OnFiles): () => void {
    this.#watchers.add(onFiles);
    return () => this.#watchers.delete(onFiles);
  }

  /** Resolves when a service has said what lies in its folder, or the time is over. */
  async arrival(limitMs: number): Promise<void> {
    await within(limitMs, this.#arrived.promise);
  }

  /** A host for `files`, with the permissions that follow from `config`, unless the service knows better. */
  start(
    init: HostStart,
    { config, files }: {
      readonly config: Pick<Config, "routes" | "pluginNet" | "pluginEnv">;
      readonly files: PluginFiles;
    },
  ): HostChild {
    const host = ++this.#lastHost;
    const service = this.#service;
    const { promise: ended, resolve } = Promise.withResolvers<string>();
    this.#ends.set(host, resolve);
    const send = (message: ToService) => service === this.#service && service?.send(message);
    send({
      type: "start_host",
      host,
      files: files.hash,
      hosts: pluginHosts(config),
      env: [...config.pluginEnv],
      init,
    });
    if (!service) resolve(AWAY);
    let isKilled = false;
    return {
      ended,
      load: (generation, { hash }) => send({ type: "load", host, generation, files: hash }),
      kill: () => {
        if (isKilled) return;
        isKilled = true;
        send({ type: "kill_host", host });
        // A service that is stopped, or frozen with its hosts, confirms nothing. The host ends with its connection.
        void within(KILL_CONFIRM_MS, ended).then((reason) => {
          if (reason === LATE) this.#ended(host, "killed; its service does not confirm it");
        });
      },
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.socket.close();
    await Deno.remove(this.socket.path).catch(() => {});
    await removeSecret(this.socket.path);
  }

  async #giveSecret(): Promise<void> {
    const before = this.#secret;
    this.#secret = await writeSecret(this.socket.path);
    this.socket.expect(this.#secret, (hello, connection) => this.#admit(hello, connection));
    this.socket.forget(before);
  }

  /** What cleans up may take socket and secret away: then no host, no isolate and no service could connect any more. */
  async #keepSocket(): Promise<void> {
    const { log } = this.#options;
    for (let problem: string | undefined; !this.#closed;) {
      await pause(SOCKET_POLL_MS);
      const { path } = this.socket;
      if (this.#closed || await areThere(path)) continue;
      if (problem === undefined) {
        log.error("the plugin socket is gone; it is made anew", { socket: path });
        problem = "";
      }
      try {
        if (!await exists(path)) await this.socket.listenAgain();
        await this.#giveSecret();
        log.info("the plugin socket is there again", { socket: path });
        problem = undefined;
        // What was saved meanwhile has not loaded.
        if (this.#files) this.#tell(this.#files);
      } catch (error) {
        const reason = errorText(error);
        if (reason !== problem) log.error("the plugin socket cannot be made anew", { reason });
        problem = reason;
      }
    }
  }

  #tell(files: PluginFiles, how?: FromNewService): void {
    for (const onFiles of this.#watchers) onFiles(files, how);
  }

  #admit(hello: Hello, connection: PeerConnection): Peer | string {
    const { log, version } = this.#options;
    if (hello.role !== "service") return "this secret is for a plugin host service";
    if (hello.version !== version) {
      return `version ${hello.version} is not ${version}; run gateway and plugin host service from one build`;
    }
    if (this.#service) return "a plugin host service is connected already";
    this.#service = connection;
    log.info("the plugin host service is connected", { pid: hello.pid });
    let isAnew = true;
    return {
      onMessage: (value) => {
        const message = decodeFromService(value);
        switch (message.type) {
          case "files": {
            const files = this.#files = pluginFiles(message);
            const lastGood = message.lastLive && pluginFiles(message.lastLive);
            if (isAnew) this.#lastGood = lastGood;
            const how = isAnew ? { isAnew, lastGood } as const : undefined;
            isAnew = false;
            this.#arrived.resolve();
            return this.#tell(files, how);
          }
          case "host_ended":
            return this.#ended(message.host, message.reason);
          case "hello":
            throw new MessageError("a second hello");
        }
      },
      onClose: () => this.#gone(),
    };
  }

  #ended(host: number, reason: string): void {
    this.#ends.get(host)?.(reason);
    this.#ends.delete(host);
  }

  #gone(): void {
    this.#service = undefined;
    this.#files = undefined;
    this.#arrived = Promise.withResolvers();
    // Who closes the socket does not wait for anybody.
    if (!this.#closed) this.#options.log.error("the plugin host service has gone; waiting for it");
    for (const resolve of this.#ends.values()) resolve("its service has gone");
    this.#ends.clear();
  }
}

/** Known by its hash; where it lies is the service's affair. */
function pluginFiles(
  { hash, files }: Pick<PluginFiles, "hash" | "files">,
): PluginFiles {
  return { hash, files, path: hash, dirUrl: "" };
}
