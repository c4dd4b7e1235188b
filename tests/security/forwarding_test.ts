/** Attack 11: who a client says that it is, and for whom it asks. */
import { assertEquals, assertMatch } from "@std/assert";
import { assertRepelled } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import {
  asAttack,
  assertShownIsSent,
  type HeaderAttack,
  UUID,
  withGateway,
} from "../support/header_attack.ts";
import { rawRequest } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

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

attackTest(
  "attack 11: what a client that nobody trusts says of itself is replaced or dropped",
  { 11: FORWARDING },
  (attacks) =>
    withGateway(async ({ gateway, upstream }) => {
      await assertRepelled(attacks.map(asAttack), { gateway, upstream });
      for (const request of upstream.requests) assertShownIsSent(request);
    }),
);

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

/** What a client says of itself and a trusted proxy passes on, beside what the proxy says. */
const PASSED_ON: readonly HeaderAttack[] = [
  { chain: "203.0.113.9", fields: ["X-Real-IP: 6.6.6.6"], realIp: "203.0.113.9" },
  { chain: "6.6.6.6, 203.0.113.9", fields: ["X-Real-IP: 6.6.6.6"], realIp: "203.0.113.9" },
  { chain: "203.0.113.9, 10.1.1.1", fields: ["X-Real-IP: ::1"], realIp: "203.0.113.9" },
  { chain: "203.0.113.9", fields: ["X-Real-IP: ::1", "X-Real-IP: ::2"], realIp: "203.0.113.9" },
  { chain: "unknown", fields: ["X-Real-IP: 6.6.6.6"], realIp: "127.0.0.1" },
  { chain: "", fields: ["X-Real-IP: 6.6.6.6"], realIp: "127.0.0.1" },
  { chain: undefined, fields: ["X-Real-IP: 203.0.113.9"], realIp: "203.0.113.9" },
].map(({ chain, fields, realIp }) => ({
  name: `X-Forwarded-For: ${chain}, ${fields}`,
  fields: [
    ...(chain === undefined ? [] : [`X-Forwarded-For: ${chain}`]),
    ...fields,
    "X-Forwarded-Proto: https",
    "Forwarded: for=6.6.6.6;host=evil.net",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Port: 6666",
  ],
  upstreamGets: {
    "x-real-ip": realIp,
    "x-forwarded-proto": "https",
    "x-forwarded-port": "443",
    "forwarded": undefined,
    "x-forwarded-prefix": undefined,
  },
}));

attackTest(
  "attack 11: what a trusted proxy passes on of its client is no word of the proxy: x-real-ip beside a chain, and what stripInboundHeaders names",
  { 11: PASSED_ON },
  (attacks) =>
    withGateway(
      ({ gateway, upstream }) => assertRepelled(attacks.map(asAttack), { gateway, upstream }),
      {
        trustedProxies: ["127.0.0.0/8", "10.0.0.0/8"],
        stripInboundHeaders: ["Forwarded", "x-forwarded-pre*", "X_Forwarded_Port"],
      },
    ),
);

Deno.test("a request id and a trace that stripInboundHeaders names are made anew, whoever sends them", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: {
      stripInboundHeaders: ["x-request-id", "Traceparent"],
      trustedProxies: ["127.0.0.0/8"],
      routes: [{ path: "/*", upstream: upstream.url, plugins: false }],
    },
  });
  const trace = "0af7651916cd43dd8448eb211c80319c";
  const { header } = await rawRequest(
    gateway.port,
    `GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nTraceparent: 00-${trace}-b7ad6b7169203331-01\r\nTracestate: a=b\r\n\r\n`,
  );
  const [seen] = upstream.requests;
  assertMatch(header("x-request-id") ?? "", UUID);
  assertEquals(seen?.header("x-request-id"), header("x-request-id"));
  assertMatch(seen?.header("traceparent") ?? "", new RegExp(`^00-(?!${trace})[0-9a-f]{32}-`));
  assertEquals(seen?.header("tracestate"), undefined);
  const line = await gateway.waitForLog(({ path }) => path === "/");
  assertEquals(line.traceId, header("x-request-id"));
});

Deno.test("no variable of Deno's makes the gateway take a client's word for its address, or encode what its upstream did not", async () => {
  await using upstream = recordingUpstream(() =>
    `HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 999\r\n\r\n${"x".repeat(999)}`
  );
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url, plugins: false }] },
    env: { DENO_TRUST_PROXY_HEADERS: "1", DENO_SERVE_AUTOMATIC_COMPRESSION: "1" },
  });
  const { status, header } = await rawRequest(
    gateway.port,
    "GET / HTTP/1.1\r\nHost: a\r\nX-Deno-Client-Address: tcp:6.6.6.6:6\r\nAccept-Encoding: gzip\r\n\r\n",
  );
  assertEquals([status, header("content-encoding")], [200, undefined]);
  assertEquals(upstream.requests[0]?.header("x-real-ip"), "127.0.0.1");
});
