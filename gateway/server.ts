/**
 * What serves requests, put together from the configuration, and anew when that changes: listeners, handler, plugin runtime, and the
 * drain at the end.
 *
 * @module
 */

import { AccessLog } from "./access_log.ts";
import { Backoff } from "./backoff.ts";
import type { Config } from "./config.ts";
import { changes, isSame, needsNewHost, refusedChanges } from "./config_changes.ts";
import { errorText } from "./errors.ts";
import { ForwardGuard } from "./forward_guard.ts";
import type { GatewayOptions } from "./gateway_options.ts";
import { Handler, type Visit } from "./handler.ts";
import type { Kept } from "./hosts/sources.ts";
import { Listeners } from "./listeners.ts";
import { LiveList } from "./live_list.ts";
import { configPage } from "./observe/config_page.ts";
import { diffPage } from "./observe/diff_page.ts";
import { metricsPage } from "./observe/metrics_page.ts";
import { Observer, runningStory } from "./observe/observer.ts";
import { pluginsPage } from "./observe/plugins_page.ts";
import type { KeptStory } from "./observe/stories.ts";
import { storyPages } from "./observe/story_page.ts";
import { PluginRuntime } from "./plugin_runtime.ts";
import { Proxy } from "./proxy.ts";
import type { Reloaded } from "./reload.ts";
import { UpstreamClient } from "./upstream/client.ts";

