/**
 * `services.cache` in an isolate: every call is carried to the gateway, which owns the store and its credentials.
 *
 * @module
 */

import type { Json } from "../../protocol/snapshot.ts";
import { toJson } from "../json.ts";
import type { CacheService } from "../mod.ts";

/** Sends one `call` frame and resolves with what its `return` frame says. */
export type Call = (method: string, args: readonly Json[]) => Promise<Json>;

export function cacheService(call: Call): CacheService {
  return Object.freeze(
    {
      get: async (key) => await call("get", [keyJson(key)]),
      set: async (key, value, options) =>
        await call("set", [
          keyJson(key),
          toJson(value, "the cached value"),
          optionsJson(options),
        ]) === true,
      delete: async (key) => await call("delete", [keyJson(key)]) === true,
      increment: async (key, options) =>
        Number(await call("increment", [keyJson(key), optionsJson(options)])),
      expire: async (key, ttlSeconds) => await call("expire", [keyJson(key), ttlSeconds]) === true,
    } satisfies CacheService,
  );
}

/** As they are, and no copy of what they hold: of what is no object, nothing would be left for the gateway to refuse. */
function optionsJson(options: object | null = null): Json {
  return options as Json;
}

/** The gateway says what is wrong with a key that is JSON, and no string. */
function keyJson(key: unknown): Json {
  return toJson(key, "the cache key");
}
