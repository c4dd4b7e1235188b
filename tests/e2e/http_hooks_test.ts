/** What plugins do to requests and responses through `ctx`, seen from both ends, across isolates. */
import { PATIENT } from "../support/patient.ts";
import { assertEquals, assertMatch } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { rawClient, rawRequest } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const get = (target = "/", fields = "") => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

const ANSWER =
  "HTTP/1.1 201 Created\r\nx-a: up\r\nx-b: up\r\nx-c: up\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nbody";

const CHANGES = `
  ctx.response.setStatus(202);
  ctx.response.setHeader("X-A", "set");
  ctx.response.appendHeader("x-b", "appended");
  ctx.response.deleteHeader("x-c");
  ctx.response.setHeader("x-d", "new");
  if (ctx.request.query === "body") ctx.response.setBody("replaced");
`;

for (const hook of ["beforeRequest", "afterResponse"] as const) {
  Deno.test(`status, fields and body that ${hook} sets are laid over the answer`, async () => {
    await using upstream = recordingUpstream(() => ANSWER);
    await using gateway = await testGateway({
      config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: { "001-change.ts": `export default { ${hook}(ctx) { ${CHANGES} } };` },
    });
    for (const [target, text] of [["/", "body"], ["/?body", "replaced"]] as const) {
      const response = await rawRequest(gateway.port, get(target));
      assertEquals([response.status, response.text], [202, text]);
      assertEquals(["x-a", "x-b", "x-c", "x-d"].map((name) => response.header(name)), [
        "set",
        "up, appended",
        undefined,
        "new",
      ]);
      assertEquals(response.header("content-length"), String(text.length));
    }
    assertEquals(upstream.requests.length, 2);
  });
}

