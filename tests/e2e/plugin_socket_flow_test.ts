/** More at once than may lie on the plugin socket, towards an isolate that does not read it for a while: it waits in the gateway. */
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

const BODIES = 80;
const BODY_BYTES = 900_000;
/** Longer than the bodies need to arrive, and much less than a hook may wait for a free isolate. */
const BUSY_MS = 1000;

Deno.test("bodies of many requests, 96 MB as they go to a plugin, wait for an isolate that is busy, and cost it nothing", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      pluginPoolSize: 1,
      bodies: { inlineLimitBytes: 1_000_000 },
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: {
      "001-reader.ts": `export default {
        beforeRequest(ctx) {
          if (ctx.request.path === "/busy") for (const until = Date.now() + ${BUSY_MS}; Date.now() < until;);
          ctx.upstream.setHeader("x-length", String(ctx.request.bytes().length));
        },
      };`,
    },
  });
  const hosts = await gateway.hostPids();
  const busy = ask(gateway, "/busy");
  const body = new Uint8Array(BODY_BYTES);
  const posts = Array.from(
    { length: BODIES },
    () => ask(gateway, "/x", { method: "POST", body }),
  );
  assertServed(await Promise.all([busy, ...posts]));
  const lengths = upstream.seen.filter(({ target }) => target === "/x")
    .map(({ headers }) => headers["x-length"]);
  assertEquals(lengths, Array(BODIES).fill(String(BODY_BYTES)));
  assertEquals(gateway.logs.filter(({ level }) => level === "warn" || level === "error"), []);
  assertEquals(await gateway.hostPids(), hosts);
});

const SET_BYTES = 3_000_000;

Deno.test("bodies that a plugin sets for many clients at the same time, 180 MB, all take the place of the upstream's", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, pluginPoolSize: 1, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-redact.ts": `const body = "x".repeat(${SET_BYTES});
      export default {
        async afterResponse(ctx) {
          if (ctx.request.path === "/late") await new Promise((resolve) => setTimeout(resolve, 50));
          ctx.response.setBody(body);
        },
      };`,
    },
  });
  const hosts = await gateway.hostPids();
  for (const path of ["/at-once", "/late"]) {
    const answers = await Promise.all(Array.from({ length: 60 }, () => ask(gateway, path)));
    assertServed(answers);
    assertEquals(answers.map(({ text }) => text.length), Array(60).fill(SET_BYTES), path);
  }
  assertEquals(gateway.logs.filter(({ level }) => level === "warn" || level === "error"), []);
  assertEquals(await gateway.hostPids(), hosts);
});
