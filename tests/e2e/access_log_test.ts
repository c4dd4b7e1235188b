import { assert, assertEquals } from "@std/assert";
import { userId } from "../../gateway/access_log.ts";
import type { Json } from "../../protocol/snapshot.ts";
import { storyOf } from "../support/admin_pages.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { ask } from "../support/failure.ts";
import { type LogLine, type TestGateway, testGateway } from "../support/gateway.ts";
import { scrape, total } from "../support/metrics.ts";
import { PATIENT } from "../support/patient.ts";
import { readDoc, section, tableRows } from "../support/prose.ts";
import { rawExchange } from "../support/raw_conversation.ts";
import { rawUpstream } from "../support/raw_upstream.ts";

const PLUGINS = {
  "001-who.ts": `export default {
    readsBodies: false,
    beforeRequest(ctx) {
      ctx.user = { id: "u-1", name: "Alice", token: "hunter2" };
      ctx.log.info("seen", { who: "u-1" });
    },
    async afterResponse() { await new Promise((resolve) => setTimeout(resolve, 30)); },
  };`,
  "002-gate.ts": `export default {
    readsBodies: false,
    beforeRequest(ctx) { if (ctx.request.path === "/a/no") ctx.reject(403, "no"); },
  };`,
};

const lineOf = (gateway: TestGateway, message: string): Promise<LogLine> =>
  gateway.waitForLog((line) => line.message.includes(message));

Deno.test("access log: one line a request tells what it came to, how long each part took, and who asked", async () => {
  await using upstream = echoUpstream({
    respond: async () => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      return new Response("four");
    },
  });
  await using broken = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour");
  });
  await using gateway = await testGateway({
    plugins: PLUGINS,
    config: {
      ...PATIENT,
      log: {
        format: "json",
        level: "info",
        requestHeaders: ["User-Agent", "x-absent"],
        queryParameters: ["page", "tag", "absent"],
      },
      routes: [
        { path: "/a/*", upstream: upstream.url },
        { path: "/turns", upstream: ["http://127.0.0.1:1", upstream.url], plugins: false },
        { path: "/dead", upstream: "http://127.0.0.1:1", plugins: false },
        { path: "/cut", upstream: broken.url, plugins: false },
      ],
    },
  });
  await ask(gateway, "/a/x?page=2&tag=a&tag=b%0Ac&secret=hunter2", {
    headers: { "user-agent": "test/1", "authorization": "Bearer hunter2", "x-request-id": "t-1" },
  });
  const line = await lineOf(gateway, "GET /a/x 200");
  const { durationMs, upstreamMs, pluginsMs, time: _, ...rest } = line;
  assertEquals(rest, {
    level: "info",
    message: "GET /a/x 200",
    traceId: "t-1",
    method: "GET",
    path: "/a/x",
    status: 200,
    bytes: 4,
    route: "/a/*",
    clientAddr: "127.0.0.1",
    user: "u-1",
    headers: { "user-agent": "test/1" },
    query: { page: "2", tag: ["a", "b\nc"] },
  });
  const times = pluginsMs as Readonly<Record<string, number>>;
  assertEquals(Object.keys(times), ["001-who", "002-gate"]);
  assert((times["001-who"] ?? 0) >= 29, JSON.stringify(line));
  assert(Number(upstreamMs) >= 29 && Number(durationMs) >= 59, JSON.stringify(line));
  const [said] = gateway.logs.filter(({ message }) => message === "seen");
  assertEquals([said?.traceId, said?.plugin], ["t-1", "001-who"]);

  await ask(gateway, "/a/no");
  assertEquals((await lineOf(gateway, "GET /a/no 403")).rejectedBy, "002-gate");
  await ask(gateway, "/turns");
  assertEquals((await lineOf(gateway, "GET /turns 200")).retries, 1);
  await ask(gateway, "/dead");
  assertEquals((await lineOf(gateway, "GET /dead 502")).error, "upstream_unreachable");
  await ask(gateway, "/cut").catch(() => {});
  const cut = await lineOf(gateway, "GET /cut 200");
  assertEquals([cut.cut, cut.failure, cut.bytes], [true, "closed", 4]);
  await ask(gateway, "/nowhere");
  const unrouted = await lineOf(gateway, "GET /nowhere 404");
  assertEquals([unrouted.error, unrouted.route, unrouted.bytes], ["not_found", undefined, 114]);

  assert(!JSON.stringify(gateway.logs).includes("hunter2"), "nothing that was not named");

  const fields = gateway.logs.filter(({ status }) => status !== undefined).flatMap(Object.keys);
  const told = tableRows(section(await readDoc("docs/operations.md"), "The access log"))
    .map(([field = ""]) => field);
  const everywhere = ["time", "level", "message", "traceId", "method"];
  assertEquals([...new Set(fields)].sort(), [...told, ...everywhere].sort());
});

