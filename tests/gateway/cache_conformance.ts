/**
 * What every cache promises to plugins, whatever stands behind it: one suite, run against each driver and against the fake of
 * `conduit/testing`. It speaks the plugins' own interface.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import type { CacheService, Json } from "../../plugin-host/mod.ts";
import { MAX_VALUE_BYTES } from "../../protocol/cache_call.ts";
import { mayBeMisread } from "../support/misread_keys.ts";

export interface CacheUnderTest extends AsyncDisposable {
  /** Empty. */
  readonly cache: CacheService;
  /** Lets time pass for the store: sets its clock, or waits. */
  pass(seconds: number): Promise<void>;
}

export interface ConformanceOptions {
  /** Before each test's name. */
  readonly name: string;
  readonly open: () => Promise<CacheUnderTest>;
  /** Why the suite is ignored here, for the end of the names. */
  readonly ignored?: string | undefined;
}

/** Declares the tests. */
export function testCacheConformance({ name, open, ignored }: ConformanceOptions): void {
  const promise = (what: string, test: (under: CacheUnderTest) => Promise<void>) =>
    Deno.test({
      name: `${name}: ${what}${ignored ?? ""}`,
      ignore: ignored !== undefined,
      async fn() {
        await using under = await open();
        await test(under);
      },
    });

  promise("a value comes back as it was set", async ({ cache }) => {
    for (const value of VALUES) {
      assertEquals(await cache.set("k", value), true);
      assertEquals(await cache.get("k"), value, JSON.stringify(value));
    }
  });

  promise("any JSON comes back as it was set, under any key", async ({ cache }) => {
    const key = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 });

    const json = fc.jsonValue({ stringUnit: "binary", maxDepth: 4 })
      .filter((value) => !mayBeMisread(JSON.stringify(value)));
    await fc.assert(
      fc.asyncProperty(key, json, async (key, value) => {
        const sent = JSON.parse(JSON.stringify(value));
        await cache.set(key, sent);
        assertEquals(await cache.get(key), sent);
      }),
      { numRuns: 50 },
    );
  });

  promise("a key that is not there is null, and is not deleted or extended", async ({ cache }) => {
    assertEquals(await cache.get("no"), null);
    assertEquals(await cache.delete("no"), false);
    assertEquals(await cache.expire("no", 5), false);
    await cache.set("yes", 1);
    assertEquals(await cache.expire("yes", 5), true);
    assertEquals(await cache.delete("yes"), true);
    assertEquals(await cache.delete("yes"), false);
    assertEquals(await cache.get("yes"), null);
  });

  promise("keys are told apart, whatever they are made of", async ({ cache }) => {
    for (const key of KEYS) assertEquals(await cache.get(key), null, JSON.stringify(key));
    for (const key of KEYS) await cache.set(key, { of: key });
    for (const key of KEYS) assertEquals(await cache.get(key), { of: key });
    for (const key of KEYS) assertEquals(await cache.increment(`${key}+`), 1);
  });

  promise("onlyIfAbsent: of 50 at the same time exactly one sets", async ({ cache }) => {
    const answers = await Promise.all(
      Array.from(
        { length: 50 },
        (_, index) => cache.set("nonce", index, { onlyIfAbsent: true, ttlSeconds: 60 }),
      ),
    );
    assertEquals(answers.filter((each) => each).length, 1);
    assertEquals(await cache.get("nonce"), answers.indexOf(true));
    assertEquals(await cache.set("nonce", "replayed", { onlyIfAbsent: true }), false);
    assertEquals(await cache.set("nonce", "set", { onlyIfAbsent: false }), true);
    assertEquals(await cache.get("nonce"), "set");
    // A null is a value too.
    await cache.set("nothing", null);
    assertEquals(await cache.set("nothing", 1, { onlyIfAbsent: true }), false);
  });

  promise("increment: 200 at the same time get 1 to 200", async ({ cache }) => {
    const counts = await Promise.all(
      Array.from(
        { length: 200 },
        (_, index) => cache.increment("n", index % 2 ? { ttlSeconds: 60 } : {}),
      ),
    );
    assertEquals(
      counts.toSorted((a, b) => a - b),
      Array.from({ length: 200 }, (_, index) => index + 1),
    );
    assertEquals(await cache.get("n"), 200);
  });

  promise("increment goes on from an integer, and refuses everything else", async ({ cache }) => {
    for (const [from, to] of [[41, 42], [-1, 0], [2 ** 53 - 2, 2 ** 53 - 1]] as const) {
      await cache.set("n", from);
      assertEquals(await cache.increment("n"), to);
      assertEquals(await cache.get("n"), to);
    }
    for (const value of ["1", "text", null, true, 1.5, 1e300, 2 ** 53, [1], {}] as Json[]) {
      for (const options of [{}, { ttlSeconds: 5 }]) {
        await cache.set("n", value);
        await assertRejects(
          () => cache.increment("n", options),
          Error,
          'the value of "n" is not an integer',
        );
      }
    }
    await cache.set("n", 2 ** 53 - 1);
    await assertRejects(() => cache.increment("n"), Error, 'the value of "n" is not an integer');
  });

  promise("times to live: what has one is there until then, and gone after it", async (under) => {
    const { cache, pass } = under;
    const short = { ttlSeconds: 1 };
    const long = { ttlSeconds: 100 };
    await cache.set("set", 1, short);
    await cache.set("nonce", 1, { ...short, onlyIfAbsent: true });
    await cache.increment("counter", short);
    await cache.set("expire", 1);
    await cache.expire("expire", short.ttlSeconds);
    await cache.set("set again", 1, long);
    await cache.set("set again", 2, short);
    await cache.increment("counter kept", short);
    await cache.increment("counter kept", long);
    await cache.set("fraction", 1, { ttlSeconds: 0.2 });

    await cache.set("long", 1, long);
    await cache.set("dropped", 1, short);
    await cache.set("dropped", 2);
    await cache.set("extended", 1, short);
    await cache.expire("extended", long.ttlSeconds);
    await cache.set("not replaced", 1, long);
    await cache.set("not replaced", 2, { ...short, onlyIfAbsent: true });
    await cache.set("counter without", 1);
    await cache.increment("counter without", short);
    await cache.increment("counter long", long);
    await cache.increment("counter long", short);

    await pass(1.2);
    const gone = ["set", "nonce", "counter", "expire", "set again", "counter kept", "fraction"];
    for (const key of gone) assertEquals(await cache.get(key), null, key);
    const there = { long: 1, dropped: 2, extended: 1, "not replaced": 1 };
    for (const [key, value] of Object.entries(there)) {
      assertEquals(await cache.get(key), value, key);
    }
    assertEquals(await cache.get("counter without"), 2);
    assertEquals(await cache.get("counter long"), 2);

    assertEquals(await cache.set("nonce", 2, { onlyIfAbsent: true }), true);
    assertEquals(await cache.increment("counter"), 1);
    assertEquals(await cache.delete("set"), false);
    assertEquals(await cache.expire("expire", 5), false);
  });

  promise("a value of 256 KiB is stored, one byte more is not", async ({ cache }) => {
    const largest = "x".repeat(MAX_VALUE_BYTES - 4) + "ü"; // two bytes, and two quotes
    await cache.set("k", largest);
    await assertRejects(
      () => cache.set("k", `${largest}x`),
      Error,
      `the value of "k" has ${MAX_VALUE_BYTES + 1} bytes; at most ${MAX_VALUE_BYTES} are stored`,
    );
    assertEquals(await cache.get("k") === largest, true);
  });

  promise("keys have 1 to 1024 characters", async ({ cache }) => {
    const longest = "ü".repeat(1024);
    await cache.set(longest, 1);
    assertEquals(await cache.get(longest), 1);
    for (const key of ["", "x".repeat(1025), 5 as unknown as string]) {
      await assertRejects(
        () => cache.get(key),
        Error,
        "a cache key is a string of 1 to 1024 characters",
      );
    }
  });

  promise("options that make no sense are errors and change nothing", async ({ cache }) => {
    await cache.set("k", 1);
    for (const ttlSeconds of [0, -1, NaN, "5" as unknown as number, 1e12]) {
      const says = `the ttlSeconds of "k" is `;
      await assertRejects(() => cache.set("k", 2, { ttlSeconds }), Error, says);
      await assertRejects(() => cache.increment("k", { ttlSeconds }), Error, says);
      await assertRejects(() => cache.expire("k", ttlSeconds), Error, says);
    }
    await assertRejects(
      () => cache.set("k", 2, { ttl: 5 } as { readonly ttlSeconds?: number }),
      Error,
      'the options of "k" have an unknown key "ttl", known here: ttlSeconds, onlyIfAbsent',
    );
    assertEquals(await cache.get("k"), 1);
  });
}

