import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { HookScope, Rejection } from "../../plugin-host/context.ts";
import type { GatewayContext, Log, Services } from "../../plugin-host/mod.ts";
import type { BodyInfo, HookContext, HookName } from "../../protocol/snapshot.ts";
import { input, REQUEST } from "./hook_frame.ts";

const ignore = () => {};
const LOG: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
const HELLO = { kind: "inline", sizeBytes: 5, base64: "aGVsbG8=" } as const;
const RESPONSE = {
  status: 200,
  headers: { vary: "accept", "set-cookie": ["a=1; Expires=Wed, 1 Jan", "b=2"], "x-old": "1" },
  body: HELLO,
} as const;

function open(hook: HookName, ctx: HookContext = input()): HookScope {
  const services = (): Services => {
    throw new Error("no services in this test");
  };
  return new HookScope({
    hook,
    input: ctx,
    log: () => LOG,
    services,
    signal: () => AbortSignal.abort(),
  });
}

/** The patch that `change` makes, as it is sent. */
function patchOf(
  change: (ctx: GatewayContext) => void,
  options: { hook?: HookName; ctx?: HookContext } = {},
): unknown {
  const scope = open(options.hook ?? "beforeRequest", options.ctx);
  change(scope.ctx);
  return JSON.parse(JSON.stringify(scope.patch()));
}

function requestWith(body: BodyInfo): GatewayContext["request"] {
  return open("beforeRequest", input({ request: { body } })).ctx.request;
}

Deno.test("ctx.request shows the snapshot", () => {
  const { request } = open("beforeRequest").ctx;
  const { headers: _, ...rest } = REQUEST;
  const { method, path, query, remoteAddr, host, route, body } = request;
  assertEquals({ method, path, query, remoteAddr, host, route, body }, rest);
  assertEquals(request.searchParams().get("b"), " ");
  assertEquals(request.header("ACCEPT"), "text/html");
  assertEquals(request.headerValues("X-List"), ["a", '"b, c"', "d"]);
  assertEquals(request.header("absent"), undefined);
  assertEquals(request.headerValues("absent"), []);
});

Deno.test("ctx.request is deeply frozen: every assignment throws", () => {
  const { ctx } = open("beforeRequest", input({ request: { body: HELLO } }));
  for (
    const [target, key] of [
      ...Object.keys(ctx.request).map((key) => [ctx.request, key] as const),
      [ctx.request.headers, "accept"],
      [ctx.request.headers, "x-new"],
      [ctx.request.body, "sizeBytes"],
      [ctx.request, "text"],
      [ctx, "request"],
      [ctx, "state"],
      [ctx, "reject"],
      [ctx.response, "setHeader"],
      [ctx.upstream, "setHeader"],
    ] as const
  ) {
    assertThrows(() => Object.assign(target, { [key]: "changed" }), TypeError);
  }
  ctx.request.searchParams().set("a", "changed");
  ctx.request.headerValues("x-list").push("changed");
  ctx.request.bytes().fill(0);
  assertEquals(ctx.request.query, REQUEST.query);
  assertEquals(ctx.request.headerValues("x-list").length, 3);
  assertEquals(ctx.request.text(), "hello");
});

Deno.test("names of the language are no headers, in request and response (attack 26)", () => {
  for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
    const { request, response } = open("afterResponse", input({ response: RESPONSE })).ctx;
    for (const side of [request, response]) {
      assertEquals(side.header(name), undefined);
      assertEquals(side.headerValues(name), []);
      assertEquals(side.headers[name], undefined);
    }
  }
  const headers = JSON.parse('{"__proto__": "1", "constructor": ["2", "3"]}');
  const { request } = open("beforeRequest", input({ request: { headers } })).ctx;
  assertEquals(request.header("__PROTO__"), "1");
  assertEquals(request.headerValues("constructor"), ["2", "3"]);
});

