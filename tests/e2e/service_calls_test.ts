/** What plugins ask of the cache at once: more than may lie on the plugin socket, and from an isolate that does not read the answers. */
import { assertEquals } from "@std/assert";
import { ask, assertServed } from "../support/failure.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";

const CALLS = 400;
const VALUE_BYTES = 250_000;

/** 100 MB of answers; `/busy` asks for them and leaves them unread for longer than others need. */
const GREEDY = `
const all = (cache) => Array.from({ length: ${CALLS} }, () => cache.get("large"));
export default {
  async beforeRequest(ctx) {
    const { cache } = ctx.services;
    if (ctx.request.path === "/set") await cache.set("large", "x".repeat(${VALUE_BYTES}));
    if (ctx.request.path === "/all") {
      const values = await Promise.all(all(cache));
      ctx.upstream.setHeader("x-bytes", String(values.reduce((sum, { length }) => sum + length, 0)));
    }
    if (ctx.request.path === "/busy") {
      for (const each of all(cache)) each.catch(() => {});
      for (const until = Date.now() + 500; Date.now() < until;);
    }
  },
};`;

Deno.test("a plugin gets whatever it asks the cache for at once, and who leaves it unread costs nobody an isolate", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { "001-greedy.ts": GREEDY },
  });
  const [hosts, paths] = [await gateway.hostPids(), ["/all", "/busy", "/all", "/busy"]];
  assertServed([await ask(gateway, "/set")]);
  assertServed(await Promise.all(paths.map((path) => ask(gateway, path))));
  const got = upstream.seen.filter(({ target }) => target === "/all");
  assertEquals(
    got.map(({ headers }) => headers["x-bytes"]),
    Array(2).fill(String(CALLS * VALUE_BYTES)),
  );
  assertEquals(gateway.logs.filter(({ level }) => level === "warn" || level === "error"), []);
  assertEquals(await gateway.hostPids(), hosts);
});