Deno.test("setBody on an answer that has none changes nothing but the length that HEAD tells", async () => {
  await using upstream = recordingUpstream(({ method }) =>
    method === "HEAD"
      ? "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
      : "HTTP/1.1 204 No Content\r\n\r\n"
  );
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-set.ts": `export default { afterResponse(ctx) {
        if (ctx.request.query === "status") ctx.response.setStatus(200);
        ctx.response.setBody("12345");
      } };`,
    },
  });
  using client = await rawClient(gateway.port);
  await client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  assertEquals((await client.response({ method: "HEAD" })).header("content-length"), "5");
  await client.send(get());
  const empty = await client.response();
  assertEquals([empty.status, empty.header("content-length")], [204, undefined]);
  await client.send(get("/?status"));
  assertEquals((await client.response()).text, "12345");
});

Deno.test("what the upstream gets: path, query and fields as the plugins set them", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/api/*", upstream: upstream.url, stripPrefix: true }] },
    plugins: {
      "001-set.ts": `export default { beforeRequest(ctx) {
        if (ctx.request.query === "keep") return;
        ctx.upstream.setPath("/new/./p%61th//x");
        ctx.upstream.setQuery("a=b c");
        ctx.upstream.setHeader("x-a", "1");
        ctx.upstream.deleteHeader("user-agent");
      } };`,
    },
  });
  await rawRequest(gateway.port, get("/api/x?keep", "User-Agent: test\r\n"));
  await rawRequest(gateway.port, get("/api/x?y", "User-Agent: test\r\n"));
  const [kept, changed] = upstream.requests;
  assertEquals([kept?.target, kept?.header("user-agent")], ["/x?keep", "test"]);
  assertEquals([changed?.target, changed?.header("user-agent"), changed?.header("x-a")], [
    "/new/path/x?a=b%20c",
    undefined,
    "1",
  ]);
});

Deno.test("user, state and response changes go along the chain, whichever isolates run it", async () => {
  await using upstream = recordingUpstream(() => ANSWER);
  const isolate = "globalThis.id ??= crypto.randomUUID();";
  await using gateway = await testGateway({
    config: { ...PATIENT, pluginPoolSize: 3, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-auth.ts": `export default { beforeRequest(ctx) { ${isolate}
        ctx.user = { id: ctx.request.query, roles: ["a"] };
        ctx.state.started = 1; ctx.state.gone = true; ctx.state.isolates = [globalThis.id];
      } };`,
      "002-read.ts": `export default {
        beforeRequest(ctx) { ${isolate}
          ctx.state.started += 1; delete ctx.state.gone; ctx.state.isolates.push(globalThis.id);
          ctx.user.roles.push("b");
        },
        afterResponse(ctx) {
          ctx.response.setStatus(203); ctx.response.setHeader("x-a", "002"); ctx.response.setBody("002");
        } };`,
      "003-after.ts": `export default { afterResponse(ctx) { ${isolate}
        ctx.response.setHeader("x-isolates", String(new Set([...ctx.state.isolates, globalThis.id]).size));
        ctx.response.setHeader("x-saw", JSON.stringify([
          ctx.user, { ...ctx.state, isolates: 0 },
          ctx.response.status, ctx.response.header("x-a"), ctx.response.text(),
        ]));
      } };`,
    },
  });
  const responses = await Promise.all(
    Array.from({ length: 60 }, (_, id) => rawRequest(gateway.port, get(`/?${id}`))),
  );
  for (const [id, response] of responses.entries()) {
    assertEquals(JSON.parse(response.header("x-saw") ?? ""), [
      { id: String(id), roles: ["a", "b"] },
      { started: 2, isolates: 0 },
      203,
      "002",
      "002",
    ]);
  }
  const crossed = responses.filter((each) => each.header("x-isolates") !== "1");
  assertEquals(crossed.length > 0, true, "no request crossed isolates: the test says nothing");
});

Deno.test("what is no JSON in state or user is that hook's error, and names the place", async () => {
  const values = ["NaN", "Infinity", "{ a: [-Infinity] }", "new Map()", "new Set([1])"]
    .concat("new ArrayBuffer(1)", "new Uint8Array(1)", "() => 1", "1n", "/x/", "new Error('x')");
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-set.ts": `const values = [${values.join(", ")}];
        export default { beforeRequest(ctx) { ctx.state.x = values[Number(ctx.request.query)]; } };`,
    },
  });
  for (const [row, value] of values.entries()) {
    const response = await rawRequest(gateway.port, get(`/?${row}`));
    assertEquals(response.status, 500, value);
    const traceId = response.header("x-request-id");
    const line = await gateway.waitForLog((each) =>
      each.traceId === traceId && /hook failed/.test(each.message)
    );
    assertMatch(JSON.stringify(line.error), /ctx\.state\[\\\\?\\?"x/, value);
  }
  assertEquals(upstream.requests, []);
});

Deno.test("services.cache is one store for all plugins and isolates, and counts without losing a step", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: {
      pluginPoolSize: 3,
      routes: [{ path: "/*", upstream: upstream.url }],
      ...PATIENT,
    },
    plugins: {
      "001-count.ts": `export default { async beforeRequest(ctx) {
        ctx.state.n = await ctx.services.cache.increment("count", { ttlSeconds: 60 });
        await ctx.services.cache.set("from-" + ctx.request.query, { by: "001" });
      } };`,
      "002-read.ts": `export default { async beforeRequest(ctx) {
        const got = await ctx.services.cache.get("from-" + ctx.request.query);
        const again = await ctx.services.cache.set("from-" + ctx.request.query, 1, { onlyIfAbsent: true });
        ctx.response.setHeader("x-got", JSON.stringify([got, again]));
        ctx.response.setHeader("x-n", String(ctx.state.n));
      } };`,
    },
  });
  const responses = await Promise.all(
    Array.from({ length: 30 }, (_, id) => rawRequest(gateway.port, get(`/?${id}`))),
  );
  for (const each of responses) assertEquals(each.header("x-got"), '[{"by":"001"},false]');
  const counts = responses.map((each) => Number(each.header("x-n"))).sort((a, b) => a - b);
  assertEquals(counts, Array.from({ length: 30 }, (_, at) => at + 1));
});

Deno.test("services.http carries the trace, names a host it may not reach, and ends with the hook's time", async () => {
  const asked = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  await using elsewhere = echoUpstream();
  await using service = echoUpstream({
    async respond(seen, request) {
      if (seen.target === "/away") return Response.redirect(elsewhere.url);
      if (seen.target !== "/hang") return undefined;
      asked.resolve();
      request.signal.addEventListener("abort", () => left.resolve());
      await left.promise;
      return new Response("too late");
    },
  });
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      hookTimeoutMs: 1000,
      routes: [{ path: "/*", upstream: service.url }],
    },
    plugins: {
      "001-fetch.ts": `export default { onTimeout: "reject", onHookError: "continue",
        async beforeRequest(ctx) {
          const to = ctx.request.searchParams().get("to");
          if (to === null) return;
          const response = await ctx.services.http.fetch(to, { headers: { "x-mine": "1" } });
          ctx.response.setHeader("x-fetched", await response.text());
        } };`,
    },
  });
  const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const ask = (to: string) =>
    rawRequest(
      gateway.port,
      get(`/?to=${to}`, `X-Request-Id: my-id\r\nTraceparent: ${trace}\r\n`),
    );
  const { headers } = JSON.parse((await ask(`${service.url}/policy`)).header("x-fetched") ?? "{}");
  assertEquals([headers["x-request-id"], headers.traceparent, headers["x-mine"]], [
    "my-id",
    trace,
    "1",
  ]);

  // Asked for, and where a redirect leads.
  for (const to of [elsewhere.url, `${service.url}/away`]) {
    const from = gateway.logs.length;
    assertEquals((await ask(to)).status, 200);
    await gateway.waitForLog((line) =>
      JSON.stringify(line).includes(
        `127.0.0.1:${elsewhere.port} is not a host that plugins may reach; name it in \\"pluginNet\\"`,
      ), { from });
  }
  assertEquals(elsewhere.seen, []);

  const late = ask(`${service.url}/hang`);
  await asked.promise;
  assertEquals((await late).status, 503);
  await left.promise;
});

Deno.test("a plugin is sent the request's fields that it declares, and no others cross the socket", async () => {
  await using upstream = echoUpstream();
  const tells = (declared: string) =>
    `export default { ${declared} readsBodies: false, beforeRequest(ctx) {
      ctx.upstream.appendHeader("x-seen", Object.keys(ctx.request.headers).filter((name) => name.startsWith("x-")).join(" "));
    } };`;
  const seen = async (plugins: Readonly<Record<string, string>>) => {
    await using gateway = await testGateway({
      config: { routes: [{ path: "/*", upstream: upstream.url }] },
      plugins,
      env: { CONDUIT_TRACE_IPC: "1" },
    });
    const headers = { "x-a": "1", "x-b": "2", "x-secret": "3" };
    await (await gateway.fetch("/", { headers })).body?.cancel();
    return {
      seen: upstream.seen.at(-1)?.headers["x-seen"],
      sent: gateway.stderr.split("\n").some((line) => line.includes("x-secret")),
    };
  };
  const a = tells('readsHeaders: ["X-A"],');
  const b = tells('readsHeaders: ["x-b", "x-absent"],');
  assertEquals(await seen({ "001-a.ts": a, "002-b.ts": b }), { seen: "x-a, x-b", sent: false });
  const all = { seen: "x-a, x-a x-b x-secret", sent: true };
  assertEquals(await seen({ "001-a.ts": a, "002-all.ts": tells("") }), all);
});
