/**
 * `conduit host`: starts plugin hosts for a gateway that runs as another service. It watches the plugins folder, connects to the gateway's
 * socket, again and again while there is none, and starts what the gateway asks for, with permissions that follow from its own configuration.
 *
 * @module
 */

import { Connection, type Trace } from "../../protocol/connection.ts";
import { PROTOCOL_VERSION } from "../../protocol/messages.ts";
import { decodeToService, type FromService } from "../../protocol/service_messages.ts";
import { Backoff } from "../backoff.ts";
import type { ChildProcess } from "../child_process.ts";
import { type Config, loadConfig } from "../config.ts";
import { isSame } from "../config_changes.ts";
import { errorText } from "../errors.ts";
import type { PluginFiles } from "../plugin_files.ts";
import { pluginHosts } from "../sandbox.ts";
import { within } from "../waiting.ts";
import { LocalHosts, type LocalHostsOptions } from "./local_hosts.ts";
import { readSecret } from "./secret_file.ts";

export interface HostServiceOptions
  extends Pick<LocalHostsOptions, "log" | "output" | "env" | "hostProgram"> {
  readonly version: string;
  readonly trace: Trace | undefined;
  /** Hears whether a gateway is there. */
  readonly onState: (state: string) => void;
}

type Link = Connection<FromService>;
type StartHost = Extract<ReturnType<typeof decodeToService>, { type: "start_host" }>;

interface Host {
  /** `undefined` where it could not be started. */
  readonly child: Promise<ChildProcess | undefined>;
  /** Hashes of the copies that it has loaded. */
  readonly used: Set<string>;
}

/** The longest pause between two attempts to reach the gateway: connecting costs next to nothing. */
const MAX_CONNECT_PAUSE_MS = 1000;

export class HostService {
  readonly #config: Config;
  readonly #socketPath: string;
  readonly #options: HostServiceOptions;
  readonly #local: LocalHosts;
  readonly #hosts = new Map<number, Host>();
  #link: Link | undefined;
  #lastLive: PluginFiles | undefined;
  #stopping = false;
  #wake = () => {};

