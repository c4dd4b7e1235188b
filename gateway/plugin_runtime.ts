/**
 * The part of a gateway that runs plugins: the private folder, the plugin socket, the cache, and the supervisor of the host.
 *
 * @module
 */

import { basename, join } from "@std/path";
import { openCache } from "./cache/open.ts";
import type { CacheStore } from "./cache/store.ts";
import type { Config } from "./config.ts";
import { problemBlock } from "./dev/problem.ts";
import { TypeCheck } from "./dev/type_check.ts";
import type { Generation } from "./generation.ts";
import { HostProcess } from "./host_process.ts";
import type { PluginEvents } from "./isolate_link.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./observe/metrics.ts";
import type { Stories } from "./observe/stories.ts";
import { copyPlugins, type PluginFiles, pruneCompiled, watchPlugins } from "./plugin_files.ts";
import { PluginLogs } from "./plugin_logs.ts";
import { linkPackages, namedPackages, type PluginPackages } from "./plugin_packages.ts";
import { PluginSocket } from "./plugin_socket.ts";
import { makeDenoDir, makePrivateDir } from "./private_dir.ts";
import { type HostCommand, hostCommand, type HostFiles, pluginEnvironment } from "./sandbox.ts";
import { type StartResult, Supervisor } from "./supervisor.ts";
import type { Telemetry } from "./telemetry.ts";

export interface GatewayOptions {
  readonly log: Log;
  /** Of the whole process: it outlives a change of the configuration. */
  readonly metrics: Metrics;
  /** As `metrics`. */
  readonly stories: Stories;
  readonly version: string;
  readonly host: {
    readonly deno: string;
    /** Where the plugin host's program lies, which `main.ts` knows; `dir` is a private folder for it, if it needs one. */
    readonly program: (dir: string) => Promise<HostProgram>;
  };
  readonly env: (name: string) => string | undefined;
  /** `conduit dev`: broken plugins are explained, types checked, and responses show their way. */
  readonly dev?: DevTools | undefined;
  /** This is one of several gateway processes that listen on the same port. */
  readonly sharesPort?: boolean;
  /** Where Deno exports traces. */
  readonly telemetry?: Telemetry | undefined;
  /** Prints every frame of the plugin socket. */
  readonly traceIpc?: (direction: "in" | "out", message: object) => void;
}

/** What `conduit dev` has and `conduit run` has not. */
export interface DevTools {
  /** Prints a block of lines from the author's own files. Whatever handles requests does not get it. */
  readonly print: (block: string) => void;
}

export interface HostProgram extends Pick<HostFiles, "entry" | "sources"> {
  /** Where the modules lie that plugins and their tests import types from, as URLs by name. */
  readonly modules: Readonly<Record<string, string>>;
}

/** The part of a gateway that runs plugins, without any listener: also what `conduit check` starts. */
export interface PluginRuntime {
  readonly supervisor: Supervisor;
  /** Of the host that was started last. */
  readonly command: HostCommand;
  readonly files: PluginFiles;
  readonly pluginLogs: PluginLogs;
  start(): Promise<StartResult>;
  watch(): void;
  stop(): Promise<void>;
}

/** Prepares the private folder, the socket and a first copy of the plugin files. */
export async function openPluginRuntime(
  config: Config,
  options: GatewayOptions,
): Promise<PluginRuntime> {
  const { log, metrics, version, dev } = options;
  const dir = await makePrivateDir(options.env);
  try {
    const pluginsRoot = join(dir.path, "plugins");
    await Deno.mkdir(pluginsRoot);
    const files = await copyPlugins(config.pluginsDir, pluginsRoot);
    const socket = new PluginSocket(dir.socketPath, {
      log,
      maxFrameBytes: config.maxFrameBytes,
      meter: metrics.ipc,
      ...(options.traceIpc ? { trace: options.traceIpc } : {}),
    });
    const pluginEnv = pluginEnvironment(config, options.env);
    const { deno } = options.host;
    const { modules, ...program } = await options.host.program(dir.path);
    const commandWith = (packages: PluginPackages | undefined) =>
      hostCommand(config, {
        ...program,
        deno,
        socket: socket.path,
        pluginsRoot,
        // Hosts with different packages run side by side while one takes over from the other.
        denoDir: join(dir.path, packages ? `deno-${basename(packages.dir)}` : "deno"),
        ...(packages ? { packagesDir: packages.dir } : {}),
      }, pluginEnv);
    let command = commandWith(undefined);
    const cache = await openCache(config.services.cache, { log });
    const level = dev ? "debug" : config.log.level;
    const pluginLogs = new PluginLogs({ log, metrics, level, limits: config.log });
    const isolateEvents = pluginEvents(cache, { logs: pluginLogs, metrics });
    const types = dev && new TypeCheck({
      ...dev,
      log,
      deno,
      modules,
      pluginsDir: config.pluginsDir,
      dir: dir.path,
      env: options.env,
    });
    const supervisor = new Supervisor(files, {
      log,
      metrics,
      explain: dev && ((error) => dev.print(problemBlock(error))),
      onLive: types && ((live) => types.check(live)),
      unfit: (generation) => missingPlugins(config, generation),
      hostCommand: async ({ path }) => {
        const packages = await namedPackages(path, options.env);
        command = commandWith(packages);
        await makeDenoDir(command.env.DENO_DIR);
        if (packages) await linkPackages(packages, command.env.DENO_DIR);
        return command;
      },
      startHost: (command, events) =>
        new HostProcess({
          config,
          command,
          pluginEnv,
          pluginsRoot,
          socket,
          version,
          log,
          metrics,
          pluginLogs,
          isolateEvents,
          ...events,
        }),
    });
    const watching = new AbortController();
    return {
      supervisor,
      get command() {
        return command;
      },
      files,
      pluginLogs,
      start: () => supervisor.start(),
      watch: () =>
        void watchPlugins(config.pluginsDir, {
          root: pluginsRoot,
          current: files,
          signal: watching.signal,
          log,
          onChange(changed) {
            types?.stop();
            supervisor.reload(changed);
            void pruneCompiled(command.env.DENO_DIR, pluginsRoot)
              .catch(() => {}); // the next change tries again
          },
        }),
      async stop() {
        watching.abort();
        types?.stop();
        await supervisor.stop();
        pluginLogs.tell();
        cache.close();
        socket.close();
        await dir.remove();
      },
    };
  } catch (error) {
    await dir.remove();
    throw error;
  }
}

/** Plugins that a route names must be there: a route that silently ran without one would be open. */
function missingPlugins(config: Config, { plugins }: Generation): string | undefined {
  const names = new Set(plugins.map((each) => each.name));
  const missing = config.routes.flatMap((route, index) =>
    route.plugins === "all" ? [] : route.plugins
      .filter((name) => !names.has(name))
      .map((name) =>
        `routes[${index}].plugins: there is no plugin ${JSON.stringify(name)} in pluginsDir`
      )
  );
  return missing.length === 0 ? undefined : missing.join("\n");
}

function pluginEvents(
  cache: CacheStore,
  { logs, metrics }: { readonly logs: PluginLogs; readonly metrics: Metrics },
): PluginEvents {
  return {
    onDropped: (reason) => metrics.answerDropped(reason),
    onLog: ({ level, message, fields, plugin, traceId }) =>
      logs.of(plugin ?? "-")[level](message, { traceId, plugin, fields }),
    onCall: ({ method, args }) => cache.call(method, args),
  };
}
