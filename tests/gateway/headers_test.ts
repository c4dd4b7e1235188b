import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  newHeaderMap,
  requestHeaderMap,
  responseHeaderMap,
  stripMatcher,
} from "../../gateway/headers.ts";
import {
  clientAddress,
  forwardedHeaders,
  requestId,
  traceContext,
  trustedProxyMatcher,
} from "../../gateway/identity.ts";
import { applyOverrides } from "../../protocol/headers.ts";
import {
  deniedHeader,
  deniedStatus,
  isFieldValue,
  isToken,
} from "../../protocol/mutation_rules.ts";
import type { HeaderMap } from "../../protocol/snapshot.ts";

const NO_STRIP = { strip: stripMatcher([]) };

function headerMap(fields: HeaderMap): HeaderMap {
  return Object.assign(newHeaderMap(), fields);
}

function seen(fields: Record<string, string>, strip: readonly string[] = []): HeaderMap {
  return { ...requestHeaderMap(new Headers(fields), { strip: stripMatcher(strip) }) };
}

Deno.test("request headers lose hop-by-hop fields, framing and what the gateway sets itself", () => {
  const dropped = [
    ..."connection keep-alive proxy-connection te trailer transfer-encoding upgrade".split(" "),
    ..."proxy-authenticate proxy-authorization proxy host content-length expect".split(" "),
    ..."x-forwarded-for x-forwarded-prefix forwarded x-real-ip x-request-id".split(" "),
    ..."traceparent tracestate X_Forwarded_For X.Real.IP Content_Length".split(" "),
  ];
  const fields = Object.fromEntries(dropped.map((name) => [name, "1"]));
  assertEquals(seen({ ...fields, Accept: "a", x_other: "b" }), { accept: "a", x_other: "b" });
});

Deno.test("request headers: Connection takes away what the client sent, not what is laid over it (CVE-2022-31813)", () => {
  const inbound = new Headers({
    connection: "close, X-User , x-forwarded-for,Authorization,,x-request-id",
    "x-user": "forged",
    authorization: "t",
    accept: "a",
  });
  const base = requestHeaderMap(inbound, NO_STRIP);
  assertEquals({ ...base }, { accept: "a" });
  const identity = forwardedHeaders({
    peer: "203.0.113.9",
    client: "203.0.113.9",
    host: "h",
    proto: "http",
    port: 80,
    inbound,
    trusted: false,
    ...NO_STRIP,
    requestId: requestId(inbound),
    trace: traceContext(inbound),
  });
  const upstream = { ...applyOverrides(base, { "x-user": "7" }), ...identity };
  assertEquals(upstream["x-user"], "7");
  assertEquals(upstream["x-forwarded-for"], "203.0.113.9");
});

Deno.test("request headers: whatever Connection lists, exactly the named and the hop-by-hop fields go", () => {
  const names = ["accept", "cookie", "x-a", "x_b", "__proto__", "constructor", "te", "upgrade"];
  const odd = fc.constantFrom("", " ", "\t", "close", "x-none", "X-A", ";", "x-a;q=1");
  fc.assert(fc.property(
    fc.uniqueArray(fc.constantFrom(...names)),
    fc.array(fc.oneof(fc.constantFrom(...names), odd), { maxLength: 12 }),
    (present, listed) => {
      const headers = new Headers(present.map((name) => [name, "v"]));
      headers.set("connection", listed.join(","));
      const named = listed.map((name) => name.trim().toLowerCase());
      const expected = present.filter((name) =>
        !named.includes(name) && name !== "te" && name !== "upgrade"
      );
      assertEquals(Object.keys(requestHeaderMap(headers, NO_STRIP)).sort(), expected.sort());
    },
  ));
});

Deno.test("request headers: repeats survive", () => {
  const headers = new Headers([["X-A", "1"], ["x-a", "2"], ["Set-Cookie", "a"], [
    "set-cookie",
    "b",
  ]]);
  const map = requestHeaderMap(headers, NO_STRIP);
  assertEquals({ ...map }, { "x-a": "1, 2", "set-cookie": ["a", "b"] });
});

Deno.test("request headers: managed names and their aliases with _ and . are never accepted", () => {
  const fields = {
    "X-Gateway-Admin": "1",
    X_Gateway_Admin_Id: "1",
    "X.Gateway.Admin": "1",
    "x-gateway_": "1",
    "x-user-id": "1",
    x_user_id: "1",
    "x-gatewayish": "1",
    "x-user-id2": "1",
  };
  const kept = { "x-gatewayish": "1", "x-user-id2": "1" };
  assertEquals(seen(fields, ["x-gateway-*", "X_User-Id"]), kept);
  assertEquals(seen(fields, ["*"]), {});
});

Deno.test("header maps: __proto__ and constructor are names like any other", () => {
  const map = responseHeaderMap([["__proto__", "a"], ["constructor", "b"], ["__PROTO__", "c"]]);
  assertEquals(Object.entries(map), [["__proto__", ["a", "c"]], ["constructor", "b"]]);
  const next = applyOverrides(map, JSON.parse('{"__proto__": "x", "constructor": []}'));
  assertEquals(Object.entries(next), [["__proto__", "x"]]);
  assertEquals(Object.getPrototypeOf(next), null);
});

