/**
 * Plugin hosts on this machine: the private folder with the copies of the plugin files, and the command that starts a host which may read
 * one of them. The gateway has it where the runtime is embedded; otherwise `conduit host` does.
 *
 * @module
 */

import { basename, join } from "@std/path";
import type { HostInit, HostStart } from "../../protocol/host_stdin.ts";
import { ChildProcess } from "../child_process.ts";
import type { Config } from "../config.ts";
import type { Log } from "../log.ts";
import { copyPlugins, exists, type PluginFiles, pruneCompiled } from "../plugin_files.ts";
import { linkPackages, namedPackages, type PluginPackages } from "../plugin_packages.ts";
import { watchPlugins } from "../plugin_watch.ts";
import { makeDenoDir, makePrivateDir, type PrivateDir } from "../private_dir.ts";
import {
  type HostCommand,
  hostCommand,
  type HostFiles,
  pluginEnvironment,
  pluginHosts,
} from "../sandbox.ts";

/** What the sandbox follows from. */
export type SandboxConfig = Pick<Config, "routes" | "pluginNet" | "pluginEnv">;

export interface HostProgram extends Pick<HostFiles, "deno" | "entry" | "sources"> {
  /** Where the modules lie that plugins and their tests import types from, as URLs by name. */
  readonly modules: Readonly<Record<string, string>>;
}

/** How often the private folder is looked for. */
const DIR_POLL_MS = 1000;
/** The newest copies stay, for sets of plugins that still drain. */
const KEPT_COPIES = 8;

export interface LocalHostsOptions {
  readonly log: Log;
  /** Where what plugins print goes. */
  readonly output: Log;
  readonly env: (name: string) => string | undefined;
  /**
   * The plugin host's program, which `main.ts` knows; `dir` is a private folder for it, if it needs one. Only what starts hosts asks for it: a
   * gateway without any needs no Deno beside itself.
   */
  readonly hostProgram: (dir: string) => Promise<HostProgram>;
  /** Where the gateway listens for hosts; by default in the private folder. */
  readonly socketPath?: string;
  /** A folder with a set of plugins that loaded, to be copied too. */
  readonly lastGood?: string | undefined;
}

export class LocalHosts {
  readonly dir: string;
  readonly pluginsRoot: string;
  readonly socketPath: string;
  /** The first copy. */
  readonly files: PluginFiles;
  readonly lastGood: PluginFiles | undefined;
  readonly program: HostProgram;
  readonly #privateDir: PrivateDir;
  readonly #pluginsDir: string;
  readonly #options: LocalHostsOptions;
  readonly #watching = new AbortController();
  /** By hash, the newest last. */
  readonly #copies = new Map<string, PluginFiles>();
  #command: HostCommand;

  private constructor(
    config: SandboxConfig & Pick<Config, "pluginsDir">,
    options: LocalHostsOptions,
    { dir, files, lastGood, program }: {
      readonly dir: PrivateDir;
      readonly files: PluginFiles;
      readonly lastGood: PluginFiles | undefined;
      readonly program: HostProgram;
    },
  ) {
    this.#privateDir = dir;
    this.dir = dir.path;
    this.pluginsRoot = join(dir.path, "plugins");
    this.socketPath = options.socketPath ?? dir.socketPath;
    this.files = files;
    this.lastGood = lastGood;
    this.program = program;
    for (const copy of [lastGood, files]) if (copy) this.#copies.set(copy.hash, copy);
    this.#pluginsDir = config.pluginsDir;
    this.#options = options;
    this.#command = this.#commandWith(config, undefined);
  }

