/**
 * Puts what serves requests together from its configuration, and takes it apart again: listeners, handler, and the drain between.
 *
 * @module
 */

import { AccessLog } from "./access_log.ts";
import { adminHandler } from "./admin.ts";
import type { Config, ListenAddress } from "./config.ts";
import { Drain } from "./drain.ts";
import { ForwardGuard } from "./forward_guard.ts";
import { Handler } from "./handler.ts";
import { listenAddressText, type Listening, serveOn } from "./listen.ts";
import { metricsPage } from "./observe/metrics_page.ts";
import { Observer } from "./observe/observer.ts";
import { storyPages } from "./observe/story_page.ts";
import type { GatewayOptions, PluginRuntime } from "./plugin_runtime.ts";
import { Proxy } from "./proxy.ts";
import { UpstreamClient } from "./upstream/client.ts";

export interface Gateway {
  readonly address: ListenAddress;
  readonly adminAddress: ListenAddress | undefined;
  /** Stops accepting and lets running requests end within `shutdownGraceMs`. The plugin runtime is its owner's to stop. */
  shutdown(): Promise<void>;
}

/** Starts listening. The plugin runtime goes on by itself; while it has no generation, the fail policy answers. */
export async function startGateway(
  config: Config,
  runtime: PluginRuntime,
  options: GatewayOptions,
): Promise<Gateway> {
  const { log, metrics, stories, dev, telemetry } = options;
  const { supervisor, pluginLogs } = runtime;
  const client = new UpstreamClient();
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
    proxy: new Proxy(config.routes, { client, guard, log }),
    generation: () => supervisor.current,
    telemetry,
    ...(dev ? { showsWay: true, explainAbsence: () => supervisor.problem } : {}),
  });
  metrics.watch(() => ({
    generations: supervisor.generations,
    readyIsolates: supervisor.current?.readyIsolates ?? 0,
    isStale: supervisor.problem !== undefined,
    hostPid: supervisor.hostPid,
  }));
  const drain = new Drain();
  const notReady = () => {
    if (drain.begun) return "shutting down";
    return (supervisor.current?.readyIsolates ?? 0) > 0
      ? undefined
      : supervisor.problem ?? "plugin runtime unavailable";
  };
  const cut = new AbortController();
  const server = await serveOn(
    config.listen,
    { signal: cut.signal, log, reusePort: options.sharesPort },
    drain.watch((request, info) => handler.handle(request, info)),
  );
  const adminEnd = new AbortController();
  let admin: Listening | undefined;
  try {
    admin = config.admin === false ? undefined : await serveOn(
      config.admin.listen,
      { signal: adminEnd.signal, log },
      adminHandler({
        readiness: () => ({ reason: notReady() }),
        pages: { "/metrics": metricsPage(metrics.registry), ...storyPages(stories) },
      }),
    );
  } catch (error) {
    cut.abort();
    throw error;
  }
  log.info("listening", {
    address: listenAddressText(server.address),
    admin: admin && listenAddressText(admin.address),
    pid: Deno.pid,
  });
  return {
    address: server.address,
    adminAddress: admin?.address,
    async shutdown() {
      await drain.end(server, {
        graceMs: config.shutdownGraceMs,
        abandon: () => handler.abandon(),
        cut: () => cut.abort(),
        log,
      });
      client.close();
      adminEnd.abort();
    },
  };
}
