import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { CacheStore, MAX_VALUE_BYTES } from "../../gateway/cache.ts";
import type { Json } from "../../protocol/snapshot.ts";

/** A store whose clock stands still until it is told to go on. */
function cache({ maxEntries = 1000, maxBytes = 10_000_000 } = {}) {
  const clock = { seconds: 0 };
  const store = new CacheStore({ maxEntries, maxBytes }, { now: () => clock.seconds * 1000 });
  return { clock, call: (method: string, ...args: Json[]) => store.call(method, args) };
}

Deno.test("a value comes back as it was set, until it is deleted or overwritten", async () => {
  const { call } = cache();
  assertEquals(await call("get", "k"), null);
  for (const value of [{ a: [1, null, "ü"] }, "", 0, false, null] as Json[]) {
    assertEquals(await call("set", "k", value), true);
    assertEquals(await call("get", "k"), value);
  }
  assertEquals([await call("delete", "k"), await call("delete", "k")], [true, false]);
  assertEquals(await call("get", "k"), null);
});

Deno.test("keys like __proto__ are keys like any other", async () => {
  const { call } = cache();
  for (const key of ["__proto__", "constructor", "toString"]) {
    assertEquals(await call("get", key), null);
    await call("set", key, { __proto__: key });
    assertEquals(await call("increment", `${key}2`), 1);
  }
});

Deno.test("a value with ttlSeconds is there until just before, and gone then", async () => {
  const { call, clock } = cache();
  await call("set", "k", 1, { ttlSeconds: 10 });
  clock.seconds = 9.999;
  assertEquals(await call("get", "k"), 1);
  clock.seconds = 10;
  assertEquals([await call("get", "k"), await call("delete", "k")], [null, false]);
});

Deno.test("set replaces a time to live; expire gives a new one to what is there", async () => {
  const { call, clock } = cache();
  await call("set", "k", 1, { ttlSeconds: 1 });
  await call("set", "k", 2);
  clock.seconds = 5;
  assertEquals(await call("get", "k"), 2);
  assertEquals(await call("expire", "k", 3), true);
  clock.seconds = 7.9;
  assertEquals(await call("get", "k"), 2);
  clock.seconds = 8;
  assertEquals([await call("get", "k"), await call("expire", "k", 3)], [null, false]);
});

Deno.test("onlyIfAbsent sets once, also when many ask at the same time, and again after its time", async () => {
  const { call, clock } = cache();
  const set = () => call("set", "nonce", 1, { onlyIfAbsent: true, ttlSeconds: 5 });
  const answers = await Promise.all(Array.from({ length: 20 }, set));
  assertEquals(answers.filter((each) => each === true).length, 1);
  clock.seconds = 5;
  assertEquals(await set(), true);
});

Deno.test("increment counts without a gap when many ask at the same time, and keeps the first time to live", async () => {
  const { call, clock } = cache();
  const counts = await Promise.all(
    Array.from({ length: 20 }, () => call("increment", "n", { ttlSeconds: 10 })),
  );
  assertEquals(counts, Array.from({ length: 20 }, (_, index) => index + 1));
  clock.seconds = 9;
  assertEquals(await call("increment", "n", { ttlSeconds: 10 }), 21);
  clock.seconds = 10;
  assertEquals(await call("increment", "n"), 1);
});

Deno.test("beyond maxEntries the least recently used goes first; reading is using", async () => {
  const { call } = cache({ maxEntries: 3 });
  for (const key of ["a", "b", "c"]) await call("set", key, key);
  await call("get", "a");
  await call("set", "d", "d");
  const left = await Promise.all(["a", "b", "c", "d"].map((key) => call("get", key)));
  assertEquals(left, ["a", null, "c", "d"]);
});

Deno.test("keys and values together never have more than maxBytes, whatever is done", async () => {
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

Deno.test("a value of 256 KiB is stored, one byte more is not, and takes nothing else away", async () => {
  const { call } = cache({ maxBytes: 300_000 });
  await call("set", "other", 1);
  await call("set", "k", "x".repeat(MAX_VALUE_BYTES - 2)); // two quotes
  await assertRejects(
    () => call("set", "k", "x".repeat(MAX_VALUE_BYTES - 1)),
    RangeError,
    `the value of "k" has ${MAX_VALUE_BYTES + 1} bytes; at most ${MAX_VALUE_BYTES} are stored`,
  );
  assertEquals(String(await call("get", "k")).length, MAX_VALUE_BYTES - 2);
  assertEquals(await call("get", "other"), 1);
});

Deno.test("a value larger than the whole store is refused and takes nothing else away", async () => {
  const { call } = cache({ maxBytes: 100 });
  await call("set", "a", 1);
  await assertRejects(
    () => call("set", "b", "x".repeat(100)),
    RangeError,
    'the value of "b" has 102 bytes',
  );
  assertEquals(await call("get", "a"), 1);
});

const WRONG: readonly (readonly [says: string, method: string, args: readonly Json[]])[] = [
  ["a cache key is a string of 1 to 1024 characters", "get", []],
  ["a cache key is a string of 1 to 1024 characters", "get", [""]],
  ["a cache key is a string of 1 to 1024 characters", "set", ["x".repeat(1025), 1]],
  ["a cache key is a string of 1 to 1024 characters", "delete", [{ a: 1 }]],
  ['the cache has no method "clear"', "clear", ["k"]],
  ['the cache has no method "constructor"', "constructor", ["k"]],
  ['the options of "k" are not an object', "set", ["k", 1, 5]],
  ['the options of "k" are not an object', "increment", ["k", [1]]],
  ['the ttlSeconds of "k" is not a number greater than 0', "set", ["k", 1, { ttlSeconds: 0 }]],
  ['the ttlSeconds of "k" is not a number greater than 0', "set", ["k", 1, { ttlSeconds: "5" }]],
  ['the ttlSeconds of "k" is not a number greater than 0', "increment", ["k", { ttlSeconds: -1 }]],
  ['the ttlSeconds of "k" is not a number greater than 0', "expire", ["k"]],
  ['the value of "text" is not an integer', "increment", ["text"]],
];
for (const [says, method, args] of WRONG) {
  Deno.test(`${method}(${JSON.stringify(args).slice(1, 40)}) fails: ${says}`, async () => {
    const { call } = cache();
    await call("set", "text", "abc");
    await assertRejects(() => call(method, ...args), Error, says);
    assertEquals(await call("get", "k"), null);
    assertEquals(await call("get", "text"), "abc");
  });
}
