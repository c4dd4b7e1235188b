/**
 * The cache of a test: the checks of the real one, kept in memory, with times to live by a clock that can be set.
 *
 * @module
 */

import { type CacheCall, decodeCacheCall, notAnInteger } from "../../protocol/cache_call.ts";
import type { Json } from "../../protocol/snapshot.ts";
import type { CacheService } from "../mod.ts";
import { cacheService } from "../services/cache.ts";
import { TestClock } from "./clock.ts";

export interface TestCache extends CacheService {
  /** What times to live are measured with; see `withClock`. */
  readonly clock: TestClock;
}

/** A cache that holds `seeds`, without a time to live. */
export function testCache(seeds: { readonly [key: string]: Json } = {}): TestCache {
  const store = new Store();
  for (const [key, value] of Object.entries(seeds)) store.call("set", [key, value]);
  // The gateway's errors cross the socket as texts.
  // deno-lint-ignore require-await -- what is thrown is to be a rejection
  const call = async (method: string, args: readonly Json[]): Promise<Json> => {
    try {
      return store.call(method, JSON.parse(JSON.stringify(args)));
    } catch (error) {
      throw new Error(error instanceof Error ? error.message : String(error));
    }
  };
  return Object.freeze({ ...cacheService(call), clock: store.clock });
}

/** A cache whose store is away: every call rejects. */
export function brokenCache(): TestCache {
  const call = () => Promise.reject(new Error("the cache is not reachable"));
  return Object.freeze({ ...cacheService(call), clock: new TestClock() });
}

class Store {
  readonly clock = new TestClock();
  readonly #entries = new Map<string, { readonly json: string; readonly expiresAt: number }>();

  call(method: string, args: readonly Json[]): Json {
    const call = decodeCacheCall(method, args);
    const { key } = call;
    const before = this.#read(key);
    switch (call.method) {
      case "get":
        return before ? JSON.parse(before.json) : null;
      case "set":
        if (call.onlyIfAbsent && before) return false;
        this.#entries.set(key, { json: call.json, expiresAt: this.#expiry(call) });
        return true;
      case "delete":
        return this.#entries.delete(key);
      case "increment": {
        const count: unknown = before ? JSON.parse(before.json) : 0;
        const next = typeof count === "number" ? count + 1 : NaN;
        if (!Number.isSafeInteger(count) || !Number.isSafeInteger(next)) throw notAnInteger(key);
        const expiresAt = before?.expiresAt ?? this.#expiry(call);
        this.#entries.set(key, { json: String(next), expiresAt });
        return next;
      }
      case "expire":
        if (before) this.#entries.set(key, { ...before, expiresAt: this.#expiry(call) });
        return before !== undefined;
    }
  }

  #read(key: string) {
    const entry = this.#entries.get(key);
    if (!entry || entry.expiresAt > this.clock.now()) return entry;
    this.#entries.delete(key);
  }

  #expiry({ ttlMs }: Extract<CacheCall, { readonly ttlMs: number | undefined }>): number {
    return ttlMs === undefined ? Infinity : this.clock.now() + ttlMs;
  }
}