Deno.test("access log: a client that leaves in the middle is a 499 with the bytes it was sent, on all pages", async () => {
  const { promise: gone, resolve: leave } = Promise.withResolvers<void>();
  await using upstream = echoUpstream({
    respond: () =>
      new Response(ReadableStream.from((async function* () {
        yield new TextEncoder().encode("first");
        await gone;
      })())),
  });
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const leaving = new AbortController();
  const response = await gateway.fetch("/x", {
    signal: leaving.signal,
    headers: { "x-request-id": "left" },
  });
  const reader = response.body?.getReader();
  assertEquals((await reader?.read())?.value?.length, 5);
  leaving.abort();
  await reader?.read().catch(() => {});
  const line = await lineOf(gateway, "GET /x 499");
  leave();
  assertEquals([line.status, line.bytes, line.error], [499, 5, undefined]);
  assertEquals((await storyOf(gateway, "left")).decided, "the client left");
  assertEquals(total(await scrape(gateway), "conduit_requests_total", { status: "499" }), 1);
});

Deno.test("access log: a connection that the upstream closed meanwhile is a retry, and an answer without a body has no bytes", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    if (upstream.connections.length === 1) await conn.readRequest(); // and no answer
  });
  await using gateway = await testGateway({
    config: { routes: [{ path: "/a", upstream: upstream.url }] },
  });
  await ask(gateway, "/a");
  assertEquals((await lineOf(gateway, "GET /a 200")).retries, undefined);
  const from = gateway.logs.length;
  await ask(gateway, "/a");
  const line = await gateway.waitForLog(({ message }) => message === "GET /a 200", { from });
  assertEquals(line.retries, 1);
  assertEquals(total(await scrape(gateway), "conduit_upstream_retries_total"), 1);

  await ask(gateway, "/nowhere", { method: "HEAD" });
  assertEquals((await lineOf(gateway, "HEAD /nowhere 404")).bytes, 0);
});

Deno.test("access log: attack 31: what a client puts into named headers and parameters stays within its line", async () => {
  const evil = '"}\\r\\nINFO forged \\u001b[2J';
  for (const format of ["json", "text"]) {
    await using upstream = echoUpstream();
    await using gateway = await testGateway({
      config: {
        log: { format, requestHeaders: ["user-agent"], queryParameters: ["q", "__proto__"] },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
    });
    const query = "q=%0AINFO%20forged%1b[2J%22%7D&__proto__=%E2%80%A8x";
    await rawExchange(
      gateway.port,
      `GET /a?${query} HTTP/1.1\r\nHost: a\r\nUser-Agent: ${evil}\x9b2J\tx\r\nConnection: close\r\n\r\n`,
    );
    const line = await lineOf(gateway, "GET /a 200");
    for (const { message } of gateway.logs) {
      // deno-lint-ignore no-control-regex -- that there are none is the point
      assert(!/[\u0000-\u001f\u007f-\u009f\u2028]/.test(message), message);
      assert(!message.startsWith("INFO forged"), message);
    }
    if (format === "text") continue;
    assertEquals(
      line.query,
      JSON.parse('{"q":"\\nINFO forged\\u001b[2J\\"}","__proto__":"\\u2028x"}'),
    );
    assertEquals((line.headers as Record<string, string>)["user-agent"], `${evil}\xc2\x9b2J\tx`);
  }
});

Deno.test("access log: long values are cut, so that no client fills a disk with one line", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      log: { format: "json", requestHeaders: ["user-agent"], queryParameters: ["q"] },
      routes: [{ path: "/*", upstream: upstream.url }],
    },
  });
  await ask(gateway, `/${"p".repeat(9000)}?q=${"v".repeat(9000)}`, {
    headers: { "user-agent": "a".repeat(9000) },
  });
  const line = await lineOf(gateway, "…");
  assertEquals(String(line.path), `/${"p".repeat(1023)}…`);
  assertEquals(line.query, { q: `${"v".repeat(256)}…` });
  assert(JSON.stringify(line).length < 4096);
});

const USERS: readonly (readonly [what: string, user: Json | undefined, shown: unknown])[] = [
  ["a text", "alice", "alice"],
  ["a number", 7, 7],
  ["an id", { id: "u-1", sub: "s-1" }, "u-1"],
  ["a number as id", { id: 42 }, 42],
  ["a subject", { sub: "s-1", email: "a@b" }, "s-1"],
  ["an id that is no value", { id: { token: "hunter2" }, sub: "s-1" }, "s-1"],
  ["neither", { token: "hunter2" }, undefined],
  ["a list", ["alice"], undefined],
  ["nothing", undefined, undefined],
  ["null", null, undefined],
  ["too long a text", "x".repeat(300), `${"x".repeat(256)}…`],
];

Deno.test("access log: the user is a text or a number that names one, and nothing else of an identity", () => {
  for (const [what, user, shown] of USERS) assertEquals(userId(user), shown, what);
});
