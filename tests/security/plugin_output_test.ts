/** Attacks 15, 16 and 26: what a plugin sets, of its own or because a client told it to, is refused where it would break HTTP. */
import { assertEquals, assertMatch } from "@std/assert";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawRequest } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const FRAMING_FIELDS = [
  "content-length",
  "Transfer-Encoding",
  "connection",
  "keep-alive",
  "proxy-authorization",
  "Proxy-Connection",
  "x-forwarded-host",
  "X-Forwarded-Anything",
  "transfer_encoding",
  "Transfer.Encoding",
  "transfer~encoding",
  "te",
  "trailer",
  "upgrade",
  "proxy-authenticate",
  "x-forwarded-for",
  "forwarded",
  "content_length",
];

interface Denied {
  /** A statement of a hook. */
  readonly does: string;
  /** How the log names what was denied. */
  readonly what: string;
  readonly hook?: "beforeRequest" | "afterResponse";
}

const setUpstream = (name: string): Denied => ({
  does: `ctx.upstream.setHeader(${JSON.stringify(name)}, "5")`,
  what: `upstream header "${name.toLowerCase()}"`,
});
const setResponse = (name: string): Denied => ({
  does: `ctx.response.setHeader(${JSON.stringify(name)}, "5")`,
  what: `response header "${name.toLowerCase()}"`,
  hook: "afterResponse",
});

/** What belongs to the connection, the body or the gateway. */
const NOT_A_PLUGINS: readonly Denied[] = [
  ...FRAMING_FIELDS.flatMap((name) => [setUpstream(name), setResponse(name)]),
  ...["host", "x-request-id", "x-real-ip", "traceparent", "tracestate", "X_Real_Ip"].map(
    setUpstream,
  ),
  ...["x-request-id", "access-control-allow-origin", "Access-Control-Expose-Headers"].map(
    setResponse,
  ),
  { does: 'ctx.upstream.deleteHeader("host")', what: 'upstream header "host"' },
  { does: 'ctx.upstream.appendHeader("x-real-ip", "::1")', what: 'upstream header "x-real-ip"' },
  {
    does: 'ctx.response.deleteHeader("x-request-id")',
    what: 'response header "x-request-id"',
    hook: "afterResponse",
  },
];

/** What would end a field, a head or a request line, or is no HTTP at all. */
const BREAKS_HTTP: readonly Denied[] = [
  ...["a\\r\\nX-Evil: 1", "a\\nb", "a\\rb", "a\\0b", "\\u2028", "€", " a"].flatMap((value) => [
    { does: `ctx.upstream.setHeader("x-a", "${value}")`, what: 'upstream header "x-a"' },
    {
      does: `ctx.response.appendHeader("set-cookie", "${value}")`,
      what: 'response header "set-cookie"',
      hook: "afterResponse" as const,
    },
  ]),
  ...["", "a b", "a:", "a\\r\\nb", "é"].map((name) => ({
    does: `ctx.response.setHeader("${name}", "x")`,
    what: `response header ${JSON.stringify(JSON.parse(`"${name}"`))}`,
    hook: "afterResponse" as const,
  })),
  ...[0, 100, 101, 199, 600, 200.5].map((status) => ({
    does: `ctx.response.setStatus(${status})`,
    what: "response status",
    hook: "afterResponse" as const,
  })),
  ...["/a\\r\\nX: y", "/a\\0", "a", "http://evil/", "/a#b", "/%zz", "/a\\\\b", "/a?b=c"].map((
    path,
  ) => ({
    does: `ctx.upstream.setPath("${path}")`,
    what: "upstream path",
  })),
  ...["a\\r\\nX: y", "a#b", "a\\0"].map((query) => ({
    does: `ctx.upstream.setQuery("${query}")`,
    what: "upstream query",
  })),
];

const DENIED = [...BREAKS_HTTP, ...NOT_A_PLUGINS];

/** Each request asks for one row, and shows that the rest of the patch stands. */
const PLUGIN = `
const rows = [${
  DENIED.map(({ does, hook = "beforeRequest" }) => `{ hook: "${hook}", run(ctx) { ${does}; } }`)
    .join(",\n")
}];
const act = (ctx, hook) => {
  const row = rows[Number(ctx.request.query)];
  if (row.hook === hook) row.run(ctx);
};
export default {
  beforeRequest(ctx) { act(ctx, "beforeRequest"); ctx.upstream.setHeader("x-rest", "stands"); },
  afterResponse(ctx) { act(ctx, "afterResponse"); ctx.response.setHeader("x-rest", "stands"); },
};`;

attackTest(
  "attacks 15 and 16: that part of the patch is refused and logged, the rest of it stands, and HTTP stays whole",
  { 15: BREAKS_HTTP, 16: NOT_A_PLUGINS },
  async (denied) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: { "001-evil.ts": PLUGIN },
    });
    const failures = await Promise.all(denied.map(async ({ does, what }, row) => {
      const request = `GET /x?${row} HTTP/1.1\r\nHost: a\r\nX-Row: ${row}\r\n\r\n`;
      const response = await rawRequest(gateway.port, request);
      const seen = upstream.requests.filter((each) => each.header("x-row") === String(row));
      const id = response.header("x-request-id");
      const line = await gateway.waitForLog((each) =>
        each.message === "denied what a plugin set" && each.traceId === id
      ).catch(() => undefined);
      try {
        assertEquals(response.status, 200);
        assertEquals(response.text, "ok");
        assertEquals(response.header("x-rest"), "stands");
        assertEquals(response.header("x-evil"), undefined);
        assertEquals(seen.map((each) => each.target), [`/x?${row}`]);
        assertEquals(seen[0]?.header("x-rest"), "stands");
        assertEquals(seen[0]?.header("host"), `127.0.0.1:${upstream.port}`);
        assertEquals(line?.what, what);
      } catch (error) {
        return `${does}: ${error instanceof Error ? error.message : error}`;
      }
    }));
    assertEquals(failures.filter(Boolean), []);
  },
);

