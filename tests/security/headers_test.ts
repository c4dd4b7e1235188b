/** Attacks 1, 11, 12, 13, 26 and 31: fields by which a client claims to be somebody, or hides what somebody said. */
import { PATIENT } from "../support/patient.ts";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import type { RawRequest, RawUpstream } from "../support/raw_upstream.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

/** Sets an identity where there is a token, as an authentication plugin does, and reflects what it was shown. */
const AUTH = `export default { beforeRequest(ctx) {
  const { headers } = ctx.request;
  ctx.upstream.setHeader("x-shown", JSON.stringify(headers));
  if (headers.authorization === "Bearer good") ctx.upstream.setHeader("x-gateway-user", "alice");
  if (headers["x-user"] !== undefined) ctx.upstream.setHeader("x-user", "from the plugin");
} };`;

interface HeaderAttack {
  readonly name: string;
  readonly fields: readonly string[];
  /** The value that the upstream gets of each field; `undefined`: it does not get the field. */
  readonly upstreamGets: Readonly<Record<string, string | RegExp | undefined>>;
}

const ALL_FORWARDED = ["For", "Host", "Proto", "Port", "Prefix", "Server", "Uri"]
  .map((name) => `X-Forwarded-${name}: evil`);

const ATTACKS: readonly HeaderAttack[] = [
  {
    name: "1: Connection names what the gateway and the plugins set (CVE-2022-31813)",
    fields: [
      "Connection: close, X-Forwarded-For, X-Forwarded-Host, X-Real-IP, X-Request-Id, Traceparent, X-Gateway-User, X-User",
      "Authorization: Bearer good",
      "X-User: mallory",
    ],
    upstreamGets: {
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-host": "a",
      "x-real-ip": "127.0.0.1",
      "x-request-id": /^[0-9a-f-]{36}$/,
      traceparent: /^00-/,
      "x-gateway-user": "alice",
      // Taken away before the plugin looked.
      "x-user": undefined,
      "connection": undefined,
    },
  },
  {
    name:
      "1: Connection names Authorization: then there is none, for the plugin and for the upstream",
    fields: ["Connection: Authorization", "Authorization: Bearer good"],
    upstreamGets: { authorization: undefined, "x-gateway-user": undefined },
  },
  {
    name: "11: forwarding fields of somebody we do not trust",
    fields: [...ALL_FORWARDED, "Forwarded: for=evil", "X-Real-IP: evil"],
    upstreamGets: {
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-host": "a",
      "x-forwarded-proto": "http",
      "x-forwarded-port": "80",
      "x-forwarded-prefix": undefined,
      "x-forwarded-server": undefined,
      "x-forwarded-uri": undefined,
      forwarded: undefined,
      "x-real-ip": "127.0.0.1",
    },
  },
  {
    name: "12: aliases of managed fields",
    fields: [
      "X_Gateway_User: mallory",
      "X.Gateway.User: mallory",
      "x-gateway_user: mallory",
      "X_Forwarded_For: evil",
      "X.Real.IP: evil",
      "X_Request_Id: evil",
      "Content_Length: 5",
      "Transfer_Encoding: chunked",
    ],
    upstreamGets: {
      "x_gateway_user": undefined,
      "x.gateway.user": undefined,
      "x-gateway_user": undefined,
      "x_forwarded_for": undefined,
      "x.real.ip": undefined,
      "x_request_id": undefined,
      "content_length": undefined,
      "transfer_encoding": undefined,
    },
  },
  {
    name: "12: an alias of a field that a plugin sets",
    fields: ["X-User: mallory", "X_User: mallory", "X.User: mallory"],
    upstreamGets: { "x-user": "from the plugin", "x_user": undefined, "x.user": undefined },
  },
  {
    name: "13: the identity field while the auth hook sets none",
    fields: ["X-Gateway-User: mallory", "X-GATEWAY-ADMIN-ID: 1"],
    upstreamGets: { "x-gateway-user": undefined, "x-gateway-admin-id": undefined },
  },
  {
    name: "26: names that mean something to the language",
    fields: ["__proto__: a", "constructor: b", "prototype: c", "toString: d", "hasOwnProperty: e"],
    upstreamGets: {
      // `_` counts as `-`, and neither makes this a managed field.
      "__proto__": "a",
      "constructor": "b",
      "prototype": "c",
      "tostring": "d",
      "hasownproperty": "e",
    },
  },
  {
    name: "hop-by-hop fields and httpoxy (CVE-2016-5385)",
    fields: [
      "Keep-Alive: timeout=5",
      "Proxy-Connection: keep-alive",
      "Proxy-Authorization: Basic x",
      "Proxy: http://evil",
      "TE: trailers",
      "Trailer: x-t",
    ],
    upstreamGets: {
      "keep-alive": undefined,
      "proxy-connection": undefined,
      "proxy-authorization": undefined,
      proxy: undefined,
      te: undefined,
      trailer: undefined,
    },
  },
  {
    name: "31: a request id and a trace that are no such thing",
    fields: ['X-Request-Id: a"b', "Traceparent: 00-0-0-0", "Tracestate: evil=1"],
    upstreamGets: {
      "x-request-id": /^[0-9a-f-]{36}$/,
      traceparent: /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/,
      tracestate: undefined,
    },
  },
];