  private constructor(
    config: Config,
    socketPath: string,
    { local, options }: { readonly local: LocalHosts; readonly options: HostServiceOptions },
  ) {
    this.#config = config;
    this.#socketPath = socketPath;
    this.#options = options;
    this.#local = local;
    local.watch((files) => this.#tell(files), (copy) => this.#isNeeded(copy));
  }

  /** @throws {PluginsDirError} @throws {PrivateDirError} @throws {SandboxError} */
  static async open(
    config: Config,
    socketPath: string,
    options: HostServiceOptions,
  ): Promise<HostService> {
    const local = await LocalHosts.open(config, { ...options, socketPath });
    return new HostService(config, socketPath, { local, options });
  }

  /** Serves one gateway after another, until `stop`. */
  async run(): Promise<void> {
    const { log, onState } = this.#options;
    const backoff = new Backoff();
    let told = "";
    while (!this.#stopping) {
      onState("waiting for the gateway");
      backoff.up();
      const problem = await this.#serve().catch((error) => errorText(error));
      backoff.down();
      if (this.#stopping) break;
      if (problem !== told) {
        log.warn("no gateway; trying again", { socket: this.#socketPath, reason: problem });
      }
      told = problem;
      const { promise: woken, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await within(Math.min(backoff.nextMs(), MAX_CONNECT_PAUSE_MS), woken);
    }
    await Promise.all([...this.#hosts.keys()].map((host) => this.#kill(host)));
    await this.#local.close();
  }

  stop(): void {
    this.#stopping = true;
    this.#wake();
    this.#link?.close();
  }

  /** @returns why the connection is over */
  async #serve(): Promise<string> {
    const secret = await readSecret(this.#socketPath);
    const socket = await Deno.connect({ transport: "unix", path: this.#socketPath });
    if (this.#stopping) socket.close();
    const { log, version, trace, onState } = this.#options;
    const { maxFrameBytes } = this.#config;
    const link: Link = new Connection(socket, { maxFrameBytes, trace });
    let refused: string | undefined;
    link.send({
      type: "hello",
      protocol: PROTOCOL_VERSION,
      role: "service",
      generation: 0,
      pid: Deno.pid,
      version,
      secret,
    });
    this.#link = link;
    this.#tell(this.#local.newest);
    const broken = await link.receive((value) => {
      const message = decodeToService(value);
      switch (message.type) {
        case "refused":
          return void (refused = message.reason);
        case "start_host":
          log.info("starting a plugin host for the gateway", { host: message.host });
          onState("connected to the gateway");
          this.#hosts.set(message.host, { child: this.#start(message), used: new Set() });
          return;
        case "load":
          return void this.#load(message);
        case "kill_host":
          return void this.#kill(message.host);
        case "live":
          this.#lastLive = this.#local.copy(message.files) ?? this.#lastLive;
          return;
      }
    });
    this.#link = undefined;
    await Promise.all([...this.#hosts.keys()].map((host) => this.#kill(host)));
    return refused === undefined
      ? broken?.message ?? "the gateway has ended the connection"
      : `the gateway refuses this plugin host service: ${refused}`;
  }

  async #start({ host, files, hosts, env, init }: StartHost): Promise<ChildProcess | undefined> {
    try {
      const config = await loadConfig(this.#config.file);
      this.#compare(config, { hosts, env });
      const copy = this.#local.copy(files);
      if (!copy) throw new Error(`there is no copy "${files}" of the plugin files here`);
      const child = (await this.#local.prepare(config, copy))(init);
      void child.ended.then((reason) => this.#ended(host, reason));
      return child;
    } catch (error) {
      this.#options.log.error("a plugin host cannot be started", { reason: errorText(error) });
      this.#ended(host, errorText(error));
      return undefined;
    }
  }

  /** The file is read anew for each host, so that a reload of the gateway is enough for what both read there. */
  #compare(
    config: Config,
    asked: { readonly hosts: readonly string[]; readonly env: readonly string[] },
  ): void {
    for (const key of ["pluginsDir", "runtime"] as const) {
      if (!isSame(config[key], this.#config[key])) {
        throw new Error(`${key} has changed in ${config.file}; restart the plugin host service`);
      }
    }
    const own = { hosts: pluginHosts(config), env: [...config.pluginEnv] };
    for (const key of ["hosts", "env"] as const) {
      if (isSame(own[key], asked[key])) continue;
      const [theirs, ours] = [asked[key], own[key]].map((each) => each.join(", ") || "none");
      throw new Error(
        `the gateway asks for a plugin host with ${key} ${theirs}, and ${config.file} here says ${ours}; give both the same configuration`,
      );
    }
  }

  async #load(
    { host, generation, files }: {
      readonly host: number;
      readonly generation: number;
      readonly files: string;
    },
  ): Promise<void> {
    const known = this.#hosts.get(host);
    const child = await known?.child;
    const copy = this.#local.copy(files);
    if (!known || !child) return;
    if (!copy) return child.kill(); // never silently another set than the one that was asked for
    known.used.add(files);
    child.load(generation, copy);
  }

  async #kill(host: number): Promise<void> {
    const child = await this.#hosts.get(host)?.child;
    child?.kill();
    await child?.ended;
  }

  #ended(host: number, reason: string): void {
    this.#hosts.delete(host);
    this.#link?.send({ type: "host_ended", host, reason });
  }

  #isNeeded(copy: PluginFiles): boolean {
    return copy.hash === this.#lastLive?.hash ||
      [...this.#hosts.values()].some(({ used }) => used.has(copy.hash));
  }

  #tell({ hash, files }: PluginFiles): void {
    const lastLive = this.#lastLive;
    this.#link?.send({
      type: "files",
      hash,
      files: { ...files },
      ...(lastLive ? { lastLive: { hash: lastLive.hash, files: { ...lastLive.files } } } : {}),
    });
  }
}
