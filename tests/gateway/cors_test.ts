import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { CorsConfig } from "../../gateway/config.ts";
import { corsPolicy } from "../../gateway/cors.ts";
import { newHeaderMap } from "../../gateway/headers.ts";
import type { HeaderMap } from "../../protocol/snapshot.ts";

const BASE: CorsConfig = {
  allowedOrigins: ["https://app.example.com", "https://*.example.org", "https://*.dev.net:8443"],
  allowedMethods: ["GET", "PUT"],
  allowedHeaders: ["authorization", "x-a"],
  exposedHeaders: ["x-total"],
  allowCredentials: true,
  maxAgeSeconds: 600,
};

function preflight(config: CorsConfig, headers: Record<string, string>): Record<string, string> {
  const answer = corsPolicy(config).preflight({
    method: "OPTIONS",
    headers: new Headers({ "access-control-request-method": "PUT", ...headers }),
  });
  assertEquals(answer?.status, 204);
  assertStrictEquals(answer?.body, null);
  return Object.fromEntries(answer?.headers ?? []);
}

function applied(config: CorsConfig, headers: HeaderMap, origin: string | null): HeaderMap {
  return { ...corsPolicy(config).apply(Object.assign(newHeaderMap(), headers), origin) };
}

function isGranted(origin: string, allowedOrigins = BASE.allowedOrigins): boolean {
  const fields = applied({ ...BASE, allowedOrigins }, {}, origin);
  return fields["access-control-allow-origin"] === origin;
}

Deno.test("cors answers a preflight of an allowed origin with the whole grant", () => {
  assertEquals(preflight(BASE, { origin: "https://app.example.com" }), {
    "access-control-allow-origin": "https://app.example.com",
    "access-control-allow-credentials": "true",
    "access-control-allow-methods": "GET, PUT",
    "access-control-allow-headers": "authorization, x-a",
    "access-control-max-age": "600",
    vary: "Origin",
  });
});

Deno.test("cors answers a preflight of any other origin without a grant", () => {
  for (
    const origin of [
      "null",
      "https://good.com.evil.net",
      "https://app.example.com.evil.net",
      "https://evilapp.example.com",
      "https://app.example.com, https://evil.net",
      "http://app.example.com",
      "https://app.example.com:444",
      "https://APP.example.com",
      "",
    ]
  ) {
    assertEquals(preflight(BASE, { origin }), { vary: "Origin" }, origin);
    assertEquals(applied(BASE, {}, origin), { vary: "Origin" }, origin);
  }
});

Deno.test("cors takes *. for exactly one label", () => {
  for (
    const origin of ["https://a.example.org", "https://a-1.example.org", "https://x.dev.net:8443"]
  ) {
    assertEquals(isGranted(origin), true, origin);
  }
  for (
    const origin of [
      "https://example.org",
      "https://.example.org",
      "https://a.b.example.org",
      "https://evil.net/.example.org",
      "https://evil.net#.example.org",
      "https://u@a.example.org",
      "https://a.example.org:8443",
      "https://x.dev.net",
      "http://a.example.org",
      "https://.org",
      "https://org",
    ]
  ) {
    assertEquals(isGranted(origin), false, origin);
  }
});

Deno.test("cors grants no origin but the listed ones", () => {
  fc.assert(fc.property(fc.webUrl({ withFragments: true }), fc.string(), (url, text) => {
    assertEquals(isGranted(url) || isGranted(text), false);
    assertEquals(isGranted(`https://${text}.example.org`), /^[a-z0-9_-]+$/.test(text));
  }));
});

Deno.test("cors with an empty list denies everybody, and no answer depends on the origin", () => {
  const config = { ...BASE, allowedOrigins: [] };
  assertEquals(preflight(config, { origin: "https://app.example.com" }), {});
  assertEquals(applied(config, { "x-a": "1" }, "https://app.example.com"), { "x-a": "1" });
});

Deno.test("cors with * gives every request the same answer, so that caches may share it", () => {
  const config = { ...BASE, allowedOrigins: ["*"], allowCredentials: false };
  const expected = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "x-total",
  };
  assertEquals(applied(config, {}, "https://x.net"), expected);
  assertEquals(applied(config, {}, null), expected);
  assertThrows(() => corsPolicy({ ...config, allowCredentials: true }), TypeError);
});

Deno.test("cors spells out what is asked where headers or methods are *", () => {
  const config = { ...BASE, allowedHeaders: ["*"], allowedMethods: ["*"] };
  const origin = "https://app.example.com";
  const granted = preflight(config, {
    origin,
    "access-control-request-headers": "authorization,x-b",
  });
  assertEquals(granted["access-control-allow-headers"], "authorization, x-b");
  assertEquals(granted["access-control-allow-methods"], "PUT");
  assertEquals(
    granted["vary"],
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
  );
  const odd = preflight(config, { origin, "access-control-request-headers": "a b, c" });
  assertEquals(odd["access-control-allow-headers"], undefined);
});

Deno.test("cors leaves every other OPTIONS to the routes", () => {
  const policy = corsPolicy(BASE);
  const origin = "https://app.example.com";
  const asked = { "access-control-request-method": "PUT" };
  const others: [method: string, headers: Record<string, string>][] = [
    ["OPTIONS", {}],
    ["OPTIONS", { origin }],
    ["OPTIONS", asked],
    ["GET", { origin, ...asked }],
  ];
  for (const [method, headers] of others) {
    assertStrictEquals(policy.preflight({ method, headers: new Headers(headers) }), null);
  }
});

Deno.test("cors removes what the upstream says about CORS and keeps its other fields", () => {
  const upstream = {
    "access-control-allow-origin": "*",
    "access-control-allow-credentials": "true",
    "access-control-allow-private-network": "true",
    "set-cookie": ["a=1", "b=2"],
  };
  assertEquals(applied(BASE, upstream, "https://app.example.com"), {
    "set-cookie": ["a=1", "b=2"],
    "access-control-allow-origin": "https://app.example.com",
    "access-control-allow-credentials": "true",
    "access-control-expose-headers": "x-total",
    vary: "Origin",
  });
  assertEquals(applied(BASE, upstream, null), { "set-cookie": ["a=1", "b=2"], vary: "Origin" });
});

Deno.test("cors extends the upstream's Vary", () => {
  const cases: [before: string | readonly string[], after: string][] = [
    ["Accept-Encoding", "Accept-Encoding, Origin"],
    [["Accept", "Cookie, "], "Accept, Cookie, Origin"],
    ["accept, ORIGIN", "accept, ORIGIN"],
    ["*", "*"],
    ["X-Origin", "X-Origin, Origin"],
  ];
  for (const [before, after] of cases) {
    assertEquals(applied(BASE, { vary: before }, null)["vary"], after);
  }
});

Deno.test("cors passthrough touches nothing", () => {
  const policy = corsPolicy("passthrough");
  const headers = { "access-control-allow-origin": "*" };
  assertEquals(Object.entries(policy.apply(headers, "https://x.net")), Object.entries(headers));
  const request = new Headers({
    origin: "https://x.net",
    "access-control-request-method": "PUT",
  });
  assertStrictEquals(policy.preflight({ method: "OPTIONS", headers: request }), null);
});