Deno.test("an inline body is readable as text, JSON and bytes; its bytes are not in the metadata", () => {
  const request = requestWith({ kind: "inline", sizeBytes: 8, base64: btoa('{"a": 1}') });
  assertEquals(request.body, { kind: "inline", sizeBytes: 8 });
  assertEquals(request.text(), '{"a": 1}');
  assertEquals(request.json(), { a: 1 });
  assertEquals(request.bytes().length, 8);
  assertThrows(() => requestWith(HELLO).json(), SyntaxError);
  assertEquals([...requestWith({ kind: "inline", sizeBytes: 2, base64: "AP8=" }).bytes()], [
    0,
    255,
  ]);
  assertEquals(requestWith({ kind: "none" }).text(), "");
  assertThrows(() => requestWith({ kind: "none" }).json(), SyntaxError);
});

Deno.test("a body reference shows its metadata and says why it cannot be read", () => {
  const request = requestWith({ kind: "reference", ref: "stream://3", sizeBytes: 99 });
  assertEquals(request.body, { kind: "reference", ref: "stream://3", sizeBytes: 99 });
  for (const read of [() => request.text(), () => request.json(), () => request.bytes()]) {
    assertThrows(
      read,
      TypeError,
      "the body is stream://3, of which hooks see the metadata only: it is over bodies.inlineLimitBytes",
    );
  }
});

Deno.test("readsBodies: false leaves the metadata and says why the body cannot be read", () => {
  const request = requestWith({ kind: "inline", sizeBytes: 5 });
  assertEquals(request.body, { kind: "inline", sizeBytes: 5 });
  assertThrows(() => request.text(), TypeError, "its plugin says readsBodies: false");
});

Deno.test("ctx.upstream proposes headers, path and query", () => {
  const patch = patchOf(({ upstream }) => {
    upstream.setHeader("X-User", "42");
    upstream.appendHeader("Via", "conduit");
    upstream.appendHeader("Via", "edge");
    upstream.deleteHeader("Cookie");
    upstream.setPath("/v2");
    upstream.setQuery("x=1");
  });
  assertEquals(patch, {
    upstream: {
      path: "/v2",
      query: "x=1",
      headers: { "x-user": "42", via: { append: ["conduit", "edge"] }, cookie: [] },
    },
  });
});

Deno.test("a patch holds only what this hook changed of what earlier hooks proposed", () => {
  const draft = { upstream: { path: "/a", headers: { "x-a": "1", "x-b": ["2"] } } };
  const patch = patchOf(({ upstream }) => {
    upstream.setPath("/a");
    upstream.setHeader("x-a", "1");
    upstream.appendHeader("x-b", "3");
  }, { ctx: input({ draft }) });
  assertEquals(patch, { upstream: { headers: { "x-b": ["2", "3"] } } });
});

Deno.test("ctx.upstream and ctx.forward say that they work in beforeRequest only", () => {
  const { upstream, forward } = open("afterResponse", input({ response: RESPONSE })).ctx;
  for (
    const change of [
      () => upstream.setHeader("a", "1"),
      () => upstream.appendHeader("a", "1"),
      () => upstream.deleteHeader("a"),
      () => upstream.setPath("/"),
      () => upstream.setQuery(""),
    ]
  ) {
    assertThrows(change, TypeError, "ctx.upstream works in beforeRequest only");
  }
  assertThrows(() => forward("http://x/"), TypeError, "ctx.forward works in beforeRequest only");
});

Deno.test("ctx.response in beforeRequest: changes wait, append stays an append", () => {
  const scope = open("beforeRequest");
  const { response } = scope.ctx;
  assertEquals(response.status, undefined);
  assertEquals(Object.keys(response.headers), []);
  assertEquals(response.body, { kind: "none" });
  response.setStatus(202);
  response.appendHeader("Set-Cookie", "a=1");
  response.appendHeader("set-cookie", "b=2");
  response.setHeader("x-a", "1");
  response.deleteHeader("server");
  response.setBody("é");
  assertEquals(response.status, 202);
  assertEquals(response.headerValues("set-cookie"), ["a=1", "b=2"]);
  assertEquals(response.header("X-A"), "1");
  assertEquals(response.body, { kind: "inline", sizeBytes: 2 });
  assertEquals(response.text(), "é");
  assertEquals(JSON.parse(JSON.stringify(scope.patch())), {
    response: {
      status: 202,
      body: { encoding: "utf8", data: "é" },
      headers: { "set-cookie": { append: ["a=1", "b=2"] }, "x-a": "1", server: [] },
    },
  });
});

