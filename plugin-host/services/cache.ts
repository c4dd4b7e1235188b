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
      get: (key) => call("get", [key]),
      set: async (key, value, options = {}) =>
        await call("set", [key, toJson(value, "the cached value"), { ...options }]) === true,
      delete: async (key) => await call("delete", [key]) === true,
      increment: async (key, options = {}) =>
        Number(await call("increment", [key, { ...options }])),
      expire: async (key, ttlSeconds) => await call("expire", [key, ttlSeconds]) === true,
    } satisfies CacheService,
  );
}
