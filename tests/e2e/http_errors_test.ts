/** Every error a client can be told, by a request that meets it: its status, its shape, and nothing of the inside. */
import { PATIENT } from "../support/patient.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { EdgeError, ERROR_STATUS, type ErrorCode } from "../../gateway/errors.ts";
import { edgeErrorReply } from "../../gateway/respond.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { rawRequest, type RawResponse } from "../support/raw_client.ts";
import { rawUpstream } from "../support/raw_upstream.ts";

const get = (target: string, fields = "") =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nX-Request-Id: the-id\r\n${fields}\r\n`;
const post = (fields: string, body = "") =>
  `POST /ok HTTP/1.1\r\nHost: a\r\nX-Request-Id: the-id\r\n${fields}\r\n\r\n${body}`;

/** What docs/errors.md promises for each, and the request that meets it; for the others there is a reason. */
const REQUESTS: Readonly<Record<ErrorCode, readonly [number, string | { readonly why: string }]>> =
  {
    bad_request: [400, get("/%zz")],
    not_found: [404, get("/nowhere")],
    method_not_allowed: [405, get("/post-only")],
    request_timeout: [408, post("Content-Length: 5", "x")],
    payload_too_large: [413, post("Content-Length: 5000")],
    internal: [500, { why: "only a mistake of ours leads to it" }],
    plugin_error: [500, get("/ok?throw")],
    not_implemented: [501, get("/ok", "Upgrade: h2c\r\n")],
    upstream_unreachable: [502, get("/down")],
    runtime_unavailable: [503, { why: "the last thing to happen to this gateway, below" }],
    hook_timeout: [503, get("/ok?slow")],
    overloaded: [503, { why: "in http_limits_test.ts, with the request that fills the gateway" }],
    upstream_timeout: [504, get("/silent")],
  };

function assertError(response: RawResponse, code: ErrorCode): void {
  assertEquals(response.status, REQUESTS[code][0], code);
  const { error, ...rest } = JSON.parse(response.text);
  assertEquals(rest, {}, code);
  assertEquals(Object.keys(error), ["code", "message", "traceId"], code);
  assertEquals([error.code, error.traceId], [code, "the-id"]);
  assertMatch(error.message, /^[^\n]{5,80}$/, code);
  assertEquals(response.header("content-type"), "application/json", code);
  assertEquals(response.header("cache-control"), "no-store", code);
  assertEquals(response.header("x-request-id"), "the-id", code);
  assertEquals(response.header("content-length"), String(response.body.length), code);
  assert(!/127\.0\.0\.1|secret|\.ts|at |Error:/.test(response.text), response.text);
}

async function killPluginHost(gateway: TestGateway): Promise<void> {
  for (const pid of await gateway.hostPids()) Deno.kill(pid, "SIGKILL");
}

Deno.test("every error code has its status and one short JSON shape, and tells nothing of the inside", async () => {
  const down = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = down.addr;
  down.close();
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.ended();
  });
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      hookTimeoutMs: 1000,
      bodies: { maxRequestBytes: 1000 },
      timeouts: { idleMs: 200, responseHeaderMs: 200 },
      onHookTimeout: "reject",
      routes: [
        { path: "/ok", upstream: upstream.url },
        { path: "/silent", upstream: upstream.url, plugins: false },
        { path: "/post-only", upstream: upstream.url, methods: ["POST"] },
        { path: "/down", upstream: `http://127.0.0.1:${port}` },
      ],
    },
    plugins: {
      "001-fail.ts": `export default { async beforeRequest(ctx) {
        if (ctx.request.query === "throw") throw new Error("secret of the plugin");
        if (ctx.request.query === "slow") await new Promise(() => {});
      } };`,
    },
  });
  for (const [code, [, request]] of Object.entries(REQUESTS)) {
    if (typeof request !== "string") continue;
    assertError(await rawRequest(gateway.port, request), code as ErrorCode);
  }
  const refused = await rawRequest(gateway.port, get("/post-only"));
  assertEquals(refused.header("allow"), "POST");

  await killPluginHost(gateway);
  const unavailable = await gateway.until(async () => {
    const response = await rawRequest(gateway.port, get("/ok"));
    return response.text.includes("runtime_unavailable") ? response : undefined;
  }, { what: "the plugin host to be missed" });
  assert(unavailable);
  assertError(unavailable, "runtime_unavailable");
  assertEquals(JSON.parse(unavailable.text).error.message, "plugin runtime unavailable");
});

Deno.test("an error's cause never becomes part of its reply", () => {
  for (const code of Object.keys(ERROR_STATUS) as ErrorCode[]) {
    const { status, headers, body } = edgeErrorReply(
      new EdgeError(code, "short", { cause: new Error("secret") }),
      "id",
    );
    assertEquals(status, REQUESTS[code][0]);
    assertEquals({ ...headers }, {
      "content-type": "application/json",
      "cache-control": "no-store",
    });
    assertEquals(
      new TextDecoder().decode(body as Uint8Array),
      `{"error":{"code":"${code}","message":"short","traceId":"id"}}`,
    );
  }
});

Deno.test("a rejection is the same JSON, and what the chain set for another body is not said of it", async () => {
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
    plugins: {
      "001-set.ts": `export default { beforeRequest(ctx) {
        ctx.response.setHeader("content-type", "text/html");
        ctx.response.setHeader("content-encoding", "gzip");
        ctx.response.setHeader("x-frame-options", "DENY");
        ctx.response.setBody("<h1>");
      } };`,
      "002-reject.ts": `export default { beforeRequest(ctx) {
        ctx.reject(401, "<script>", { "www-authenticate": "Bearer" });
      } };`,
    },
  });
  const response = await rawRequest(gateway.port, get("/"));
  assertEquals(response.status, 401);
  assertEquals(JSON.parse(response.text).error, {
    code: "rejected",
    message: "<script>",
    traceId: "the-id",
  });
  assertEquals(response.header("content-type"), "application/json");
  assertEquals(response.header("content-encoding"), undefined);
  assertEquals(response.header("x-frame-options"), "DENY");
  assertEquals(response.header("www-authenticate"), "Bearer");
});
