/**
 * Makes the cache that the configuration names. The clients of remote stores are loaded only where they are used: they take a tenth of
 * a second.
 *
 * @module
 */

import type { Config } from "../config.ts";
import type { Log } from "../log.ts";
import { Availability } from "./availability.ts";
import { MemoryDriver } from "./memory.ts";
import { type CacheDriver, CacheStore } from "./store.ts";

/** Does not wait for a remote store: the gateway starts without it. */
export async function openCache(
  cache: Config["services"]["cache"],
  { log }: { readonly log: Log },
): Promise<CacheStore> {
  if (cache.driver === "memory") return new CacheStore(new MemoryDriver(cache));
  const { timeoutMs, keyPrefix } = cache;
  const availability = new Availability({ log, store: withoutCredentials(cache.url) });
  return new CacheStore(await openDriver(cache, availability), {
    timeoutMs,
    keyPrefix,
    availability,
  });
}

type RemoteCache = Exclude<Config["services"]["cache"], { readonly driver: "memory" }>;

async function openDriver(cache: RemoteCache, availability: Availability): Promise<CacheDriver> {
  if (cache.driver === "redis") {
    const { RedisDriver } = await import("./redis.ts");
    return new RedisDriver({ ...cache, availability });
  }
  const { UpstashDriver } = await import("./upstash.ts");
  return new UpstashDriver(cache);
}

function withoutCredentials(url: string): string {
  const bare = new URL(url);
  bare.username = "";
  bare.password = "";
  return bare.href;
}
