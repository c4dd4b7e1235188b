/**
 * The part of a gateway that runs plugins: where its hosts come from, the cache, and the supervisor of the host.
 *
 * @module
 */

import type { Trace } from "../protocol/connection.ts";
import type { AdminPage } from "./admin.ts";
import { openCache } from "./cache/open.ts";
import type { CacheStore } from "./cache/store.ts";
import type { Config } from "./config.ts";
import { problemBlock } from "./dev/problem.ts";
import { TypeCheck } from "./dev/type_check.ts";
import { errorText } from "./errors.ts";
import type { Generation } from "./generation.ts";
import { HostProcess } from "./host_process.ts";
import { ExternalHosts, type OnFiles } from "./hosts/external_hosts.ts";
import { LocalHosts, type LocalHostsOptions } from "./hosts/local_hosts.ts";
import { elsewhere, embedded, type Kept, socketOptions } from "./hosts/sources.ts";
import type { PluginEvents } from "./isolate_link.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./observe/metrics.ts";
import type { Stories } from "./observe/stories.ts";
import { exists, type PluginFiles } from "./plugin_files.ts";
import { PluginLogs, type PluginLogsOptions } from "./plugin_logs.ts";
import { keepLastGood, lastGoodIn } from "./processes/last_good.ts";
import { type StartResult, Supervisor } from "./supervisor.ts";
import type { Telemetry } from "./telemetry.ts";

export interface GatewayOptions {
  readonly log: Log;
  /** Of the whole process: it outlives a change of the configuration. */
  readonly metrics: Metrics;
  /** As `metrics`. */
  readonly stories: Stories;
  readonly version: string;
  readonly hostProgram: LocalHostsOptions["hostProgram"];
  readonly env: (name: string) => string | undefined;
  /** `conduit dev`: broken plugins are explained, types checked, and responses show their way. */
  readonly dev?: DevTools | undefined;
  /** This is one of several gateway processes that listen on the same port. */
  readonly sharesPort?: boolean;
  /** Of one of several gateway processes: where they keep the set of plugins that went live last. */
  readonly lastGoodDir?: string | undefined;
  /** Of the admin listener, beside its own. */
  readonly pages?: Readonly<Record<string, AdminPage>>;
  /** Where Deno exports traces. */
  readonly telemetry?: Telemetry | undefined;
  /** Takes on what the log is to be from now on; `dev` has a log of its own. */
  readonly configureLog?: ((log: Config["log"]) => void) | undefined;
  /** Prints every frame of the plugin socket. */
  readonly traceIpc: Trace | undefined;
}

/** What `conduit dev` has and `conduit run` has not. */
export interface DevTools {
  /** Prints a block of lines from the author's own files. Whatever handles requests does not get it. */
  readonly print: (block: string) => void;
}

/** The part of a gateway that runs plugins, without any listener: also what `conduit check` starts. */
export interface PluginRuntime {
  readonly supervisor: Supervisor;
  /** `undefined` where hosts are started elsewhere. */
  readonly local: LocalHosts | undefined;
  readonly pluginLogs: PluginLogs;
  readonly cache: CacheStore;
  readonly external: ExternalHosts | undefined;
  start(): Promise<StartResult>;
  /** @param onLost hears that nothing can be loaded any more here, only in another runtime */
  watch(onLost: () => void): void;
  /** Another configuration for the same host. @returns why its routes cannot work with the plugins, or `undefined` */
  adopt(config: Pick<Config, "routes" | "log">): string | undefined;
  /** Ends when the requests that use it are done; no new one will. */
  retire(kept: Kept): Promise<void>;
  stop(kept?: Kept): Promise<void>;
}

/** What one runtime has from the one before. */
export interface HandedOver {
  /** Where there is none, it opens its own. */
  readonly cache: CacheStore | undefined;
  /** As `cache`. */
  readonly external: ExternalHosts | undefined;
  /** A set of plugins that loaded, for where those in `pluginsDir` do not. */
  readonly lastGood: PluginFiles | undefined;
}

