/** `ctx.services` inside an isolate, with calls that their types forbid: plugins are not checked for types when they run. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { decodeCacheCall } from "../../protocol/cache_call.ts";
import type { Json } from "../../protocol/snapshot.ts";
import type { GatewayContext, Services } from "../../plugin-host/mod.ts";
import { cacheService } from "../../plugin-host/services/cache.ts";
import { httpService } from "../../plugin-host/services/http.ts";
import { run } from "./hook_frame.ts";

Deno.test("a call to the cache with what is no JSON rejects, and says which part that is", async () => {
  const calls: readonly [what: string, call: (cache: Services["cache"]) => Promise<unknown>][] = [
    ["the cache key", (cache) => cache.get(1n as never)],
    ["the cached value", (cache) => cache.set("k", 1n as never)],
    ["the cache key", (cache) => cache.increment((() => {}) as never)],
  ];
  for (const [what, call] of calls) {
    const unheard = (ctx: GatewayContext) => void call(ctx.services.cache).catch(() => {});
    const result = await run({ beforeRequest: unheard });
    assertEquals([result.action, "error" in result], ["continue", false], what);
    const cache = cacheService(() => Promise.resolve(null));
    await assertRejects(() => call(cache), TypeError, `${what} `);
  }
});

Deno.test("options that are none reach the gateway, which refuses them: a time to live is not lost", async () => {
  const asked: Json[] = [];
  const cache = cacheService((_, args) => (asked.push([...args]), Promise.resolve(true)));
  await cache.set("k", 1, 60 as never);
  await cache.increment("k", 60 as never);
  assertEquals(asked, [["k", 1, 60], ["k", 60]]);
  assertThrows(() => decodeCacheCall("set", ["k", 1, 60]), TypeError, "are not an object");
});

Deno.test("ctx.services.http keeps what a Request has, and its init goes before that", async () => {
  const seen: Record<string, string>[] = [];
  const http = httpService({
    traceHeaders: { "x-request-id": "t1" },
    signal: () => new AbortController().signal,
    fetch: (input, init) => {
      seen.push(Object.fromEntries(new Request(input, init).headers));
      return Promise.resolve(new Response());
    },
  });
  const request = new Request("http://a/", { headers: { authorization: "Bearer x" } });
  await http.fetch(request);
  await http.fetch(request, { headers: { accept: "text/html" } });
  assertEquals(seen, [
    { authorization: "Bearer x", "x-request-id": "t1" },
    { accept: "text/html", "x-request-id": "t1" },
  ]);
  const gone = new Request("http://a/", { signal: AbortSignal.abort() });
  const refuse = httpService({
    traceHeaders: {},
    signal: () => new AbortController().signal,
    fetch: (_, init) => Promise.reject(init?.signal?.reason),
  });
  await assertRejects(() => refuse.fetch(gone), DOMException, "aborted");
});
