/**
 * The part of a gateway that runs plugins: where its hosts come from, the cache, and the supervisor of the host.
 *
 * @module
 */

import { openCache } from "./cache/open.ts";
import type { CacheStore } from "./cache/store.ts";
import type { Config } from "./config.ts";
import { problemBlock } from "./dev/problem.ts";
import { TypeCheck } from "./dev/type_check.ts";
import { errorText } from "./errors.ts";
import type { GatewayOptions } from "./gateway_options.ts";
import type { Generation } from "./generation.ts";
import { HostProcess } from "./host_process.ts";
import { ExternalHosts, type OnFiles } from "./hosts/external_hosts.ts";
import { LocalHosts } from "./hosts/local_hosts.ts";
import { elsewhere, embedded, type Hosts, type Kept, socketOptions } from "./hosts/sources.ts";
import type { PluginEvents } from "./isolate_link.ts";
import type { Metrics } from "./observe/metrics.ts";
import { exists, type PluginFiles } from "./plugin_files.ts";
import { PluginLogs, type PluginLogsOptions } from "./plugin_logs.ts";
import { keepLastGood, lastGoodIn } from "./processes/last_good.ts";
import { type StartResult, Supervisor } from "./supervisor.ts";

/** What one runtime has from the one before. */
export interface HandedOver {
  /** Where there is none, it opens its own. */
  readonly cache: CacheStore | undefined;
  /** As `cache`. */
  readonly external: ExternalHosts | undefined;
  /** A set of plugins that loaded, for where those in `pluginsDir` do not. */
  readonly lastGood: PluginFiles | undefined;
}

/** The part of a gateway that runs plugins, without any listener: also what `conduit check` starts. */
export class PluginRuntime {
  readonly supervisor: Supervisor;
  readonly pluginLogs: PluginLogs;
  readonly cache: CacheStore;
  /** `undefined` where hosts are started elsewhere. */
  readonly local: LocalHosts | undefined;
  /** The other way round. */
  readonly external: ExternalHosts | undefined;
  readonly #options: GatewayOptions;
  readonly #hosts: Hosts;
  readonly #types: TypeCheck | undefined;
  readonly #stopWatching: () => void;
  #routes: Config["routes"];
  #stopped: Promise<void> | undefined;

  private constructor(
    config: Config,
    options: GatewayOptions,
    { pluginLogs, cache, local, external, hosts }:
      & Pick<PluginRuntime, "pluginLogs" | "cache" | "local" | "external">
      & { readonly hosts: Hosts },
  ) {
    const { log, metrics, version, dev, env } = options;
    this.pluginLogs = pluginLogs;
    this.cache = cache;
    this.local = local;
    this.external = external;
    this.#options = options;
    this.#hosts = hosts;
    this.#routes = config.routes;
    const { pluginsDir } = config;
    this.#types = local && dev &&
      new TypeCheck({ ...dev, ...local.program, log, pluginsDir, dir: local.dir, env });
    const isolateEvents = pluginEvents(cache, { logs: pluginLogs, metrics });
    this.supervisor = new Supervisor({
      log,
      metrics,
      explain: dev && ((error) => dev.print(problemBlock(error))),
      onLive: (live) => this.#onLive(live),
      unfit: (generation) => missingPlugins(this.#routes, generation),
      isAway: hosts.isAway,
      prepareHost: async (files) => {
        const start = await hosts.prepare(files);
        const { socket } = hosts;
        return (events) =>
          new HostProcess({
            config,
            start,
            socket,
            version,
            log,
            metrics,
            isolateEvents,
            ...events,
          });
      },
    });
    // What a service says before anything is served must not be missed.
    this.#stopWatching = external?.watch(this.#onFiles) ?? (() => local?.stopWatching());
  }

  /** Prepares what hosts need, and a first copy of the plugin files where they run here. */
  static async open(
    config: Config,
    options: GatewayOptions & { readonly handedOver?: HandedOver },
  ): Promise<PluginRuntime> {
    const { handedOver, log, metrics, version } = options;
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
    return new PluginRuntime(config, options, { pluginLogs, cache, local, external, hosts });
  }

  async start(): Promise<StartResult> {
    await this.#hosts.arrival?.();
    const started = await this.supervisor.start(this.#hosts.files, this.#hosts.lastGood);
    // A service of its own can still be mended; the gateway serves by `failPolicy` meanwhile.
    return this.external && started.kind === "failed" ? { ...started, kind: "absent" } : started;
  }

  /** @param onLost hears that nothing can be loaded any more here, only in another runtime */
  watch(onLost: () => void): void {
    this.local?.watch(this.#onFiles, ({ hash }) => hash === this.supervisor.lastGood?.hash);
    this.local?.watchDir(onLost);
  }

  /** Another configuration for the same host. @returns why its routes cannot work with the plugins, or `undefined` */
  adopt(next: Pick<Config, "routes" | "log">): string | undefined {
    const { current } = this.supervisor;
    const unfit = current && missingPlugins(next.routes, current);
    if (unfit !== undefined) return unfit;
    this.#routes = next.routes;
    this.pluginLogs.configure(logLimits(next, this.#options));
    return undefined;
  }

  /** Ends when the requests that use it are done; no new one will. */
  async retire(kept: Kept): Promise<void> {
    this.#stopWatching();
    await this.supervisor.retire();
    await this.stop(kept);
  }

  /** A gateway that ends stops what is just being retired, too. */
  stop(kept: Kept = { cache: false, external: false }): Promise<void> {
    return this.#stopped ??= this.#stop(kept);
  }

  async #stop(kept: Kept): Promise<void> {
    this.#stopWatching();
    this.#types?.stop();
    await this.supervisor.stop();
    this.pluginLogs.tell();
    if (!kept.cache) this.cache.close();
    await this.#hosts.close(kept);
  }

  readonly #onFiles: OnFiles = (files, how) => {
    this.#types?.stop();
    this.supervisor.reload(files, how);
  };

  #onLive(files: PluginFiles): void {
    const { log, lastGoodDir } = this.#options;
    this.#types?.check(files);
    this.external?.live(files);
    if (!this.local || lastGoodDir === undefined) return;
    void keepLastGood(lastGoodDir, files.path).catch((error) =>
      log.warn("the plugins that went live cannot be kept for the other processes", {
        reason: errorText(error),
      })
    );
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