  /** @throws {PrivateDirError} @throws {PluginsDirError} @throws {SandboxError} */
  static async open(
    config: SandboxConfig & Pick<Config, "pluginsDir">,
    options: LocalHostsOptions,
  ): Promise<LocalHosts> {
    const dir = await makePrivateDir(options.env);
    try {
      const root = join(dir.path, "plugins");
      await Deno.mkdir(root);
      const files = await copyPlugins(config.pluginsDir, root);
      const lastGood = options.lastGood === undefined
        ? undefined
        : await copyPlugins(options.lastGood, root);
      const program = await options.hostProgram(dir.path);
      return new LocalHosts(config, options, { dir, files, lastGood, program });
    } catch (error) {
      await dir.remove();
      throw error;
    }
  }

  /** Of the host that was prepared last. */
  get command(): HostCommand {
    return this.#command;
  }

  get newest(): PluginFiles {
    return [...this.#copies.values()].at(-1) ?? this.files;
  }

  copy(hash: string): PluginFiles | undefined {
    return this.#copies.get(hash);
  }

  /**
   * Gets ready what a host needs that is to load `files`.
   *
   * @returns what starts it
   * @throws {PluginLoadError} where they need packages that are not there
   */
  async prepare(
    config: SandboxConfig,
    { path }: PluginFiles,
  ): Promise<(start: HostStart) => ChildProcess> {
    const packages = await namedPackages(path, this.#options.env);
    const command = this.#commandWith(config, packages);
    await makeDenoDir(command.env.DENO_DIR);
    if (packages) await linkPackages(packages, command.env.DENO_DIR);
    this.#command = command;
    return (start) => {
      const child = new ChildProcess(command, this.#options.output);
      const init: HostInit = {
        ...start,
        socket: this.socketPath,
        env: pluginEnvironment(config, this.#options.env),
        netHosts: pluginHosts(config),
        pluginsRoot: this.pluginsRoot,
      };
      child.write(init);
      return child;
    };
  }

  /** Hands every new state of the folder to `onChange`, until `stopWatching`. Old copies are removed, unless they are needed. */
  watch(
    onChange: (files: PluginFiles) => void,
    isNeeded: (copy: PluginFiles) => boolean,
  ): void {
    void watchPlugins(this.#pluginsDir, {
      root: this.pluginsRoot,
      current: this.files,
      signal: this.#watching.signal,
      log: this.#options.log,
      onChange: (files) => {
        this.#copies.delete(files.hash);
        this.#copies.set(files.hash, files);
        onChange(files);
        void this.#prune(isNeeded).catch(() => {}); // the next change tries again
      },
    });
  }

  /** Calls `onLost`, unless `stopWatching` comes first, when the private folder is gone: no host can be started from it any more. */
  watchDir(onLost: () => void): void {
    const { signal } = this.#watching;
    const timer = setInterval(async () => {
      const isThere = await exists(this.socketPath) && await exists(this.pluginsRoot);
      if (isThere || signal.aborted) return;
      clearInterval(timer);
      onLost();
    }, DIR_POLL_MS);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  }

  stopWatching(): void {
    this.#watching.abort();
  }

  async close(): Promise<void> {
    this.stopWatching();
    await this.#privateDir.remove();
  }

  async #prune(isNeeded: (copy: PluginFiles) => boolean): Promise<void> {
    for (const copy of [...this.#copies.values()].slice(0, -KEPT_COPIES)) {
      if (isNeeded(copy)) continue;
      this.#copies.delete(copy.hash);
      await Deno.remove(copy.path, { recursive: true }).catch(() => {});
    }
    await pruneCompiled(this.#command.env.DENO_DIR, this.pluginsRoot);
  }

  #commandWith(config: SandboxConfig, packages: PluginPackages | undefined): HostCommand {
    return hostCommand(config, {
      ...this.program,
      socket: this.socketPath,
      pluginsRoot: this.pluginsRoot,
      // Hosts with different packages run side by side while one takes over from the other.
      denoDir: join(this.dir, packages ? `deno-${basename(packages.dir)}` : "deno"),
      ...(packages ? { packagesDir: packages.dir } : {}),
    }, pluginEnvironment(config, this.#options.env));
  }
}