/** One configuration at work. A request has one from its beginning to its end. */
interface Serving {
  readonly config: Config;
  readonly runtime: PluginRuntime;
  readonly handler: Handler;
}

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #client = new UpstreamClient();
  readonly #visits = new LiveList<Visit>();
  /** With those that are being started, and those that end when the requests on them do. */
  readonly #runtimes = new Set<PluginRuntime>();
  readonly #listeners: Listeners;
  readonly #backoff = new Backoff();
  #serving: Serving;
  #changes: Promise<unknown> = Promise.resolve();
  #stopping = false;

  private constructor(config: Config, runtime: PluginRuntime, options: GatewayOptions) {
    this.#options = options;
    this.#runtimes.add(runtime);
    this.#serving = this.#serve(config, runtime);
    this.#listeners = this.#newListeners();
    options.metrics.watch(() => {
      const { supervisor } = this.#serving.runtime;
      return {
        generations: [...this.#runtimes].reduce(
          (sum, each) => sum + each.supervisor.generations,
          0,
        ),
        readyIsolates: supervisor.current?.readyIsolates ?? 0,
        isStale: supervisor.loadError !== undefined,
        hostPid: supervisor.hostPid,
      };
    });
  }

  /**
   * Starts listening. The plugin runtime goes on by itself; while it has no generation, the fail policy answers.
   *
   * @throws {ListenError}
   */
  static async start(
    config: Config,
    runtime: PluginRuntime,
    options: GatewayOptions,
  ): Promise<Gateway> {
    const gateway = new Gateway(config, runtime, options);
    gateway.#listeners.use(await gateway.#listeners.open(config));
    runtime.watch(() => gateway.#renew(runtime));
    return gateway;
  }

  get config(): Config {
    return this.#serving.config;
  }

  /**
   * Puts another configuration to work: all of it, for every request that comes from then on, or nothing of it.
   *
   * @throws {Error} what is in its way
   */
  reload(next: Config): Promise<Reloaded> {
    return this.#inTurn(() => this.#put(next));
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#changes.then(change);
    this.#changes = done.catch(() => {});
    return done;
  }

  /**
   * What the runtime has on the disk was taken away, by the end of a login session for instance. What runs goes on meanwhile.
   *
   * @param told why it could not be put right before
   */
  #renew(lost: PluginRuntime, told?: string): void {
    const { log } = this.#options;
    if (told === undefined) log.error("the private folder is gone; the plugin host is moved");
    const move = async () => {
      if (this.#stopping || this.#serving.runtime !== lost) return;
      const { pluginHost } = await this.#put(this.config, { anew: true });
      log.info("the plugin host was moved", { pid: pluginHost });
    };
    this.#inTurn(move).catch((error) => {
      if (this.#stopping) return;
      const reason = errorText(error);
      if (reason !== told) log.error("the plugin host cannot be moved", { reason });
      this.#backoff.retry(() => this.#renew(lost, reason));
    });
  }

  async #put(next: Config, { anew = false } = {}): Promise<Reloaded> {
    const { config, runtime } = this.#serving;
    const refused = refusedChanges(config, next, { dev: this.#options.dev !== undefined });
    if (refused.length > 0) throw new Error(refused.join("\n"));
    // Without plugins there is nothing to hold the routes against, so it must be shown that there can be.
    const isNew = anew || needsNewHost(config, next) || !runtime.supervisor.current;
    const kept: Kept = {
      cache: isSame(config.services.cache, next.services.cache),
      external: isSame(config.runtime, next.runtime),
    };
    const target = isNew ? await this.#startRuntime(next, kept) : runtime;
    try {
      if (this.#stopping) throw new Error("the gateway is stopping");
      const opened = await this.#listeners.open(next);
      // From here on nothing waits: no request sees half of each.
      const unfit = target.adopt(next);
      if (unfit !== undefined) {
        this.#listeners.close(opened);
        throw new Error(unfit);
      }
      this.#serving = this.#serve(next, target);
      this.#listeners.use(opened);
    } catch (error) {
      if (isNew) void this.#end(target.stop(kept), target);
      throw error;
    }
    if (isNew) {
      target.watch(() => this.#renew(target));
      void this.#end(runtime.retire(kept), runtime);
    }
    this.#options.configureLog?.(next.log);
    return {
      changed: changes(config, next).map(({ path }) => path),
      ...(isNew ? { pluginHost: target.supervisor.hostPid } : {}),
    };
  }

  /** Stops accepting and lets running requests end within `shutdownGraceMs`. */
  async shutdown(): Promise<void> {
    this.#stopping = true;
    const { config, handler } = this.#serving;
    await this.#listeners.end({
      graceMs: config.shutdownGraceMs,
      abandon: () => handler.abandon(),
    });
    this.#client.close();
  }

  /** Ends all plugin hosts, also one that is just being started. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#backoff.cancel();
    const stopAll = () => Promise.all([...this.#runtimes].map((runtime) => runtime.stop()));
    await stopAll();
    await this.#changes; // what a reload was just about to make is there now, or never will be
    await stopAll();
  }

  #newListeners(): Listeners {
    const { log, metrics, stories, sharesPort, pages, dev } = this.#options;
    return new Listeners({
      log,
      sharesPort,
      handle: (request, info) => this.#serving.handler.handle(request, info),
      admin: {
        readiness: () => ({ reason: this.#notReady() }),
        pages: {
          "/metrics": metricsPage(metrics.registry),
          ...storyPages(stories, () => this.#running()),
          "/plugins": pluginsPage(() => this.#serving.runtime.supervisor, metrics),
          "/config": configPage(() => this.config),
          "/config/diff": diffPage(() => this.config, { dev: dev !== undefined }),
          ...pages,
        },
      },
    });
  }

  #serve(config: Config, runtime: PluginRuntime): Serving {
    const { log, metrics, stories, dev, telemetry } = this.#options;
    const { supervisor, pluginLogs } = runtime;
    const client = this.#client;
    const upstreams = config.routes.flatMap((route) => route.upstreams);
    const guard = new ForwardGuard({ ...config.forward, upstreams });
    const handler = new Handler({
      config,
      log,
      pluginLogs,
      observer: new Observer({
        accessLog: new AccessLog(log, config.log),
        metrics,
        stories: config.admin ? stories : undefined,
      }),
      proxy: new Proxy(config.routes, { client, guard, pluginLogs }),
      generation: () => supervisor.current,
      telemetry,
      visits: this.#visits,
      ...(dev ? { showsWay: true, explainAbsence: () => supervisor.loadError?.message } : {}),
    });
    return { config, runtime, handler };
  }

  /** A runtime for another configuration, with its plugins loaded. It has what of the one before stays. */
  async #startRuntime(next: Config, kept: Kept): Promise<PluginRuntime> {
    const { config, runtime } = this.#serving;
    const isSameFolder = config.pluginsDir === next.pluginsDir && kept.external;
    const started = await PluginRuntime.open(next, {
      ...this.#options,
      handedOver: {
        cache: kept.cache ? runtime.cache : undefined,
        external: kept.external ? runtime.external : undefined,
        lastGood: isSameFolder ? runtime.supervisor.lastGood : undefined,
      },
    });
    this.#runtimes.add(started);
    const result = this.#stopping ? undefined : await started.start();
    if (result?.kind === "ready" && !this.#stopping) return started;
    void this.#end(started.stop(kept), started);
    throw new Error(
      !result || result.kind === "ready"
        ? "the gateway is stopping"
        : `plugins did not load:\n${result.reason}`,
    );
  }

  async #end(ended: Promise<void>, runtime: PluginRuntime): Promise<void> {
    await ended.catch((error) =>
      this.#options.log.error("a plugin runtime did not end well", { reason: errorText(error) })
    );
    this.#runtimes.delete(runtime);
  }

  #running(): KeptStory[] {
    return this.#visits.toArray().map(({ arrival, story }) => runningStory(arrival, story))
      .reverse();
  }

  #notReady(): string | undefined {
    if (this.#stopping) return "shutting down";
    const { supervisor } = this.#serving.runtime;
    return (supervisor.current?.readyIsolates ?? 0) > 0
      ? undefined
      : supervisor.loadError?.message ?? "plugin runtime unavailable";
  }
}