Deno.test("ctx.response in afterResponse shows the answer with the changes so far", () => {
  const draft = { response: { status: 203, headers: { "x-old": [], "x-new": "1" } } };
  const { response } = open("afterResponse", input({ response: RESPONSE, draft })).ctx;
  assertEquals(response.status, 203);
  assertEquals(Object.keys(response.headers).sort(), ["set-cookie", "vary", "x-new"]);
  assertEquals(response.text(), "hello");
  response.appendHeader("Vary", "origin");
  response.deleteHeader("X-New");
  response.setStatus(404);
  assertEquals(response.headerValues("vary"), ["accept", "origin"]);
  assertEquals(response.headerValues("set-cookie"), RESPONSE.headers["set-cookie"] as unknown);
  assertEquals(response.header("x-new"), undefined);
  assertEquals(response.status, 404);
  assertThrows(() => Object.assign(response.headers, { vary: "x" }), TypeError);
});

Deno.test("what one hook set on the response the next one reads", () => {
  const scope = open("beforeRequest");
  scope.ctx.response.setBody({ a: [1] });
  scope.ctx.response.setStatus(201);
  const draft = { response: scope.patch().response } as HookContext["draft"];
  const { response } = open("afterResponse", input({ response: RESPONSE, draft })).ctx;
  assertEquals(response.status, 201);
  assertEquals(response.json(), { a: [1] });
  assertEquals(response.header("content-type"), "application/json");
});

Deno.test("setBody takes text, bytes and JSON, and names what it does not take", () => {
  const body = (value: unknown) => patchOf(({ response }) => response.setBody(value as string));
  assertEquals(body(""), { response: { body: { encoding: "utf8", data: "" } } });
  assertEquals(body(new Uint8Array([0, 255])), {
    response: { body: { encoding: "base64", data: "AP8=" } },
  });
  assertEquals(body([1]), {
    response: {
      body: { encoding: "utf8", data: "[1]" },
      headers: { "content-type": "application/json" },
    },
  });
  for (const wrong of [null, undefined, 1, true, () => {}, Symbol("x")]) {
    assertThrows(() => body(wrong), TypeError, "setBody takes a string, a Uint8Array or a JSON");
  }
  assertThrows(() => body({ big: 1n }), TypeError);
});

Deno.test("setStatus takes numbers that JSON can carry", () => {
  const { response } = open("afterResponse", input({ response: RESPONSE })).ctx;
  for (const [wrong, shown] of [[NaN, "NaN"], ["200", '"200"'], [undefined, "undefined"]]) {
    assertThrows(() => response.setStatus(wrong as number), TypeError, `status is ${shown}, not a`);
  }
  assertEquals(response.status, 200);
});

Deno.test("ctx.user is read, set, changed in place and deleted", () => {
  const ctx = input({ draft: { user: { id: "1", roles: ["a"] } } });
  const patch = (change: (ctx: GatewayContext) => void) => patchOf(change, { ctx });
  assertEquals(patch((ctx) => assertEquals(ctx.user, { id: "1", roles: ["a"] })), {});
  assertEquals(patch((ctx) => ctx.user = { id: "2" }), { user: { id: "2" } });
  assertEquals(patch((ctx) => (ctx.user as { roles: string[] }).roles.push("b")), {
    user: { id: "1", roles: ["a", "b"] },
  });
  for (const nobody of [null, undefined]) {
    assertEquals(patch((ctx) => ctx.user = nobody), { user: null });
  }
  assertEquals(ctx.draft.user as unknown, { id: "1", roles: ["a"] });
});

Deno.test("ctx.state: set, change in place, delete; what is not touched is not sent", () => {
  const ctx = input({ draft: { state: { a: { list: [1] }, b: 2, c: 3, d: "x".repeat(1000) } } });
  const patch = patchOf(({ state }) => {
    (state.a as { list: number[] }).list.push(2);
    state.b = null;
    delete state.c;
    state.e = undefined;
    state.f = { deep: [{}] };
  }, { ctx });
  assertEquals(patch, { state: { a: { list: [1, 2] }, b: null, c: null, f: { deep: [{}] } } });
  assertEquals(ctx.draft.state.a as unknown, { list: [1] });
});

