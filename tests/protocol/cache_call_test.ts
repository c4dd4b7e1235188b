import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type CacheCall, decodeCacheCall, MAX_VALUE_BYTES } from "../../protocol/cache_call.ts";
import type { Json } from "../../protocol/snapshot.ts";

const RIGHT: readonly (readonly [method: string, args: readonly Json[], call: CacheCall])[] = [
  ["get", ["k"], { method: "get", key: "k" }],
  ["delete", ["k"], { method: "delete", key: "k" }],
  ["set", ["k", { a: 1 }], {
    method: "set",
    key: "k",
    json: '{"a":1}',
    ttlMs: undefined,
    onlyIfAbsent: false,
  }],
  ["set", ["k", null, { ttlSeconds: 0.2, onlyIfAbsent: true }], {
    method: "set",
    key: "k",
    json: "null",
    ttlMs: 200,
    onlyIfAbsent: true,
  }],
  ["increment", ["k"], { method: "increment", key: "k", ttlMs: undefined }],
  ["increment", ["k", { ttlSeconds: 1.1 }], { method: "increment", key: "k", ttlMs: 1100 }],
  ["expire", ["k", 0.0001], { method: "expire", key: "k", ttlMs: 1 }],
  ["expire", ["k", 315_360_000], { method: "expire", key: "k", ttlMs: 315_360_000_000 }],
];

Deno.test("a cache call that makes sense is decoded", () => {
  for (const [method, args, call] of RIGHT) assertEquals(decodeCacheCall(method, args), call);
});

const NO_KEY = "a cache key is a string of 1 to 1024 characters";
const WRONG: readonly (readonly [says: string, method: string, args: readonly Json[]])[] = [
  [NO_KEY, "get", []],
  [NO_KEY, "get", [""]],
  [NO_KEY, "set", ["x".repeat(1025), 1]],
  [NO_KEY, "delete", [{ a: 1 }]],
  [NO_KEY, "expire", [null, 1]],
  ['the cache key "\\ud800" is not Unicode text', "get", ["\ud800"]],
  ['the cache has no method "clear"', "clear", ["k"]],
  ['the cache has no method "constructor"', "constructor", ["k"]],
  ['the options of "k" are not an object', "set", ["k", 1, 5]],
  ['the options of "k" are not an object', "increment", ["k", [1]]],
  ['unknown key "nx", known here: ttlSeconds, onlyIfAbsent', "set", ["k", 1, { nx: true }]],
  ['unknown key "__proto__"', "set", ["k", 1, JSON.parse('{"__proto__": {}}')]],
  ['unknown key "onlyIfAbsent", known here: ttlSeconds', "increment", ["k", {
    onlyIfAbsent: true,
  }]],
  ['the onlyIfAbsent of "k" is not true or false', "set", ["k", 1, { onlyIfAbsent: 1 }]],
  ['the ttlSeconds of "k" is not a number greater than 0', "set", ["k", 1, { ttlSeconds: 0 }]],
  ['the ttlSeconds of "k" is not a number greater than 0', "set", ["k", 1, { ttlSeconds: "5" }]],
  ['the ttlSeconds of "k" is not a number greater than 0', "set", ["k", 1, { ttlSeconds: null }]],
  ['the ttlSeconds of "k" is not a number greater than 0', "increment", ["k", { ttlSeconds: -1 }]],
  ['the ttlSeconds of "k" is not a number greater than 0', "expire", ["k"]],
  ['the ttlSeconds of "k" is not a number greater than 0', "expire", ["k", NaN]],
  ['the ttlSeconds of "k" is more than 315360000, ten years', "expire", ["k", Infinity]],
  ['the ttlSeconds of "k" is more than 315360000, ten years', "expire", ["k", 315_360_001]],
];
for (const [says, method, args] of WRONG) {
  Deno.test(`cache.${method}(${JSON.stringify(args).slice(1, 60)}) is refused: ${says}`, () => {
    assertThrows(() => decodeCacheCall(method, args), Error, says);
  });
}

Deno.test("a cached value is measured as JSON in UTF-8", () => {
  const largest = "ü".repeat(MAX_VALUE_BYTES / 2 - 1); // two quotes
  assertEquals(decodeCacheCall("set", ["k", largest]).method, "set");
  assertThrows(
    () => decodeCacheCall("set", ["k", `${largest}x`]),
    RangeError,
    `the value of "k" has ${MAX_VALUE_BYTES + 1} bytes; at most ${MAX_VALUE_BYTES} are stored`,
  );
});

Deno.test("cache call law: whatever a frame holds is decoded or refused with a message", () => {
  const anything = fc.jsonValue() as fc.Arbitrary<Json>;
  const key = fc.oneof(fc.string({ maxLength: 3 }), anything);
  const options = fc.oneof(
    anything,
    fc.record({ ttlSeconds: anything, onlyIfAbsent: anything }, { requiredKeys: [] }),
  );
  const method = fc.oneof(
    fc.constantFrom("get", "set", "delete", "increment", "expire"),
    fc.string(),
  );
  fc.assert(
    fc.property(method, key, anything, options, (method, key, value, options) => {
      try {
        const call = decodeCacheCall(method, [key, value, options]);
        assertEquals(call.key, key);
        if ("ttlMs" in call && call.ttlMs !== undefined) {
          assert(Number.isSafeInteger(call.ttlMs) && call.ttlMs >= 1);
        }
        if (call.method === "set") assertEquals(JSON.parse(call.json), value);
      } catch (error) {
        assert(error instanceof TypeError || error instanceof RangeError, String(error));
        assert(error.message.startsWith("the ") || error.message === NO_KEY, error.message);
      }
    }),
  );
});
