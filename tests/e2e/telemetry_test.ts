import { assert, assertEquals, assertMatch } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import { ask } from "../support/failure.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import {
  type CollectedSpan,
  type OtlpCollector,
  otlpCollector,
} from "../support/otlp_collector.ts";
import { rawExchange } from "../support/raw_conversation.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const CALLER = "b7ad6b7169203331";
const SECRETS = ["s3cr3t-query", "s3cr3t-header", "s3cr3t-cookie", "s3cr3t-answer", "s3cr3t-side"];

/** The spans of the request that got this answer, once its own one is there. */
async function spansOf(
  gateway: TestGateway,
  { spans }: OtlpCollector,
  requestId: string | null,
): Promise<{ readonly request: CollectedSpan; readonly children: readonly CollectedSpan[] }> {
  const find = () => spans.find((each) => each.attributes["conduit.request_id"] === requestId);
  await gateway.until(find, { what: `the span of ${requestId}` });
  const request = find();
  assert(request);
  // Spans leave in the order in which they ended.
  const children = spans.filter((each) => each.parentSpanId === request.spanId);
  return { request, children };
}

function assertNoSecrets(text: string): void {
  for (const secret of SECRETS) {
    const at = text.indexOf(secret);
    assert(at < 0, `${secret} was exported: ${text.slice(Math.max(0, at - 300), at + 100)}`);
  }
}

/** Without what differs from run to run. */
function told({ name, kind, attributes, isError }: CollectedSpan): unknown {
  return { name, kind, attributes, isError };
}

const HOOK = { kind: "internal", isError: false };

function hookSpan(plugin: string, hook: string, action: string): unknown {
  return {
    ...HOOK,
    name: `${plugin} ${hook}`,
    attributes: { "conduit.plugin": plugin, "conduit.hook": hook, "conduit.action": action },
  };
}

