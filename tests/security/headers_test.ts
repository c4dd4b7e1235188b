/** Attacks 1, 11, 12, 13 and 26: fields by which a client claims to be somebody, or hides what somebody said. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { rawClient } from "../support/raw_client.ts";
import type { RawRequest, RawUpstream } from "../support/raw_upstream.ts";
import { PATIENT } from "../support/patient.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

/** Sets an identity where there is a token, as an authentication plugin does, and reflects what it was shown. */
const AUTH = `export default { beforeRequest(ctx) {
  const { headers } = ctx.request;
  ctx.upstream.setHeader("x-shown", JSON.stringify(headers));
  ctx.upstream.setHeader("x-shown-addr", ctx.request.remoteAddr);
  if (headers.authorization === "Bearer good") ctx.upstream.setHeader("x-gateway-user", "alice");
  if (headers["x-user"] !== undefined) ctx.upstream.setHeader("x-user", "from the plugin");
} };`;

interface HeaderAttack {
  readonly name: string;
  readonly fields: readonly string[];
  /** The value that the upstream gets of each field; `undefined`: it does not get the field. */
  readonly upstreamGets: Readonly<Record<string, string | RegExp | undefined>>;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** What the gateway and the plugin say, whatever the client says. */
const SAID = {
  "x-forwarded-for": "127.0.0.1",
  "x-forwarded-host": "a",
  "x-forwarded-proto": "http",
  "x-forwarded-port": "80",
  "x-real-ip": "127.0.0.1",
  "x-request-id": UUID,
  traceparent: /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/,
  "x-gateway-user": "alice",
  connection: undefined,
};

const MANAGED_NAMES =
  "X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Forwarded-Port, X-Real-IP, X-Request-Id, Traceparent, X-Gateway-User, Host";

const TAKEN_AWAY: readonly HeaderAttack[] = [
  ...[
    `close, ${MANAGED_NAMES}`,
    MANAGED_NAMES.toLowerCase(),
    MANAGED_NAMES.toUpperCase().replaceAll(", ", ","),
    `,, \t${MANAGED_NAMES} ,`,
    `keep-alive\r\nConnection: ${MANAGED_NAMES.replaceAll(", ", "\r\nConnection: ")}`,
    `${MANAGED_NAMES.replaceAll("-", "_")}, ${MANAGED_NAMES}`,
    `close, ${"x-filler, ".repeat(200)}${MANAGED_NAMES}`,
  ].map((connection): HeaderAttack => ({
    name: `Connection: ${connection.slice(0, 50)} (CVE-2022-31813)`,
    fields: [`Connection: ${connection}`, "Authorization: Bearer good"],
    upstreamGets: SAID,
  })),
  {
    name: "Connection names what a plugin would read: it is gone before the plugin looks",
    fields: ["Connection: close, X-User", "Authorization: Bearer good", "X-User: mallory"],
    upstreamGets: { ...SAID, "x-user": undefined },
  },
  {
    name: "Connection names Authorization: then there is none, for the plugin and for the upstream",
    fields: ["Connection: Authorization", "Authorization: Bearer good"],
    upstreamGets: { authorization: undefined, "x-gateway-user": undefined },
  },
  {
    name: "Connection names a stripped field that the client sends too",
    fields: ["Connection: close, X-Gateway-Admin-Id", "X-Gateway-Admin-Id: 1"],
    upstreamGets: { "x-gateway-admin-id": undefined, connection: undefined },
  },
  {
    name: "Connection under another name is another field",
    fields: ["Connection_: X-Real-IP", "X-Connection: X-Real-IP", "Authorization: Bearer good"],
    upstreamGets: SAID,
  },
];

const HOP_BY_HOP: readonly HeaderAttack[] = [
  ...[
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic x",
    "Proxy-Authenticate: Basic",
    "TE: trailers",
    "Trailer: x-t",
    // CVE-2016-5385, httpoxy
    "Proxy: http://evil",
    "PROXY: http://evil",
  ].map((field): HeaderAttack => ({
    name: field,
    fields: [field],
    upstreamGets: { [field.split(":", 1)[0]?.toLowerCase() ?? ""]: undefined },
  })),
];

const CLAIMS: readonly (readonly [field: string, value: string, kept?: RegExp | string])[] = [
  ["X-Forwarded-For", "6.6.6.6", "127.0.0.1"],
  ["X-Forwarded-For", "127.0.0.1, 6.6.6.6", "127.0.0.1"],
  ["X-Forwarded-Host", "evil.net", "a"],
  ["X-Forwarded-Proto", "https", "http"],
  ["X-Forwarded-Port", "443", "80"],
  ["X-Forwarded-Prefix", "/evil"],
  ["X-Forwarded-Server", "evil"],
  ["X-Forwarded-Uri", "/evil"],
  ["X-Forwarded-User", "root"],
  ["X-Forwarded-Client-Cert", "By=spiffe://evil"],
  ["X-Forwarded-Scheme", "https"],
  ["X-Forwarded-", "x"],
  ["Forwarded", "for=6.6.6.6;host=evil.net;proto=https"],
  ["X-Real-IP", "6.6.6.6", "127.0.0.1"],
  ["X-Request-Id", 'a"b', UUID],
  ["X-Request-Id", "x".repeat(129), UUID],
  ["X-Request-Id", "a b", UUID],
  ["Traceparent", "00-0-0-0", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/],
  ["Traceparent", `00-${"0".repeat(32)}-${"1".repeat(16)}-01`, /^00-(?!0{32})/],
  ["Tracestate", "evil=1"],
];

const FORWARDING: readonly HeaderAttack[] = CLAIMS.map(([field, value, kept]) => ({
  name: `${field}: ${value.slice(0, 50)}`,
  fields: [`${field}: ${value}`],
  upstreamGets: { [field.toLowerCase()]: kept },
}));

/** Every way in which a server may read another name as one that the gateway manages, or a plugin sets. */
const ALIASES: readonly HeaderAttack[] = [
  ...["X_Gateway_User", "X.Gateway.User", "x-gateway_user", "X_Gateway-Admin_Id"],
  ...["X_Forwarded_For", "X.Forwarded.For", "X_Forwarded-Host", "x-forwarded_proto"],
  ...["X_Real_IP", "X.Real.IP", "X_Request_Id"],
  ...["Content_Length", "Transfer_Encoding", "Proxy_Authorization", "Keep.Alive"],
  ...["X~Gateway~User", "X!Gateway!User", "X|Real|IP", "X+Forwarded+For", "X'Gateway`User"],
  ...["X$Request$Id", "X#Real#IP", "X*Real*IP", "X^Real^IP", "X&Real%IP"],
].map((name) => ({
  name: `the alias ${name}`,
  fields: [`${name}: mallory`],
  upstreamGets: { [name.toLowerCase()]: undefined },
}));

const PLUGIN_ALIASES: readonly HeaderAttack[] = [{
  name: "aliases of a field that a plugin sets",
  fields: ["X-User: mallory", "X_User: mallory", "X.User: mallory", "X~User: mallory"],
  upstreamGets: {
    "x-user": "from the plugin",
    "x_user": undefined,
    "x.user": undefined,
    "x~user": undefined,
  },
}];

const IDENTITY: readonly HeaderAttack[] = [
  ["X-Gateway-User: mallory"],
  ["x-gateway-user: mallory"],
  ["X-GATEWAY-USER: mallory", "X-Gateway-User: root"],
  ["X-Gateway-Admin-Id: 1"],
  ["X-Gateway-: 1"],
  ["X-Gateway-User: mallory", "Authorization: Bearer bad"],
  ["X-Gateway-User:"],
].map((fields) => ({
  name: fields.join(" and "),
  fields,
  upstreamGets: {
    "x-gateway-user": undefined,
    "x-gateway-admin-id": undefined,
    "x-gateway-": undefined,
  },
}));

const LANGUAGE: readonly HeaderAttack[] = [
  ["__proto__", "a"],
  ["constructor", "b"],
  ["prototype", "c"],
  ["toString", "d"],
  ["hasOwnProperty", "e"],
  ["__defineGetter__", "f"],
  ["valueOf", "g"],
].map(([name = "", value = ""]) => ({
  name,
  fields: [`${name}: ${value}`],
  upstreamGets: { [name.toLowerCase()]: value },
}));

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

attackTest(
  "attacks 1, 11, 12, 13 and 26: a client neither forges nor removes what the gateway and the plugins say (CVE-2022-31813, CVE-2016-5385, CVE-2015-0219)",
  {
    1: [...TAKEN_AWAY, ...HOP_BY_HOP],
    11: FORWARDING,
    12: [...ALIASES, ...PLUGIN_ALIASES],
    13: IDENTITY,
    26: LANGUAGE,
  },
  (attacks) =>
    withGateway(async ({ gateway, upstream }) => {
      await assertRepelled(attacks.map(asAttack), { gateway, upstream });
      for (const request of upstream.requests) assertShownIsSent(request);
    }),
);

/** Plugins decide by what they are shown: nothing may reach the upstream that they were not shown, but for the gateway's own. */
function assertShownIsSent(request: RawRequest): void {
  const shown = new Set(Object.keys(JSON.parse(request.header("x-shown") ?? "{}")));
  const own =
    /^(?:host|accept-encoding|x-shown|x-shown-addr|x-user|x-gateway-user|x-request-id|x-real-ip|traceparent|x-forwarded-.*)$/;
  for (const [name] of request.headers) assert(shown.has(name) || own.test(name), name);
}

/** What a trusted proxy says, with hops that its client invented, and whom the gateway takes for the client. */
const CHAINS: readonly (readonly [forwardedFor: string, client: string])[] = [
  ["6.6.6.6, 203.0.113.9, 10.1.1.1", "203.0.113.9"],
  ["127.0.0.1, 203.0.113.9", "203.0.113.9"],
  ["203.0.113.9:4711", "203.0.113.9"],
  ["[2001:db8::9]:4711, 10.1.1.1", "2001:db8::9"],
  ["::ffff:203.0.113.9", "203.0.113.9"],
  ["6.6.6.6, unknown", "127.0.0.1"],
  ["6.6.6.6, 3405803785", "127.0.0.1"],
  ["6.6.6.6, 0313.0.0161.011", "127.0.0.1"],
  ["6.6.6.6,", "127.0.0.1"],
  ["10.1.1.1, 10.1.1.2", "10.1.1.1"],
];

attackTest(
  "attack 11: a trusted proxy's fields are kept and extended, and the client is the last hop it does not know",
  { 11: CHAINS },
  (chains) =>
    withGateway(async ({ gateway, upstream }) => {
      await assertRepelled(
        chains.map(([chain, client]) =>
          asAttack({
            name: chain,
            fields: [
              `X-Forwarded-For: ${chain}`,
              "X-Forwarded-Proto: https",
              "X-Forwarded-Host: app.example.com",
              "X_Forwarded_For: 6.6.6.6",
            ],
            upstreamGets: {
              "x-forwarded-for": `${chain}, 127.0.0.1`,
              "x-forwarded-proto": "https",
              "x-forwarded-host": "app.example.com",
              "x-shown-addr": client,
              "x_forwarded_for": undefined,
            },
          })
        ),
        { gateway, upstream },
      );
    }, { trustedProxies: ["127.0.0.0/8", "10.0.0.0/8"] }),
);

/** Fields by which some servers take another path or method than the request line's. */
const OVERRIDES = [
  "X-Original-URL: /admin",
  "X-Rewrite-URL: /admin",
  "X-HTTP-Method-Override: DELETE",
  "X-HTTP-Method: DELETE",
  "X-Method-Override: DELETE",
];

attackTest(
  "attack 12: fields that override path or method are an upstream's affair, and go where stripInboundHeaders names them",
  { 12: OVERRIDES },
  async (fields) => {
    for (const isStripped of [false, true]) {
      const stripInboundHeaders = ["x-original-url", "x-rewrite-url", "x-http-method*"]
        .concat("x-method-override");
      await withGateway(async ({ gateway, upstream }) => {
        await assertRepelled(
          fields.map((field) => {
            const [name = "", value = ""] = field.split(": ");
            const upstreamGets = { [name.toLowerCase()]: isStripped ? undefined : value };
            return asAttack({ name: field, fields: [field], upstreamGets });
          }),
          { gateway, upstream },
        );
        assertEquals([...new Set(upstream.requests.map((each) => each.method))], ["GET"]);
      }, isStripped ? { stripInboundHeaders } : {});
    }
  },
);

/** What an upstream says of its connection, and more than that: it takes nothing away but its own fields. */
const UPSTREAM_SAYS = [
  "Connection: close, X-Request-Id, X-Said, Vary, Access-Control-Allow-Origin",
  "connection: x-request-id\r\nConnection: x-said,access-control-allow-origin , VARY",
  "Connection: X_Request_Id, Content-Length, X-Own",
  "Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\nTrailer: x-own",
  "Upgrade: h2c\r\nTE: trailers\r\nProxy-Authentication-Info: x\r\nConnection: upgrade",
  "X-Request-Id: forged\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true",
];
const ONE_HOP = /^(?:connection|keep-alive|proxy-.*|te|trailer|upgrade|transfer-encoding)$/i;

attackTest(
  "attack 1: an upstream neither passes on what belongs to its connection nor removes what the gateway and the plugins say (CVE-2022-31813)",
  { 1: UPSTREAM_SAYS },
  async (rows) => {
    await using upstream = recordingUpstream(({ target }) =>
      `HTTP/1.1 200 OK\r\n${
        rows[Number(target.slice(1))]
      }\r\nX-Own: 1\r\ncontent-length: 2\r\n\r\nok`
    );
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        cors: { allowedOrigins: ["https://good.com"], allowedMethods: ["GET"] },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: {
        "001-say.ts": `export default { readsBodies: false, afterResponse({ response }) {
          response.setHeader("x-said", "by the plugin");
        } };`,
      },
    });
    for (const [row, said] of rows.entries()) {
      using client = await rawClient(gateway.port);
      await client.send(`GET /${row} HTTP/1.1\r\nHost: a\r\nOrigin: https://good.com\r\n\r\n`);
      const { status, text, header } = await client.response();
      assertEquals([status, text], [200, "ok"], said);
      assertMatch(header("x-request-id") ?? "", UUID, said);
      assertEquals(header("x-said"), "by the plugin", said);
      assertEquals(header("access-control-allow-origin"), "https://good.com", said);
      assertEquals(header("access-control-allow-credentials"), undefined, said);
      assertEquals(header("vary"), "Origin", said);
      assertEquals(
        header("x-own"),
        /x-own/i.test(said.split("\r\n")[0] ?? "") ? undefined : "1",
        said,
      );
      const names = client.received.split("\r\n\r\n")[0]?.split("\r\n").slice(1)
        .map((line) => line.split(":")[0] ?? "") ?? [];
      assertEquals(names.filter((name) => ONE_HOP.test(name)), [], said);
    }
  },
);