Deno.test("ctx.state takes __proto__ and constructor as keys (attack 26)", () => {
  const patch = patchOf(({ state }) => {
    assertEquals(state.constructor, undefined);
    state["__proto__"] = { polluted: true };
    Object.assign(state, { constructor: "c" });
  });
  assertEquals(
    JSON.stringify(patch),
    '{"state":{"__proto__":{"polluted":true},"constructor":"c"}}',
  );
  assertEquals(({} as Record<string, unknown>).polluted, undefined);
  const ctx = input({ draft: { state: JSON.parse('{"__proto__": {"a": {"__proto__": 1}}}') } });
  assertEquals(patchOf(({ state }) => void (state.b = 1), { ctx }), { state: { b: 1 } });
});

function cyclic(): unknown {
  const parent: Record<string, unknown> = {};
  parent.first = { parent };
  parent.second = { parent };
  return parent;
}

let tooDeep: unknown = [];
for (let level = 0; level < 100; level++) tooDeep = [tooDeep];
let farTooDeep: unknown = [];
for (let level = 0; level < 200_000; level++) farTooDeep = [farTooDeep];

const NO_JSON: readonly [what: string, value: unknown, message: string][] = [
  ["a function", () => {}, "is a function, which is not JSON"],
  ["a symbol", Symbol("x"), "is a symbol, which is not JSON"],
  [
    "a function inside",
    { a() {} },
    "cannot be sent as JSON: a function is not a kind of JSON value",
  ],
  [
    "a symbol inside",
    [Symbol("x")],
    "cannot be sent as JSON: a symbol is not a kind of JSON value",
  ],
  ["a BigInt", 1n, "cannot be sent as JSON: Do not know how to serialize a BigInt"],
  ["a BigInt inside", { a: [1n] }, "cannot be sent as JSON: Do not know how to serialize a BigInt"],
  ["NaN", NaN, "cannot be sent as JSON: NaN is not a number in JSON"],
  ["Infinity inside", [{ a: Infinity }], "cannot be sent as JSON: Infinity is not a number"],
  ["a Map", new Map([[1, 2]]), "cannot be sent as JSON: Map is not a kind of JSON value"],
  ["a Set inside", { a: new Set() }, "cannot be sent as JSON: Set is not a kind of JSON value"],
  ["bytes", new Uint8Array(2), "cannot be sent as JSON: Uint8Array is not a kind of JSON value"],
  [
    "an ArrayBuffer",
    new ArrayBuffer(2),
    "cannot be sent as JSON: ArrayBuffer is not a kind of JSON value",
  ],
  ["an error", new Error("x"), "cannot be sent as JSON: Error is not a kind of JSON value"],
  ["a cycle", cyclic(), "cannot be sent as JSON: Converting circular structure to JSON"],
  ["100 levels", tooDeep, "nests deeper than 64 levels"],
  ["200,000 levels", farTooDeep, "nests deeper than 64 levels"],
];

for (const [what, value, message] of NO_JSON) {
  Deno.test(`${what} in ctx.state or ctx.user is an error that names the place`, () => {
    const inState = assertThrows(
      () => patchOf(({ state }) => void (state["a b"] = value as string)),
      TypeError,
    );
    assert(inState.message.startsWith('ctx.state["a b"] '), inState.message);
    assert(inState.message.includes(message), inState.message);
    const inUser = assertThrows(() => patchOf((ctx) => ctx.user = value as string), TypeError);
    assert(inUser.message.startsWith("ctx.user "), inUser.message);
    assert(inUser.message.includes(message), inUser.message);
  });
}

Deno.test("what a plugin changes after patch() does not reach the patch", () => {
  const scope = open("beforeRequest");
  const shared = { list: [1] };
  scope.ctx.state.a = shared;
  const patch = scope.patch();
  shared.list.push(2);
  assertEquals(JSON.stringify(patch), '{"state":{"a":{"list":[1]}}}');
});