for (const hookDispatch of ["per-hook", "per-phase"]) {
  Deno.test(`telemetry, ${hookDispatch}: a span a request, with its hooks and its round trip below it, the trace continued, and no query or header in it`, async () => {
    await using collector = otlpCollector();
    await using upstream = echoUpstream({
      respond: () => new Response("ok", { headers: { "x-answer": "s3cr3t-answer" } }),
    });
    await using gateway = await testGateway({
      env: { ...collector.env, OTEL_DENO_METRICS: "true", OTEL_METRIC_EXPORT_INTERVAL: "200" },
      config: { ...PATIENT, hookDispatch, routes: [{ path: "/api/*", upstream: upstream.url }] },
      plugins: {
        "001-auth.ts": `export default {
          async beforeRequest(ctx) {
            const side = await ctx.services.http.fetch("${upstream.url}/side?t=s3cr3t-side");
            await side.text();
            ctx.upstream.setHeader("x-key", "s3cr3t-header");
          },
          afterResponse(ctx) { ctx.response.setHeader("x-a", "1"); },
        };`,
        "002-b.ts": `export default { beforeRequest() {}, afterResponse() {} };`,
      },
    });
    const answer = await ask(gateway, "/api//v1/%7Eme?token=s3cr3t-query", {
      headers: {
        authorization: "Bearer s3cr3t-header",
        cookie: "session=s3cr3t-cookie",
        traceparent: `00-${TRACE}-${CALLER}-01`,
        tracestate: "vendor=1",
      },
    });
    assertEquals(answer.status, 200);
    const id = answer.headers.get("x-request-id");
    const { request, children } = await spansOf(gateway, collector, id);

    assertEquals([request.traceId, request.parentSpanId], [TRACE, CALLER]);
    assertEquals(told(request), {
      name: "GET /api/*",
      kind: "server",
      isError: false,
      attributes: {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/api/*",
        "url.full": `${gateway.url}/api//v1/%7Eme`,
        "url.path": "/api/v1/~me",
        "url.scheme": "http",
        "conduit.request_id": id,
      },
    });
    const roundTrip = {
      name: "GET",
      kind: "client",
      isError: false,
      attributes: {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": upstream.port,
        "url.full": `${upstream.url}/api/v1/~me`,
      },
    };
    assertEquals(children.toSorted((a, b) => a.fromMs - b.fromMs).map(told), [
      hookSpan("001-auth", "beforeRequest", "modify"),
      hookSpan("002-b", "beforeRequest", "continue"),
      roundTrip,
      hookSpan("001-auth", "afterResponse", "modify"),
      hookSpan("002-b", "afterResponse", "continue"),
    ]);
    for (const each of children) {
      assertEquals(each.traceId, TRACE);
      assert(each.fromMs >= request.fromMs - 6 && each.toMs <= request.toMs + 6, each.name);
    }

    const [side, served] = upstream.seen;
    const parentOf = (text = "") => text.split("-").slice(1);
    assertEquals(parentOf(side?.headers.traceparent), [TRACE, request.spanId, "01"]);
    const sent = children.find(({ kind }) => kind === "client");
    assertEquals(parentOf(served?.headers.traceparent), [TRACE, sent?.spanId, "01"]);
    assertEquals(served?.headers.tracestate, "vendor=1");

    const health = await fetch(`${gateway.adminUrl}/healthz?token=s3cr3t-query`);
    await health.body?.cancel();
    await gateway.until(
      () =>
        collector.spans.some((each) => String(each.attributes["url.full"]).endsWith("/healthz")),
      { what: "the span of /healthz" },
    );
    await gateway.until(() => collector.texts.some((text) => text.includes("http.server.")), {
      what: "Deno's metrics",
    });
    const all = collector.texts.join("\n");
    assertNoSecrets(all);
    // Neither the plugin host nor a library of ours exports by itself.
    const traced = collector.spans.filter((each) => each.traceId === TRACE);
    assertEquals(traced.length, 1 + children.length);
    assertMatch(all, /http\.route[^}]*\/api\/\*/);
  });
}

Deno.test("telemetry: failures are told by their code; a client's mistake is no error of the gateway's", async (test) => {
  await using collector = otlpCollector();
  await using upstream = echoUpstream({
    respond: ({ target }) => target === "/busy" ? new Response(null, { status: 503 }) : undefined,
  });
  const closed = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port: deadPort } = closed.addr;
  closed.close();
  await using gateway = await testGateway({
    env: collector.env,
    config: {
      hookTimeoutMs: 1000,
      hardCeilingMs: 20_000,
      routes: [
        { path: "/dead", upstream: `http://127.0.0.1:${deadPort}`, plugins: false },
        {
          path: "/second",
          upstream: [`http://127.0.0.1:${deadPort}`, upstream.url],
          plugins: false,
        },
        { path: "/*", upstream: upstream.url, onHookTimeout: "reject" },
      ],
    },
    plugins: {
      "001-a.ts": `export default {
        async beforeRequest(ctx) {
          const { path } = ctx.request;
          if (path === "/throw") throw new Error("s3cr3t-query");
          if (path === "/slow") await new Promise((resolve) => setTimeout(resolve, 60_000));
          if (path === "/refused") ctx.reject(401, "s3cr3t-query");
        },
      };`,
    },
  });
  const step = (
    name: string,
    path: string,
    expected: {
      readonly request: [status: unknown, error: unknown, isError: boolean];
      readonly children: [name: string, error: unknown][];
    },
  ) =>
    test.step(name, async () => {
      const answer = await ask(gateway, path);
      const id = answer.headers.get("x-request-id");
      const { request, children } = await spansOf(gateway, collector, id);
      const { "http.response.status_code": status, "error.type": error } = request.attributes;
      assertEquals([status, error, request.isError], expected.request);
      assertEquals(
        children.map((each) => [each.name, each.attributes["error.type"]]),
        expected.children,
      );
      for (const each of children) {
        assertEquals(each.isError, each.attributes["error.type"] !== undefined);
      }
    });
  await step("an upstream that is not there", "/dead", {
    request: [502, "upstream_unreachable", true],
    children: [["GET", "unreachable"]],
  });
  await step("an upstream's own error", "/busy", {
    request: [503, "503", true],
    children: [["001-a beforeRequest", undefined], ["GET", "503"]],
  });
  await step("a hook that throws", "/throw", {
    request: [500, "plugin_error", true],
    children: [["001-a beforeRequest", "error"]],
  });
  await step("a hook that is too slow", "/slow", {
    request: [503, "hook_timeout", true],
    children: [["001-a beforeRequest", "timed_out"]],
  });
  await step("a rejection", "/refused", {
    request: [401, undefined, false],
    children: [["001-a beforeRequest", undefined]],
  });
  await step("a path that is refused", "/a%zz", {
    request: [400, "bad_request", false],
    children: [],
  });
  const refused = collector.spans.find((each) => each.attributes["conduit.rejected_by"]);
  assertEquals(refused?.attributes["conduit.rejected_by"], "001-a");

  await test.step("the second upstream, where the first one is not there", async () => {
    for (let turn = 0; turn < 2; turn++) assertEquals((await ask(gateway, "/second")).status, 200);
    await gateway.until(
      () => collector.spans.some((each) => each.attributes["http.request.resend_count"] === 1),
      { what: "the span of a round trip with two tries" },
    );
  });

  await test.step("what stands in a request line or a Host is read as without telemetry", async () => {
    const cases = [
      ["GET http://user:s3cr3t-header@x/abs HTTP/1.1\r\nHost: x", 400],
      ["GET /x#s3cr3t-query HTTP/1.1\r\nHost: x", 400],
      ["GET /host HTTP/1.1\r\nHost: a b", 400],
      ["GET /host HTTP/1.1\r\nHost: [", 400],
      ["GET /host HTTP/1.1\r\nHost: x:99999", 400],
      ["OPTIONS * HTTP/1.1\r\nHost: x", 204],
      ["S3CR3T /word HTTP/1.1\r\nHost: x", 200],
    ] as const;
    for (const [head, status] of cases) {
      const answer = await rawExchange(gateway.port, `${head}\r\nConnection: close\r\n\r\n`, {
        quietMs: 10_000,
      });
      assertEquals(answer.split(" ", 2)[1], String(status), head);
      if (status === 400) assertMatch(answer, /"code":"bad_request".*"traceId":"[^"]+"/);
    }
    await gateway.until(
      () => collector.spans.find((each) => each.name === "HTTP /*"),
      { what: "the span of a method that nobody knows" },
    );
  });
  const all = collector.texts.join("\n");
  assertNoSecrets(all);
});

Deno.test("telemetry: a request's span lasts as long as its response, and says where that broke off", async () => {
  const { promise: more, resolve: sendMore } = Promise.withResolvers<void>();
  await using collector = otlpCollector();
  await using upstream = echoUpstream({
    respond: ({ target }) =>
      new Response(
        new ReadableStream({
          async start(controller) {
            controller.enqueue(new Uint8Array(10));
            await more;
            if (target === "/cut") controller.error(new Error("broken"));
            else controller.close();
          },
        }),
      ),
  });
  await using gateway = await testGateway({
    env: collector.env,
    config: { routes: [{ path: "/*", upstream: upstream.url, plugins: false }] },
  });
  const [whole, cut] = await Promise.all([gateway.fetch("/whole"), gateway.fetch("/cut")]);
  const headAt = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 200));
  sendMore();
  await whole.bytes();
  await cut.bytes().catch(() => {});
  const first = await spansOf(gateway, collector, whole.headers.get("x-request-id"));
  assert(first.request.toMs > headAt + 150, "it ended with the head of the response");
  assert(first.children.every(({ toMs }) => toMs < headAt + 100));
  const second = await spansOf(gateway, collector, cut.headers.get("x-request-id"));
  assertEquals(
    [second.request.isError, second.request.attributes["error.type"]],
    [true, "closed"],
  );
});

