/** The edge rules on ordinary requests: identity, forwarding fields, hop-by-hop fields of answers, hosts and methods. */
import { PATIENT } from "../support/patient.ts";
import { join } from "@std/path";
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { testGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function get(fields: string, host = "shop.example.com"): string {
  return `GET /api/x HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`;
}

async function setUp(respond?: () => string) {
  const upstream = recordingUpstream(respond);
  const gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/api/*", upstream: upstream.url }] },
    plugins: {
      "001-log.ts":
        `export default { readsBodies: false, beforeRequest(ctx) { ctx.log.info("seen"); } };`,
    },
  });
  return {
    upstream,
    gateway,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

Deno.test("on a Unix socket nobody has an address, and the proxy in front is believed if trustedProxies says unix:", async () => {
  for (const trustedProxies of [[], ["unix:"]]) {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        listen: "unix:./http.sock",
        trustedProxies,
        routes: [{ path: "/*", upstream: upstream.url }],
      },
    });
    using client = Deno.createHttpClient({
      proxy: { transport: "unix", path: join(gateway.dir, "http.sock") },
    });
    const headers = { "x-forwarded-for": "6.6.6.6, 192.0.2.7", "x-forwarded-proto": "https" };
    await (await fetch("http://shop.example.com/", { client, headers })).body?.cancel();
    const { clientAddr } = await gateway.waitForLog(({ message }) => message === "GET / 200");
    const [seen] = upstream.requests;
    assertEquals(
      [
        clientAddr,
        seen?.header("x-real-ip"),
        ...Object.keys(headers).map((name) => seen?.header(name)),
      ],
      trustedProxies.length > 0
        ? ["192.0.2.7", "192.0.2.7", ...Object.values(headers)]
        : ["", undefined, undefined, "http"],
    );
  }
});

Deno.test("a request id and a trace are continued, upstream, in the response and in every log line", async () => {
  await using parts = await setUp();
  const { gateway, upstream } = parts;
  const response = await rawRequest(
    gateway.port,
    get(`X-Request-Id: My.id_1-2\r\nTraceparent: ${TRACE}\r\nTracestate: a=1\r\n`),
  );
  const [seen] = upstream.requests;
  assertEquals(response.header("x-request-id"), "My.id_1-2");
  assertEquals(
    ["x-request-id", "traceparent", "tracestate"].map((name) => seen?.header(name)),
    ["My.id_1-2", TRACE, "a=1"],
  );
  const access = await gateway.waitForLog((line) => line.message === "GET /api/x 200");
  assertEquals(access.traceId, "My.id_1-2");
  const fromPlugin = await gateway.waitForLog((line) => line.message === "seen");
  assertEquals(fromPlugin.traceId, "My.id_1-2");
});

Deno.test("without them, or with what is none, both are made anew, and no two are alike", async () => {
  await using parts = await setUp();
  const { gateway, upstream } = parts;
  const fields = ["", "X-Request-Id: a b\r\n", `X-Request-Id: ${"x".repeat(129)}\r\n`]
    .concat("X-Request-Id: \r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n")
    .concat("Traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n");
  const ids = new Set<unknown>();
  for (const each of fields) {
    const response = await rawRequest(gateway.port, get(each));
    const seen = upstream.requests.at(-1);
    assertMatch(response.header("x-request-id") ?? "", UUID);
    assertEquals(seen?.header("x-request-id"), response.header("x-request-id"));
    assertMatch(seen?.header("traceparent") ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    assert(!seen?.header("traceparent")?.includes("0".repeat(32)));
    ids.add(response.header("x-request-id")).add(seen?.header("traceparent"));
  }
  assertEquals(ids.size, fields.length * 2);
});

Deno.test("the upstream learns who asked for what, and is addressed by its own name", async () => {
  await using parts = await setUp();
  const { gateway, upstream } = parts;
  for (
    const [host, port] of [["Shop.Example.com", "80"], ["shop.example.com.:8443", "8443"]] as const
  ) {
    await rawRequest(gateway.port, get("", host));
    const seen = upstream.requests.at(-1);
    assertEquals(seen?.header("host"), `127.0.0.1:${upstream.port}`);
    assertEquals(
      seen?.header("x-forwarded-host"),
      `shop.example.com${port === "80" ? "" : `:${port}`}`,
    );
    assertEquals(seen?.header("x-forwarded-port"), port);
    assertEquals(seen?.header("x-forwarded-proto"), "http");
    assertEquals(seen?.header("x-forwarded-for"), "127.0.0.1");
    assertEquals(seen?.header("x-real-ip"), "127.0.0.1");
  }
});

Deno.test("hop-by-hop fields of an answer, and those its Connection names, end here", async () => {
  await using parts = await setUp(() =>
    "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-private\r\nKeep-Alive: timeout=5\r\nX-Private: a\r\n" +
    "Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTrailer: x-t\r\nX-Request-Id: forged\r\nX-Kept: b\r\n" +
    "Content-Length: 2\r\n\r\nok"
  );
  const response = await rawRequest(parts.gateway.port, get(""));
  for (const name of ["keep-alive", "x-private", "proxy-authenticate", "upgrade", "trailer"]) {
    assertEquals(response.header(name), undefined, name);
  }
  assertEquals(response.header("x-kept"), "b");
  assertNotEquals(response.header("x-request-id"), "forged");
});