Deno.test("response headers keep repeats in order and lose hop-by-hop fields and those Connection names", () => {
  const map = responseHeaderMap([
    ["Set-Cookie", "a=1"],
    ["Connection", "X-Hop"],
    ["set-cookie", "b=2, c"],
    ["connection", "keep-alive , x-hop2"],
    ["X-Hop", "1"],
    ["x-hop2", "1"],
    ["Content-Length", "3"],
    ["Transfer-Encoding", "chunked"],
    ["Keep-Alive", "timeout=5"],
    ["SET-COOKIE", "d=3"],
    ["ETag", '"x"'],
  ]);
  assertEquals({ ...map }, { "set-cookie": ["a=1", "b=2, c", "d=3"], etag: '"x"' });
});

Deno.test("overrides replace, remove and append, and leave their inputs alone", () => {
  const base = headerMap({ a: "1", b: ["1", "2"], c: "1", x_user_id: "forged", "x.d": "1" });
  const before = structuredClone({ ...base });
  const next = applyOverrides(base, {
    a: ["8", "9"],
    b: [],
    c: { append: ["2"] },
    d: { append: ["1"] },
    "x-user-id": "7",
    empty: "",
  });
  assertEquals({ ...next }, {
    "x.d": "1",
    a: ["8", "9"],
    c: ["1", "2"],
    d: ["1"],
    "x-user-id": "7",
    empty: "",
  });
  assertEquals({ ...base }, before);
  assertEquals(applyOverrides(base, {}), base);
});

Deno.test("a client is believed as far as its trusted proxies reach", () => {
  const isTrusted = trustedProxyMatcher(["10.0.0.0/8", "fd00::/8", "::ffff:192.0.2.0/120"]);
  const cases: [peer: string, forwardedFor: string | null, client: string][] = [
    ["203.0.113.9", "1.1.1.1", "203.0.113.9"],
    ["10.0.0.1", null, "10.0.0.1"],
    ["10.0.0.1", "1.1.1.1, 8.8.8.8", "8.8.8.8"],
    ["::ffff:10.0.0.1", "8.8.8.8, 10.9.9.9 ,fd00::7", "8.8.8.8"],
    ["192.0.2.7", "8.8.8.8", "8.8.8.8"],
    ["fd00::1", "[2606:4700::1]:443", "2606:4700::1"],
    ["10.0.0.1", "8.8.8.8:5555", "8.8.8.8"],
    ["10.0.0.1", "8.8.8.8, unknown", "10.0.0.1"],
    ["10.0.0.1", "8.8.8.8, 134744072", "10.0.0.1"],
    ["10.0.0.1", "10.0.0.2", "10.0.0.2"],
    ["10.0.0.1", ",", "10.0.0.1"],
    ["", "8.8.8.8", ""],
  ];
  for (const [peer, forwardedFor, client] of cases) {
    assertEquals(
      clientAddress(peer, { forwardedFor, isTrusted }),
      client,
      `${peer} ${forwardedFor}`,
    );
  }
  const unix = { forwardedFor: "8.8.8.8", isTrusted: trustedProxyMatcher(["unix:"]) };
  assertEquals(clientAddress("", unix), "8.8.8.8");
  assertEquals(clientAddress("10.0.0.1", unix), "10.0.0.1");
  assert(!trustedProxyMatcher([])("10.0.0.1"));
  assert(!isTrusted("11.0.0.1") && !isTrusted("10.1") && !isTrusted("x") && !isTrusted("::1"));
  assert(trustedProxyMatcher(["0.0.0.0/0"])("1.2.3.4"));
  assert(!trustedProxyMatcher(["0.0.0.0/0"])("2606:4700::1"));
  assertThrows(() => trustedProxyMatcher(["10.0.0.0/33"]));
});

Deno.test("forwarding fields of an untrusted peer are replaced, those of a trusted one kept and extended", () => {
  const inbound = new Headers({
    "x-forwarded-for": "1.1.1.1",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "evil.net",
    "x-forwarded-prefix": "/evil",
    "x-real-ip": "1.1.1.1",
    forwarded: "for=1.1.1.1",
  });
  const from = {
    peer: "::ffff:10.0.0.1",
    client: "10.0.0.1",
    host: "api.example.com:8080",
    proto: "http",
    port: 8080,
    inbound,
    ...NO_STRIP,
    requestId: "r",
    trace: { traceparent: "t" },
  } as const;
  const own = { "x-request-id": "r", traceparent: "t" };
  assertEquals({ ...forwardedHeaders({ ...from, trusted: false }) }, {
    ...own,
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-proto": "http",
    "x-forwarded-host": "api.example.com:8080",
    "x-forwarded-port": "8080",
    "x-real-ip": "10.0.0.1",
  });
  assertEquals({ ...forwardedHeaders({ ...from, client: "1.1.1.1", trusted: true }) }, {
    ...own,
    ...Object.fromEntries(inbound),
    "x-forwarded-for": "1.1.1.1, 10.0.0.1",
    "x-forwarded-port": "443",
  });
  const portFor = (said: Record<string, string>) =>
    forwardedHeaders({ ...from, trusted: true, inbound: new Headers(said) })["x-forwarded-port"];
  assertEquals(portFor({}), "8080");
  assertEquals(portFor({ "x-forwarded-proto": "https" }), "8080", "the Host names a port");
  assertEquals(portFor({ "x-forwarded-host": "a", "x-forwarded-proto": "https, http" }), "443");
  assertEquals(portFor({ "x-forwarded-host": "a", "x-forwarded-proto": "http" }), "80");
  assertEquals(portFor({ "x-forwarded-host": "[::1]", "x-forwarded-proto": "https" }), "443");
  assertEquals(portFor({ "x-forwarded-host": "a:1, b", "x-forwarded-proto": "https" }), "1");
  assertEquals(portFor({ "x-forwarded-host": "a", "x-forwarded-port": "9" }), "9");
  const unix = forwardedHeaders({ ...from, peer: "", client: "", trusted: false });
  assertEquals([unix["x-forwarded-for"], unix["x-real-ip"]], [undefined, undefined]);
});

