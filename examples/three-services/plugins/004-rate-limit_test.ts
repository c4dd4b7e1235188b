import { assert, assertEquals, assertRejects } from "@std/assert";
import { createTestContext, loadPlugin, runHook, type TestContextOptions } from "conduit/testing";
import type { Json } from "conduit/plugin";
import rateLimit from "./004-rate-limit.ts";

const CONFIG = { windowSeconds: 10, limits: { "/a/*": 2, "/b/*": 1 } };
const START = Date.parse("2026-11-24T12:00:03Z"); // 7 seconds before the next window

/** Requests one after another, with one cache and one clock that the tests can move. */
function client(shared: Pick<TestContextOptions, "cache"> = {}) {
  const first = createTestContext(shared);
  first.clock.set(START);
  return {
    clock: first.clock,
    cache: first.cache,
    /** What the client gets told: status, then limit, remaining, reset and Retry-After. */
    async ask(options: TestContextOptions = {}) {
      const ctx = createTestContext({ path: "/a", ...options, cache: first.cache });
      const refused = await runHook(rateLimit, "beforeRequest", ctx);
      const { response } = refused.rejected
        ? refused
        : await runHook({ afterResponse() {} }, "afterResponse", ctx);
      const fields = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
      return [response?.status, ...fields.map((name) => response?.headers[name])].join(" ").trim();
    },
  };
}

Deno.test("every answer says what is left; one too many gets 429 until the window ends", async () => {
  await loadPlugin(rateLimit, { config: CONFIG });
  const { ask, clock } = client();
  assertEquals(await ask(), "200 2 1 7");
  clock.advance(1.5);
  assertEquals(await ask(), "200 2 0 6");
  assertEquals(await ask(), "429 2 0 6 6");
  clock.advance(5.4);
  assertEquals(await ask(), "429 2 0 1 1");
  clock.advance(0.1);
  assertEquals(await ask(), "200 2 1 10");
});

Deno.test("a window is forgotten when it has ended", async () => {
  await loadPlugin(rateLimit, { config: CONFIG });
  const { ask, cache } = client();
  await ask();
  const key = `rate:/a/*:203.0.113.7:${Math.floor(START / 10_000)}`;
  assertEquals(await cache.get(key), 1);
  cache.clock.advance(10);
  assertEquals(await cache.get(key), null);
});

Deno.test("each user has a count, whatever the address; who is nobody is counted by address", async () => {
  await loadPlugin(rateLimit, { config: CONFIG });
  const { ask } = client();
  const whos: readonly TestContextOptions[] = [
    {},
    { remoteAddr: "2001:db8::1" },
    { user: { kind: "user", id: "alice" } },
    { user: { kind: "user", id: "bob" } },
    { user: { kind: "admin", issuer: "x", id: "alice" } },
    { user: { kind: "admin", issuer: "y", id: "alice" } },
    { user: { kind: "user", id: "203.0.113.7" } },
    { user: { kind: "user", id: '","","x' } },
  ];
  for (const who of whos) assertEquals(await ask(who), "200 2 1 7", JSON.stringify(who));
  const alice = { user: { kind: "user", id: "alice" }, remoteAddr: "198.51.100.1" };
  assertEquals(await ask(alice), "200 2 0 7");
});

Deno.test("each surface has its count; a path without one is not limited", async () => {
  await loadPlugin(rateLimit, { config: CONFIG });
  const { ask } = client();
  assertEquals(await ask(), "200 2 1 7");
  assertEquals(await ask({ path: "/b/x" }), "200 1 0 7");
  assertEquals(await ask({ path: "/b" }), "429 1 0 7 7");
  assertEquals(await ask({ path: "/a/y" }), "200 2 0 7");
  for (let number = 0; number < 3; number++) assertEquals(await ask({ path: "/ab" }), "200");
});

Deno.test("of many at once exactly as many as the limit says are let through", async () => {
  await loadPlugin(rateLimit, { config: { limits: { "/*": 10 } } });
  const { ask } = client();
  const answers = await Promise.all(Array.from({ length: 25 }, () => ask()));
  assertEquals(answers.filter((answer) => answer.startsWith("200")).length, 10);
});

Deno.test("the longest user id that there is can be counted", async () => {
  await loadPlugin(rateLimit, { config: CONFIG });
  assertEquals(
    await client().ask({ user: { kind: "user", id: "\u0001".repeat(128) } }),
    "200 2 1 7",
  );
});

Deno.test("without the cache requests are let through, and the log says so", async () => {
  await loadPlugin(rateLimit, { config: CONFIG });
  const ctx = createTestContext({ path: "/a", cache: "down" });
  const { action, logs } = await runHook(rateLimit, "beforeRequest", ctx);
  assertEquals([action, logs[0]?.level, logs[0]?.message], [
    "continue",
    "warn",
    "request not counted",
  ]);
});

Deno.test("or get 503, where that is asked for", async () => {
  await loadPlugin(rateLimit, { config: { ...CONFIG, whenCacheIsDown: "closed" } });
  assertEquals(await client({ cache: "down" }).ask(), "503    1");
});

const WRONG_CONFIGS: readonly (readonly [message: string, config: Json])[] = [
  ['"limit" is no setting', { limit: 1 }],
  ['"windowSeconds" is not 1 or more', { windowSeconds: 0 }],
  ['"windowSeconds" is not 1 or more', { windowSeconds: "10" }],
  ['"/a/*" is not 1 or more', { limits: { "/a/*": 0.5 } }],
  ['"whenCacheIsDown" is not "open" or "closed"', { whenCacheIsDown: "maybe" }],
];
for (const [message, config] of WRONG_CONFIGS) {
  Deno.test(`rate limit does not load with ${JSON.stringify(config)}`, async () => {
    await assertRejects(() => loadPlugin(rateLimit, { config }), Error, message);
  });
}

Deno.test("rate limit reads no bodies", () => assert(rateLimit.readsBodies === false));
