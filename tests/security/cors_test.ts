/** Attack 29: no origin is granted anything but by the exact text of the configuration. */
import { assertEquals } from "@std/assert";
import { attackTest } from "../support/attack_rows.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawRequest, type RawResponse } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const CORS = {
  allowedOrigins: ["https://good.com", "https://*.example.com"],
  allowedMethods: ["GET", "PUT"],
  allowedHeaders: ["x-token"],
  exposedHeaders: ["x-total"],
  allowCredentials: true,
};

const DENIED: readonly (readonly string[])[] = [
  ["null"],
  ["https://good.com.evil.net"],
  ["https://evilgood.com"],
  ["https://good.com", "https://evil.net"],
  ["https://evil.net", "https://good.com"],
  ["https://good.com, https://evil.net"],
  ["https://good.com/"],
  ["https://good.com:444"],
  ["http://good.com"],
  ["HTTPS://GOOD.COM"],
  ["https://example.com"],
  ["https://a.b.example.com"],
  ["https://.example.com"],
  ["https://evil.net/.example.com"],
  ["https://evil.net#.example.com"],
  ["https://evilexample.com"],
  ["https://a.example.com.evil.net"],
  ["https://a.example.com:8443"],
  ["https://a.example.com/"],
  ["https://A.EXAMPLE.COM"],
  ["https://user@a.example.com"],
  ["https://a%2eb.example.com"],
  ["https://xn--a.example.com@evil.net"],
  ["https://a.example.com https://good.com"],
  ["https://good.com\t"].map((origin) => `${origin}x`),
  ["https://good.com\xa0"],
  ["https://g\xc3\xb6od.com"],
  ["good.com"],
  ["//good.com"],
  ["file://"],
  ["null", "https://good.com"],
  [""],
  ["*"],
  [],
];

const UPSTREAM_GRANTS = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\n" +
  "access-control-allow-credentials: true\r\nvary: Accept\r\ncontent-length: 2\r\n\r\nok";

function ask(
  { port }: TestGateway,
  { origins, preflight }: { readonly origins: readonly string[]; readonly preflight: boolean },
): Promise<RawResponse> {
  const fields = origins.map((origin) => `Origin: ${origin}\r\n`).join("");
  return rawRequest(
    port,
    preflight
      ? `OPTIONS /x HTTP/1.1\r\nHost: a\r\n${fields}Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-token\r\n\r\n`
      : `GET /x HTTP/1.1\r\nHost: a\r\n${fields}\r\n`,
  );
}

const GRANTS = [
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-expose-headers",
];

attackTest(
  "attack 29: an origin that is not allowed word for word gets no grant, and Vary: Origin",
  { 29: DENIED },
  async (rows) => {
    await using upstream = recordingUpstream(() => UPSTREAM_GRANTS);
    await using gateway = await testGateway({
      config: { cors: CORS, routes: [{ path: "/*", upstream: upstream.url }] },
    });
    for (const origins of rows) {
      for (const preflight of [false, true]) {
        const response = await ask(gateway, { origins, preflight });
        const what = `${JSON.stringify(origins)} ${preflight ? "preflight" : "actual"}`;
        for (const name of GRANTS) assertEquals(response.header(name), undefined, what);
        // Without an Origin an OPTIONS is no preflight, and goes upstream like any other method.
        const isOurs = preflight && origins.length > 0;
        assertEquals(response.status, isOurs ? 204 : 200, what);
        assertEquals(response.header("vary"), isOurs ? "Origin" : "Accept, Origin", what);
      }
    }
  },
);

Deno.test("an allowed origin gets what the configuration grants, and a plugin never sees its preflight", async () => {
  await using upstream = recordingUpstream(() => UPSTREAM_GRANTS);
  await using gateway = await testGateway({
    config: { cors: CORS, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-gate.ts": `export default { beforeRequest(ctx) {
        if (ctx.request.method === "OPTIONS") ctx.reject(401, "a preflight carries no token");
      } };`,
    },
  });
  for (const origin of ["https://good.com", "https://a.example.com"]) {
    const preflight = await ask(gateway, { origins: [origin], preflight: true });
    assertEquals(preflight.status, 204);
    assertEquals(GRANTS.map((name) => preflight.header(name)), [
      origin,
      "true",
      "GET, PUT",
      "x-token",
      undefined,
    ]);
    const actual = await ask(gateway, { origins: [origin], preflight: false });
    assertEquals(actual.status, 200);
    assertEquals(GRANTS.map((name) => actual.header(name)), [
      origin,
      "true",
      undefined,
      undefined,
      "x-total",
    ]);
    assertEquals(actual.header("vary"), "Accept, Origin");
  }
  assertEquals(upstream.requests.map((each) => each.method), ["GET", "GET"]);
});

Deno.test('with cors "passthrough" the upstream and the plugins answer for CORS', async () => {
  await using upstream = recordingUpstream(() => UPSTREAM_GRANTS);
  await using gateway = await testGateway({
    config: { ...PATIENT, cors: "passthrough", routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-cors.ts": `export default { readsBodies: false, afterResponse(ctx) {
        ctx.response.setHeader("access-control-allow-origin", "https://set.by.plugin");
      } };`,
    },
  });
  const response = await ask(gateway, { origins: ["https://any.net"], preflight: true });
  assertEquals(response.header("access-control-allow-origin"), "https://set.by.plugin");
  assertEquals(response.header("access-control-allow-credentials"), "true");
  assertEquals(upstream.requests.map((each) => each.method), ["OPTIONS"]);
});