function asAttack({ name, fields, upstreamGets }: HeaderAttack): Attack {
  return {
    name,
    send: `GET /api/x HTTP/1.1\r\nHost: a\r\n${fields.join("\r\n")}\r\n\r\n`,
    answers: [200],
    reaches: ["/api/x"],
    check({ seen: [request] }) {
      for (const [field, expected] of Object.entries(upstreamGets)) {
        const value = request?.header(field);
        if (expected instanceof RegExp) assertMatch(value ?? "", expected, field);
        else assertEquals(value, expected, field);
      }
    },
  };
}

async function withGateway(
  test: (parts: { gateway: TestGateway; upstream: RawUpstream }) => Promise<void>,
  config: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, ...config, routes: [{ path: "/api/*", upstream: upstream.url }] },
    plugins: { "001-auth.ts": AUTH },
  });
  await test({ gateway, upstream });
}

Deno.test("attacks 1, 11, 12, 13 and 26: a client neither forges nor removes what the gateway and the plugins say", () =>
  withGateway(async ({ gateway, upstream }) => {
    await assertRepelled(ATTACKS.map(asAttack), { gateway, upstream });
    for (const request of upstream.requests) assertShownIsSent(request);
  }));

/** Plugins decide by what they are shown: nothing may reach the upstream that they were not shown, but for the gateway's own. */
function assertShownIsSent(request: RawRequest): void {
  const shown = new Set(Object.keys(JSON.parse(request.header("x-shown") ?? "{}")));
  const own =
    /^(?:host|accept-encoding|x-shown|x-user|x-gateway-user|x-request-id|x-real-ip|traceparent|x-forwarded-.*)$/;
  for (const [name] of request.headers) assert(shown.has(name) || own.test(name), name);
}

Deno.test("attack 11: a trusted proxy's fields are kept and extended, and the client is the last hop it does not know", () =>
  withGateway(async ({ gateway, upstream }) => {
    await assertRepelled([
      asAttack({
        name: "a chain through a trusted proxy, with a hop the client invented",
        fields: [
          "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1",
          "X-Forwarded-Proto: https",
          "X-Forwarded-Host: app.example.com",
        ],
        upstreamGets: {
          "x-forwarded-for": "6.6.6.6, 203.0.113.9, 10.1.1.1, 127.0.0.1",
          "x-forwarded-proto": "https",
          "x-forwarded-host": "app.example.com",
          "x-real-ip": "203.0.113.9",
        },
      }),
    ], { gateway, upstream });
    await gateway.waitForLog((line) => line.clientAddr === "203.0.113.9");
  }, { trustedProxies: ["127.0.0.0/8", "10.0.0.0/8"] }));

Deno.test("attack 31: newlines, quotes and terminal escapes from a client leave every log line whole", async () => {
  for (const format of ["json", "text"]) {
    await withGateway(async ({ gateway, upstream }) => {
      await assertRepelled([
        {
          name: "in the path and the agent",
          send: 'GET /api/%0a%1b[31m"} HTTP/1.1\r\nHost: a\r\n\r\n',
          answers: [400],
        },
        {
          name: "unescaped in the path and the agent",
          send: 'GET /api/"}{x\x1b[2J HTTP/1.1\r\nHost: a\r\nUser-Agent: \x1b[2J\r\n\r\n',
          answers: [400],
        },
        {
          name: "as C1 controls in UTF-8",
          send: 'GET /api/%c2%9b31m"x HTTP/1.1\r\nHost: a\r\nUser-Agent: \xc2\x9b\r\n\r\n',
          answers: [200],
          reaches: ["/api/%C2%9B31m%22x"],
        },
        {
          name: "in the request id",
          send: 'GET /api/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: x" level="error\r\n\r\n',
          answers: [200],
          reaches: ["/api/x"],
        },
      ], { gateway, upstream });
      await gateway.waitForLog((line) => line.message.includes("/api/x 200"));
      // deno-lint-ignore no-control-regex -- that there are none is the point
      for (const line of gateway.logs) assert(!/[\u0000-\u001f\u007f-\u009f]/.test(line.message));
      if (format === "json") assertEquals(gateway.logs.filter((line) => line.level === "text"), []);
    }, { log: { format, level: "info" } });
  }
});