const VALUES: readonly Json[] = [
  null,
  true,
  false,
  0,
  -1.5,
  1e300,
  Number.MAX_SAFE_INTEGER,
  Number.MIN_SAFE_INTEGER,
  2 ** 60,
  0.1 + 0.2,
  "",
  " ",
  "ü 😀 \u0000 \r\n \u2028 \ufeff \ud800",
  [],
  {},
  [[[]], [{ a: [1, null, "ü"] }]],
  { deep: { deeper: { deepest: [{}] } }, "": null, "with space": "\n" },
  JSON.parse('{"__proto__": {"constructor": 1}, "toString": 2}'),
  // What a driver might take for something else.
  "1",
  "1.0",
  "null",
  "true",
  "OK",
  "QUEUED",
  '"OK"',
  "9007199254740993",
  '{"result":1}',
  '{"error":"ERR"}',
  { result: 1 },
  { error: "WRONGTYPE Operation against a key" },
  "ERR unknown command",
  "-ERR\r\n",
  "$-1\r\n",
  "T0s=", // "OK" in base64
  "bnVsbA==",
  "[object Object]",
];

const KEYS: readonly string[] = [
  "plain",
  "with space",
  " plain",
  "a:b:c",
  "a::b",
  "{tag}",
  "*",
  "new\nline",
  "new\r\n$3\r\nline",
  "\u0000",
  "ü",
  "u\u0308",
  "😀",
  "/path?query#fragment",
  "%20",
  '"quoted"',
  "__proto__",
  "constructor",
  "toString",
  "conduit:plain",
];
