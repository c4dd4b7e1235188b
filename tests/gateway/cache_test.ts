import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { MemoryDriver } from "../../gateway/cache/memory.ts";
import { CacheStore } from "../../gateway/cache/store.ts";
import type { Json } from "../../protocol/snapshot.ts";

// What only the memory driver promises: `cache_conformance_test.ts` has what all do.

/** A store whose clock stands still until it is told to go on. */
function cache({ maxEntries = 1000, maxBytes = 10_000_000 } = {}) {
  const clock = { seconds: 0 };
  const driver = new MemoryDriver({ maxEntries, maxBytes }, { now: () => clock.seconds * 1000 });
  const store = new CacheStore(driver);
  return { clock, call: (method: string, ...args: Json[]) => store.call(method, args) };
}

Deno.test("memory: a value with ttlSeconds is there until just before, and gone then", async () => {
  const { call, clock } = cache();
  await call("set", "k", 1, { ttlSeconds: 10 });
  clock.seconds = 9.999;
  assertEquals(await call("get", "k"), 1);
  clock.seconds = 10;
  assertEquals([await call("get", "k"), await call("delete", "k")], [null, false]);
});

Deno.test("memory: beyond maxEntries the least recently used goes first; reading is using", async () => {
  const { call } = cache({ maxEntries: 3 });
  for (const key of ["a", "b", "c"]) await call("set", key, key);
  await call("get", "a");
  await call("set", "d", "d");
  const left = await Promise.all(["a", "b", "c", "d"].map((key) => call("get", key)));
  assertEquals(left, ["a", null, "c", "d"]);
});

Deno.test("memory: keys and values together never have more than maxBytes, whatever is done", async () => {
  const key = fc.constantFrom("a", "b", "c", "dddd");
  const step = fc.tuple(
    fc.constantFrom("set", "delete", "increment"),
    key,
    fc.string({ minLength: 30, maxLength: 60 }),
  );
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
    const { call } = cache({ maxBytes: 100 });
    for (const [method, key, value] of steps) {
      await (method === "set" ? call(method, key, value) : call(method, key)).catch(() => {});
    }
    const left = await Promise.all(["a", "b", "c", "dddd"].map((key) => call("get", key)));
    const bytes = left.reduce<number>(
      (sum, value) =>
        sum + (value === null ? 0 : new TextEncoder().encode(JSON.stringify(value)).length),
      0,
    );
    assertEquals(bytes <= 100, true, `${bytes}`);
  }));
});

Deno.test("memory: a value that is refused takes nothing else away", async () => {
  const { call } = cache({ maxBytes: 100 });
  await call("set", "a", 1);
  await assertRejects(
    () => call("set", "b", "x".repeat(100)),
    Error,
    'the value of "b" has 102 bytes; at most 98 are stored',
  );
  assertEquals(await call("get", "a"), 1);
});