Deno.test("a request id is continued where it is plain, else made anew", () => {
  for (const id of ["a", "A-1_b.c", "x".repeat(128)]) {
    assertEquals(requestId(new Headers({ "x-request-id": id })), id);
  }
  for (const id of ["", "x".repeat(129), "a b", "a,b", 'a"', "\x1b[31m", "é", "a/b"]) {
    const made = requestId(new Headers({ "x-request-id": id }));
    assert(/^[0-9a-f-]{36}$/.test(made), made);
  }
  assertNotEquals(requestId(new Headers()), requestId(new Headers()));
});

Deno.test("a trace is continued where it is valid, else started without the caller's state", () => {
  const traceparent = `00-${"a1".repeat(16)}-${"b2".repeat(8)}-01`;
  assertEquals(traceContext(new Headers({ traceparent, tracestate: "v=1" })), {
    traceparent,
    tracestate: "v=1",
  });
  assertEquals(traceContext(new Headers({ traceparent })), { traceparent });
  for (
    const bad of [
      "",
      traceparent.toUpperCase(),
      traceparent.replace("00-", "01-"),
      `${traceparent}-x`,
      `00-${"0".repeat(32)}-${"b2".repeat(8)}-01`,
      `00-${"a1".repeat(16)}-${"0".repeat(16)}-01`,
      `${traceparent}, ${traceparent}`,
    ]
  ) {
    const made = traceContext(new Headers({ traceparent: bad, tracestate: "v=1" }));
    assert(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/.test(made.traceparent), made.traceparent);
    assertNotEquals(made.traceparent, bad);
    assertEquals(made.tracestate, undefined);
  }
});

Deno.test("a plugin may not set what belongs to the connection, the body or the gateway", () => {
  const both = [
    ..."connection Keep-Alive te trailer transfer-encoding upgrade proxy-authorization".split(" "),
    ..."Proxy-X content-length x-forwarded-for X-Forwarded-Anything forwarded".split(" "),
    ..."transfer_encoding X_Forwarded_For content.length".split(" "),
  ];
  for (const name of both) {
    assert(deniedHeader(name, "upstream")?.includes(`"${name}"`), name);
    assert(deniedHeader(name, "response"), name);
  }
  assert(deniedHeader("Host", "upstream"));
  for (const name of ["host", "set-cookie", "x-user", "proxy", "x-forwarded", "tea"]) {
    assertEquals(deniedHeader(name, "response"), null);
  }
});

Deno.test("a plugin may set a status from 200 to 599", () => {
  for (const status of [200, 204, 599]) assertEquals(deniedStatus(status), null);
  for (const status of [0, 100, 101, 199, 600, 200.5, NaN, Infinity, -200]) {
    assert(deniedStatus(status)?.includes(String(status)));
  }
});

Deno.test("names and values are legal exactly where RFC 9110 says so", () => {
  for (const name of ["a", "X-A_b.c~|^`'*+%&$#!"]) assert(isToken(name));
  for (const name of ["", "a b", "a:", "a\r", "é", "a\n", "(a)", '"', "\0", "a,b"]) {
    assert(!isToken(name), JSON.stringify(name));
  }
  for (const value of ["", "a", "a b\tc", "\xe9", "\xa0x\xa0", '"q"']) assert(isFieldValue(value));
  for (
    const value of [" a", "a ", "\ta", "a\n", "a\r\nx: y", "a\0", "\x7f", "\x1b[0m", "€", "a\n "]
  ) {
    assert(!isFieldValue(value), JSON.stringify(value));
  }
});

Deno.test("every legal name and value is one that Headers takes too", () => {
  const character = fc.integer({ min: 0, max: 0x17f }).map((code) => String.fromCharCode(code));
  fc.assert(
    fc.property(fc.string({ unit: character, maxLength: 4 }), (text) => {
      if (isToken(text)) new Headers([[text, "x"]]);
      if (isFieldValue(text)) assertEquals(new Headers([["x", text]]).get("x"), text);
    }),
    { numRuns: 3000 },
  );
});
