/**
 * Stores for tests: a `CacheStore` over each remote driver, over a real Redis, with its log at hand.
 *
 * @module
 */

import { openCache } from "../../gateway/cache/open.ts";
import type { CacheStore } from "../../gateway/cache/store.ts";
import type { Log, LogFields, LogLevel } from "../../gateway/log.ts";
import type { CacheService } from "../../plugin-host/mod.ts";
import { cacheService } from "../../plugin-host/services/cache.ts";
import { RedisServer } from "../support/redis_server.ts";
import { UpstashBridge } from "../support/upstash_bridge.ts";

export interface LoggedLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export interface RemoteStore extends AsyncDisposable {
  readonly redis: RedisServer;
  /** With `upstash` only. */
  readonly bridge: UpstashBridge | undefined;
  readonly cache: CacheService;
  readonly store: CacheStore;
  readonly lines: readonly LoggedLine[];
  /** What must never be shown. */
  readonly secret: string;
}

export const REMOTE_DRIVERS = ["redis", "upstash"] as const;

export async function remoteStore(
  driver: typeof REMOTE_DRIVERS[number],
  { timeoutMs = 5000, keyPrefix = "conduit:" } = {},
): Promise<RemoteStore> {
  await using stack = new AsyncDisposableStack();
  const secret = "hush/p@ss:word";
  const redis = stack.use(await RedisServer.start(driver === "redis" ? { password: secret } : {}));
  const token = "hush-token";
  const bridge = driver === "upstash"
    ? stack.use(await UpstashBridge.start(redis, { token }))
    : undefined;
  const lines: LoggedLine[] = [];
  const at = (level: LogLevel) => (message: string, fields: LogFields = {}) =>
    void lines.push({ level, message, fields });
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  const limits = { timeoutMs, keyPrefix };
  const store = await openCache(
    bridge
      ? { driver: "upstash", url: bridge.url, token, ...limits }
      : { driver: "redis", url: redis.url, ...limits },
    { log },
  );
  stack.defer(() => store.close());
  const kept = stack.move();
  return {
    redis,
    bridge,
    store,
    cache: cacheService((method, args) => store.call(method, args)),
    lines,
    secret: bridge ? token : secret,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
