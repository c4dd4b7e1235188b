/**
 * What is valid in a configuration and most likely not meant: `conduit check` prints it, and nothing fails for it.
 *
 * @module
 */

import type { Config } from "./config.ts";
import { listenAddressText } from "./listen.ts";
import { isSecretName } from "./masking.ts";

type Settings = Pick<Config, "admin" | "log" | "processes" | "services" | "routes">;

/** One sentence each, that names the keys. */
export function configWarnings(config: Settings): string[] {
  return [...cacheWarnings(config), ...adminWarnings(config), ...logWarnings(config)];
}

/**
 * The same about plugins, once they have loaded.
 *
 * @param loaded `plugins` are their names, `env` is the environment of the plugin host
 */
export function pluginWarnings(
  { pluginConfig, pluginEnv, routes }: Pick<Config, "pluginConfig" | "pluginEnv" | "routes">,
  { plugins, env }: {
    readonly plugins: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  },
): string[] {
  return [
    ...Object.keys(pluginConfig).filter((name) => !plugins.includes(name)).map((name) =>
      `pluginConfig["${name}"]: there is no plugin "${name}" in pluginsDir, so nothing reads it`
    ),
    ...pluginEnv.filter((name) => env[name] === undefined).map((name) =>
      `pluginEnv: "${name}" is not set in this environment, so plugins do not have it`
    ),
    ...plugins.filter((name) =>
      routes.every((route) => route.plugins !== "all" && !route.plugins.includes(name))
    ).map((name) => `routes: none runs "${name}": all of them name other "plugins", or say false`),
  ];
}

function cacheWarnings({ processes, services: { cache }, routes }: Settings): string[] {
  if (cache.driver === "memory") {
    return processes === 1 ? [] : [
      'services.cache.driver: "memory" is one store for each of the "processes": limits are counted and replays are seen by each for itself; use "redis" or "upstash"',
    ];
  }
  return routes.filter((route) => cache.timeoutMs >= route.hookTimeoutMs).map((
    { path, hookTimeoutMs },
  ) =>
    `services.cache.timeoutMs: ${cache.timeoutMs} is not below the hookTimeoutMs of route "${path}" (${hookTimeoutMs}): a hook that waits for a slow cache times out before it can catch that`
  );
}

/** Its pages show more than a client is told. */
function adminWarnings({ admin }: Settings): string[] {
  if (admin === false || admin.listen.kind === "unix") return [];
  const { hostname } = admin.listen;
  if (hostname === "localhost" || hostname === "::1" || hostname.startsWith("127.")) return [];
  const address = listenAddressText(admin.listen);
  return [
    `admin.listen: "${address}" answers whoever reaches it, and shows paths, user ids and what plugins propose; use a loopback address or a Unix socket, or keep the port closed to others`,
  ];
}

function logWarnings({ log }: Settings): string[] {
  const named = (key: "requestHeaders" | "queryParameters") =>
    log[key].filter(isSecretName).map((name) =>
      `log.${key}: "${name}" is a secret by its name, and stands in every access line as it came`
    );
  return [...named("requestHeaders"), ...named("queryParameters")];
}