Deno.test("telemetry: a trace that its caller does not sample is handed on unsampled, and not exported", async () => {
  await using collector = otlpCollector();
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    env: { ...collector.env, OTEL_TRACES_SAMPLER: "parentbased_always_on" },
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const send = (flags: string) =>
    ask(gateway, "/", { headers: { traceparent: `00-${TRACE}-${CALLER}-${flags}` } });
  const silent = await send("00");
  const sampled = await send("01");
  const { request } = await spansOf(gateway, collector, sampled.headers.get("x-request-id"));
  assertEquals(request.parentSpanId, CALLER);
  const id = silent.headers.get("x-request-id");
  assert(!collector.spans.some((each) => each.attributes["conduit.request_id"] === id));
  assertMatch(String(upstream.seen[0]?.headers.traceparent), RegExp(`^00-${TRACE}-.{16}-00$`));
  assertMatch(String(upstream.seen[1]?.headers.traceparent), RegExp(`^00-${TRACE}-.{16}-01$`));
});

Deno.test("telemetry: without OTEL_DENO nothing is exported, and the upstream's parent is the caller's span", async () => {
  await using collector = otlpCollector();
  await using upstream = echoUpstream();
  const { OTEL_DENO: _, ...env } = collector.env;
  await using gateway = await testGateway({
    env,
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const traceparent = `00-${TRACE}-${CALLER}-01`;
  assertEquals((await ask(gateway, "/", { headers: { traceparent } })).status, 200);
  gateway.signal("SIGTERM");
  await gateway.status; // what waits is exported at the end
  assertEquals(upstream.seen[0]?.headers.traceparent, traceparent);
  assertEquals(collector.texts, []);
});

Deno.test("telemetry: what waits is exported when the gateway ends, by each of its processes", async () => {
  await using collector = otlpCollector();
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    env: { ...collector.env, OTEL_BSP_SCHEDULE_DELAY: "60000" },
    config: { processes: 2, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const answer = await ask(gateway, "/");
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  const id = answer.headers.get("x-request-id");
  assert(collector.spans.some((each) => each.attributes["conduit.request_id"] === id));
});
