/**
 * A gateway with a cache outside of it: a real Redis, straight or through the REST bridge. The configuration takes the address and the
 * secret from the environment, as an operator's would.
 *
 * @module
 */

import { type EchoUpstream, echoUpstream } from "./echo_upstream.ts";
import { type TestGateway, testGateway, type TestGatewayOptions } from "./gateway.ts";
import { PATIENT } from "./patient.ts";
import { RedisServer } from "./redis_server.ts";
import { UpstashBridge } from "./upstash_bridge.ts";

export type RemoteDriver = "redis" | "upstash";

/** What nobody but the gateway may know. */
export const SECRET = "hush-9f1c";

export interface CacheStoreServer extends AsyncDisposable {
  readonly redis: RedisServer;
  /** For the configuration; its values are in `env`. */
  readonly cache: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  /** From now on connections are refused. */
  kill(): Promise<void>;
  /** Back, on the same port. */
  restart(): Promise<void>;
}

export async function cacheStoreServer(driver: RemoteDriver): Promise<CacheStoreServer> {
  await using stack = new AsyncDisposableStack();
  const isRedis = driver === "redis";
  const redis = stack.use(await RedisServer.start(isRedis ? { password: SECRET } : {}));
  const bridge = isRedis
    ? undefined
    : stack.use(await UpstashBridge.start(redis, { token: SECRET }));
  const kept = stack.move();
  return {
    redis,
    cache: { driver, url: "${CACHE_URL}", ...(isRedis ? {} : { token: "${CACHE_TOKEN}" }) },
    env: { CACHE_URL: bridge?.url ?? redis.url, CACHE_TOKEN: SECRET },
    kill: () => bridge ? bridge.refuse() : redis.kill(),
    restart: () => bridge ? bridge.listen() : redis.restart(),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Counts, and goes on where it cannot; it says so in headers. */
export const COUNTS = `export default {
  async beforeRequest(ctx) {
    try {
      ctx.response.setHeader("x-count", String(await ctx.services.cache.increment("n")));
    } catch (error) {
      ctx.response.setHeader("x-cache", error.message);
    }
  },
};`;

/** Counts, and thinks nothing of errors. */
export const COUNTS_STRICTLY = `export default {
  async beforeRequest(ctx) { await ctx.services.cache.increment("strict"); },
};`;

export interface CacheGateway extends AsyncDisposable {
  readonly gateway: TestGateway;
  readonly upstream: EchoUpstream;
}

/** `/counts` goes on without the cache, `/strict` does not. */
export async function cacheGateway(
  store: CacheStoreServer,
  options: Partial<TestGatewayOptions> = {},
): Promise<CacheGateway> {
  await using stack = new AsyncDisposableStack();
  const upstream = stack.use(echoUpstream());
  const gateway = stack.use(
    await testGateway({
      ...options,
      config: {
        ...PATIENT,
        services: { cache: store.cache },
        routes: [
          { path: "/counts", upstream: upstream.url, plugins: ["001-counts"] },
          { path: "/strict", upstream: upstream.url, plugins: ["002-strict"] },
          { path: "/more/*", upstream: upstream.url },
        ],
        ...options.config,
      },
      env: { ...store.env, ...options.env },
      plugins: {
        "001-counts.ts": COUNTS,
        "002-strict.ts": COUNTS_STRICTLY,
        ...options.plugins,
      },
    }),
  );
  const kept = stack.move();
  return { gateway, upstream, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
