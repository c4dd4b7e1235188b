/**
 * The part of a gateway that runs plugins: the private folder, the plugin socket, the cache, and the supervisor of the host.
 *
 * @module
 */

import { basename, join } from "@std/path";
import type { AdminPage } from "./admin.ts";
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
import { PluginLogs, type PluginLogsOptions } from "./plugin_logs.ts";
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
  /** Of the admin listener, beside its own. */
  readonly pages?: Readonly<Record<string, AdminPage>>;
  /** Where Deno exports traces. */
  readonly telemetry?: Telemetry | undefined;
  /** Takes on what the log is to be from now on; `dev` has a log of its own. */
  readonly configureLog?: ((log: Config["log"]) => void) | undefined;
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
  readonly cache: CacheStore;
  start(): Promise<StartResult>;
  watch(): void;
  /** Another configuration for the same host. @returns why its routes cannot work with the plugins, or `undefined` */
  adopt(config: Pick<Config, "routes" | "log">): string | undefined;
  /** Ends when the requests that use it are done; no new one will. */
  retire(options: { readonly keepsCache: boolean }): Promise<void>;
  stop(options?: { readonly keepsCache: boolean }): Promise<void>;
}

/** What one runtime has from the one before. */
export interface HandedOver {
  /** Where there is none, it opens its own. */
  readonly cache: CacheStore | undefined;
  /** A folder with a set of plugins that loaded, for where those in `pluginsDir` do not. */
  readonly lastGood: string | undefined;
}

/** Prepares the private folder, the socket and a first copy of the plugin files. */
export async function openPluginRuntime(
  config: Config,
  options: GatewayOptions & { readonly handedOver?: HandedOver },
): Promise<PluginRuntime> {
  const { handedOver, log, metrics, version, dev } = options;
  const dir = await makePrivateDir(options.env);
  try {
    const pluginsRoot = join(dir.path, "plugins");
    await Deno.mkdir(pluginsRoot);
    const files = await copyPlugins(config.pluginsDir, pluginsRoot);
    const lastGood = handedOver?.lastGood === undefined
      ? undefined
      : await copyPlugins(handedOver.lastGood, pluginsRoot);
    const pluginEnv = pluginEnvironment(config, options.env);
    const { deno } = options.host;
    const { modules, ...program } = await options.host.program(dir.path);
    const commandWith = (packages: PluginPackages | undefined) =>
      hostCommand(config, {
        ...program,
        deno,
        socket: dir.socketPath,
        pluginsRoot,
        // Hosts with different packages run side by side while one takes over from the other.
        denoDir: join(dir.path, packages ? `deno-${basename(packages.dir)}` : "deno"),
        ...(packages ? { packagesDir: packages.dir } : {}),
      }, pluginEnv);
    let command = commandWith(undefined);
    const cache = handedOver?.cache ?? await openCache(config.services.cache, { log });
    const socket = new PluginSocket(dir.socketPath, {
      log,
      maxFrameBytes: config.maxFrameBytes,
      meter: metrics.ipc,
      ...(options.traceIpc ? { trace: options.traceIpc } : {}),
    });
    const pluginLogs = new PluginLogs({ log, metrics, ...logLimits(config, options) });
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
    let { routes } = config;
    const supervisor = new Supervisor(files, {
      log,
      metrics,
      explain: dev && ((error) => dev.print(problemBlock(error))),
      onLive: types && ((live) => types.check(live)),
      unfit: (generation) => missingPlugins(routes, generation),
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
    }, { lastGood });
    const watching = new AbortController();
    const stop = async ({ keepsCache } = { keepsCache: false }) => {
      watching.abort();
      types?.stop();
      await supervisor.stop();
      pluginLogs.tell();
      if (!keepsCache) cache.close();
      socket.close();
      await dir.remove();
    };
    return {
      supervisor,
      get command() {
        return command;
      },
      files,
      pluginLogs,
      cache,
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
      adopt(next) {
        const unfit = supervisor.current && missingPlugins(next.routes, supervisor.current);
        if (unfit !== undefined) return unfit;
        routes = next.routes;
        pluginLogs.configure(logLimits(next, options));
        return undefined;
      },
      async retire(how) {
        watching.abort();
        await supervisor.retire();
        await stop(how);
      },
      stop,
    };
  } catch (error) {
    await dir.remove();
    throw error;
  }
}

function logLimits(
  { log }: Pick<Config, "log">,
  { dev }: Pick<GatewayOptions, "dev">,
): Pick<PluginLogsOptions, "level" | "limits"> {
  return { level: dev ? "debug" : log.level, limits: log };
}

/** Plugins that a route names must be there: a route that silently ran without one would be open. */
function missingPlugins(
  routes: Config["routes"],
  { plugins }: Generation,
): string | undefined {
  const names = new Set(plugins.map((each) => each.name));
  const missing = routes.flatMap((route, index) =>
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
