import { MemoryDriver } from "../../gateway/cache/memory.ts";
import { CacheStore } from "../../gateway/cache/store.ts";
import { cacheService } from "../../plugin-host/services/cache.ts";
import { NO_REDIS } from "../support/redis_server.ts";
import { testCacheConformance } from "./cache_conformance.ts";
import { REMOTE_DRIVERS, remoteStore } from "./cache_stores.ts";

testCacheConformance({
  name: "memory",
  open() {
    let now = 0;
    const driver = new MemoryDriver({ maxEntries: 1000, maxBytes: 10_000_000 }, { now: () => now });
    const store = new CacheStore(driver);
    return Promise.resolve({
      cache: cacheService((method, args) => store.call(method, args)),
      pass: (seconds) => Promise.resolve(void (now += seconds * 1000)),
      [Symbol.asyncDispose]: () => Promise.resolve(store.close()),
    });
  },
});

for (const driver of REMOTE_DRIVERS) {
  testCacheConformance({
    name: driver,
    ignored: NO_REDIS,
    open: async () =>
      Object.assign(await remoteStore(driver), {
        pass: (seconds: number) => new Promise<void>((done) => setTimeout(done, seconds * 1000)),
      }),
  });
}