/** Prepares what hosts need, and a first copy of the plugin files where they run here. */
export async function openPluginRuntime(
  config: Config,
  options: GatewayOptions & { readonly handedOver?: HandedOver },
): Promise<PluginRuntime> {
  const { handedOver, log, metrics, version, dev } = options;
  const { runtime } = config;
  const pluginLogs = new PluginLogs({ log, metrics, ...logLimits(config, options) });
  const before = handedOver?.lastGood?.path;
  const local = runtime.mode === "external" ? undefined : await LocalHosts.open(config, {
    ...options,
    output: pluginLogs.output,
    lastGood: before !== undefined && await exists(before)
      ? before
      : await lastGoodIn(options.lastGoodDir ?? ""),
  });
  const external = runtime.mode === "external"
    ? handedOver?.external ??
      await ExternalHosts.open(runtime.socket, { version, ...socketOptions(config, options) })
    : undefined;
  const hosts = external
    ? elsewhere(external, { config, lastGood: handedOver?.lastGood })
    : await embedded(local as LocalHosts, { config, options });
  const cache = handedOver?.cache ?? await openCache(config.services.cache, { log });
  const isolateEvents = pluginEvents(cache, { logs: pluginLogs, metrics });
  const types = local && dev && new TypeCheck({
    ...dev,
    log,
    ...local.program,
    pluginsDir: config.pluginsDir,
    dir: local.dir,
    env: options.env,
  });
  let { routes } = config;
  const supervisor = new Supervisor({
    log,
    metrics,
    explain: dev && ((error) => dev.print(problemBlock(error))),
    onLive: (live) => {
      types?.check(live);
      external?.live(live);
      if (!local || options.lastGoodDir === undefined) return;
      void keepLastGood(options.lastGoodDir, live.path).catch((error) =>
        log.warn("the plugins that went live cannot be kept for the other processes", {
          reason: errorText(error),
        })
      );
    },
    unfit: (generation) => missingPlugins(routes, generation),
    isAway: hosts.isAway,
    prepareHost: async (files) => {
      const start = await hosts.prepare(files);
      return (events) =>
        new HostProcess({
          config,
          start,
          socket: hosts.socket,
          version,
          log,
          metrics,
          isolateEvents,
          ...events,
        });
    },
  });
  const onFiles: OnFiles = (files, how) => {
    types?.stop();
    supervisor.reload(files, how);
  };
  // What a service says before anything is served must not be missed.
  const stopWatching = external?.watch(onFiles) ?? (() => local?.stopWatching());
  let stopped: Promise<void> | undefined;
  const stopOnce = async (kept: Kept) => {
    stopWatching();
    types?.stop();
    await supervisor.stop();
    pluginLogs.tell();
    if (!kept.cache) cache.close();
    await hosts.close(kept);
  };
  // A gateway that ends stops what is just being retired, too.
  const stop = (kept: Kept = { cache: false, external: false }) => stopped ??= stopOnce(kept);
  return {
    supervisor,
    local,
    pluginLogs,
    cache,
    external,
    async start() {
      await hosts.arrival?.();
      const started = await supervisor.start(hosts.files, hosts.lastGood);
      // A service of its own can still be mended; the gateway serves by `failPolicy` meanwhile.
      return external && started.kind === "failed" ? { ...started, kind: "absent" } : started;
    },
    watch(onLost) {
      local?.watch(onFiles, ({ hash }) => hash === supervisor.lastGood?.hash);
      local?.watchDir(onLost);
    },
    adopt(next) {
      const unfit = supervisor.current && missingPlugins(next.routes, supervisor.current);
      if (unfit !== undefined) return unfit;
      routes = next.routes;
      pluginLogs.configure(logLimits(next, options));
      return undefined;
    },
    async retire(kept) {
      stopWatching();
      await supervisor.retire();
      await stop(kept);
    },
    stop,
  };
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
