/**
 * What is valid in a configuration and most likely not meant: `conduit check` prints it, and nothing fails for it.
 *
 * @module
 */

import type { Config } from "./config.ts";

/** One sentence each, that names the keys. */
export function configWarnings(
  { processes, services: { cache }, routes }: Pick<Config, "processes" | "services" | "routes">,
): string[] {
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