const REJECTIONS: readonly (readonly [call: string, status: number, body: RegExp])[] = [
  ['ctx.reject(403, "no", { "x-a": "a\\r\\nX-Evil: 1", "x-b": "b" })', 403, /"rejected"/],
  ['ctx.reject(401, "no", { "content-length": "5", "x-b": "b" })', 401, /"rejected"/],
  ['ctx.reject(200, "\\r\\n\\r\\nHTTP/1.1 200 OK")', 200, /"rejected"/],
  // A refusal with an impossible status is a refusal all the same.
  ['ctx.reject(101, "no")', 500, /"plugin_error"/],
  ['ctx.reject(600, "no")', 500, /"plugin_error"/],
  ["ctx.reject(NaN, 'no')", 500, /"plugin_error"/],
  // So is one that is called wrongly, whatever onHookError says of mistakes.
  ['ctx.reject("401", "no")', 500, /"plugin_error"/],
  ["ctx.reject()", 500, /"plugin_error"/],
  ['ctx.reject(401, "no", { "x-a": undefined })', 500, /"plugin_error"/],
  ['ctx.reject(401, "no", new Headers({ "x-a": "a" }))', 500, /"plugin_error"/],
  ['try { ctx.reject("401", "no") } catch {}', 500, /"plugin_error"/],
];

attackTest(
  "attack 15: a rejection with fields or a status that are not HTTP is a rejection without them",
  { 15: REJECTIONS },
  async (rejections) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        onHookError: "continue",
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: {
        "001-reject.ts": `export default { beforeRequest(ctx) {
        [${
          REJECTIONS.map(([call]) => `() => { ${call} }`).join(", ")
        }][Number(ctx.request.query)]();
      } };`,
      },
    });
    for (const [row, [call, status, body]] of rejections.entries()) {
      const response = await rawRequest(gateway.port, `GET /?${row} HTTP/1.1\r\nHost: a\r\n\r\n`);
      assertEquals(response.status, status, call);
      assertMatch(response.text, body);
      assertEquals(response.header("x-evil"), undefined);
      if (call.includes("x-b")) assertEquals(response.header("x-b"), "b");
    }
    assertEquals(upstream.requests, []);
  },
);

/** Names that an identity service may give, none of which a field can hold. */
const ILLEGAL_NAMES = ["日本", "ok\r\nx-evil: 1", " alice", "alice\0", "\ud800"];

attackTest(
  "attack 15: a client whose name is no field value cannot have its own identity field taken for the plugin's",
  { 15: ILLEGAL_NAMES },
  async (names) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: {
        "001-auth.ts": `export default { beforeRequest(ctx) {
        ctx.upstream.setHeader("x-user", ${JSON.stringify(names)}[Number(ctx.request.query)]);
      } };`,
      },
    });
    for (const [row, name] of names.entries()) {
      const forged = "X-User: admin\r\nx_user: admin\r\n";
      await rawRequest(gateway.port, `GET /?${row} HTTP/1.1\r\nHost: a\r\n${forged}\r\n`);
      const seen = upstream.requests.at(-1);
      assertEquals(seen?.target, `/?${row}`);
      assertEquals([seen?.header("x-user"), seen?.header("x_user")], [undefined, undefined], name);
    }
  },
);

const KEYS = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf"];

attackTest(
  "attack 26: __proto__ and constructor are inert as field, query, state and identity keys (CVE-2019-10744)",
  { 26: KEYS },
  async (keys) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: {
        "001-set.ts": `export default { beforeRequest(ctx) {
        for (const [key, value] of ctx.request.searchParams()) {
          ctx.state[key] = value;
          ctx.upstream.setHeader(key, value);
          ctx.response.setHeader(key, value);
        }
        ctx.user = JSON.parse('{"__proto__": {"admin": true}, "constructor": 1}');
      } };`,
        "002-read.ts": `export default { beforeRequest(ctx) {
        ctx.upstream.setHeader("x-read", JSON.stringify([
          Object.keys(ctx.state), ctx.user.admin === undefined, {}.polluted === undefined,
        ]));
      } };`,
      },
    });
    const target = `/?${keys.map((key, at) => `${key}=value${at}`).join("&")}`;
    const response = await rawRequest(gateway.port, `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    assertEquals(response.status, 200);
    const [seen] = upstream.requests;
    assertEquals(JSON.parse(seen?.header("x-read") ?? ""), [keys, true, true]);
    for (const [at, key] of keys.entries()) {
      assertEquals(seen?.header(key.toLowerCase()), `value${at}`);
      assertEquals(response.header(key.toLowerCase()), `value${at}`);
    }
  },
);