Deno.test("ctx.reject throws, and the first rejection stands", () => {
  const scope = open("beforeRequest");
  assertThrows(
    () => {
      try {
        scope.ctx.reject(401, "no token", { "WWW-Authenticate": "Bearer" });
      } catch (thrown) {
        assert(thrown instanceof Rejection && !(thrown instanceof Error));
        throw new TypeError("stopped here");
      }
    },
    TypeError,
    "stopped here",
  );
  try {
    scope.ctx.reject(403, "second");
  } catch { /* a plugin that swallows it */ }
  const { status, message, headers } = scope.rejection ?? {};
  assertEquals({ status, message, headers: { ...headers } }, {
    status: 401,
    message: "no token",
    headers: { "www-authenticate": "Bearer" },
  });
});

Deno.test("ctx.reject that is called wrongly says so, and refuses all the same", () => {
  const headers = "the headers of ctx.reject are not an object with a value for each name";
  const calls: readonly [call: unknown[], message: string][] = [
    [[NaN, "x"], "status is NaN, not a number"],
    [["401", "x"], 'status is "401", not a number'],
    [[], "status is undefined, not a number"],
    [[401, "x", { "www-authenticate": undefined }], 'the value of "www-authenticate" is undefined'],
    [[401, "x", new Headers({ "www-authenticate": "Bearer" })], headers],
    [[401, "x", [["www-authenticate", "Bearer"]]], headers],
    [[401, "x", "www-authenticate: Bearer"], headers],
    [[401, Object.create(null)], "Cannot convert object to primitive value"],
  ];
  for (const [call, message] of calls) {
    const scope = open("beforeRequest");
    const reject = scope.ctx.reject as unknown as (...call: unknown[]) => void;
    assertThrows(() => reject(...call), TypeError, message);
    assertEquals([scope.rejection?.status, scope.rejection?.headers], [0, {}]);
  }
});

Deno.test("ctx.reject takes no message and no headers for none", () => {
  const scope = open("beforeRequest");
  assertThrows(() => scope.ctx.reject(401, undefined as never, null as never));
  assertEquals({ ...scope.rejection }, {
    status: 401,
    message: "",
    headers: {},
    mistake: undefined,
  });
});

Deno.test("paths, queries and targets are text or what is written as text", () => {
  const scope = open("beforeRequest");
  const { ctx } = scope;
  ctx.upstream.setQuery(new URLSearchParams({ a: "ö" }) as unknown as string);
  assertEquals(scope.patch(), { upstream: { query: "a=%C3%B6" } });
  const nothing = undefined as unknown as string;
  assertThrows(() => ctx.upstream.setPath(nothing), TypeError, "the path is undefined, not text");
  assertThrows(() => ctx.upstream.setQuery(nothing), TypeError, "the query is undefined, not text");
  assertThrows(() => ctx.forward(nothing), TypeError, "the target is undefined, not text");
});

Deno.test("ctx.forward: the last target wins", () => {
  const scope = open("beforeRequest");
  scope.ctx.forward("http://a/");
  scope.ctx.forward(new URL("http://b/x"));
  assertEquals(scope.forward, "http://b/x");
});

Deno.test("after close nothing takes effect", () => {
  const scope = open("beforeRequest");
  const { ctx } = scope;
  scope.close();
  ctx.user = "late";
  ctx.upstream.setPath("/late");
  ctx.upstream.setHeader("x", "late");
  ctx.response.setStatus(500);
  ctx.response.setBody({ late: true });
  ctx.response.appendHeader("x", "late");
  ctx.forward("http://late/");
  assertThrows(() => ctx.reject(401, "late"), TypeError, "is an await missing?");
  assertEquals([scope.rejection, scope.forward, scope.ctx.user], [undefined, undefined, undefined]);
  assertEquals(Object.keys(scope.patch()), []);
});

Deno.test("services and signal are made when they are asked for", () => {
  let made = 0;
  const services = Object.freeze({}) as Services;
  const signal = AbortSignal.abort();
  const { ctx } = new HookScope({
    hook: "beforeRequest",
    input: input(),
    log: () => LOG,
    services: () => (made++, services),
    signal: () => (made++, signal),
  });
  assertEquals(made, 0);
  assertStrictEquals(ctx.services, services);
  assertStrictEquals(ctx.signal, signal);
});
