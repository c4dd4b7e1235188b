import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import { createTestContext, loadPlugin, runHook, type TestContextOptions } from "conduit/testing";
import type { GatewayContext, Plugin } from "conduit/plugin";
import { testCacheConformance } from "../gateway/cache_conformance.ts";
import { ROOT } from "../support/gateway.ts";

/** Runs `act` as a `beforeRequest`. */
function before(
  act: (ctx: GatewayContext) => void | Promise<void>,
  options: TestContextOptions = {},
) {
  return runHook({ beforeRequest: act }, "beforeRequest", createTestContext(options));
}

/** What `read` gives inside a hook. */
async function inHook<T>(
  read: (ctx: GatewayContext) => T | Promise<T>,
  options: TestContextOptions = {},
): Promise<T> {
  let value: T | undefined;
  const { error } = await before(async (ctx) => {
    value = await read(ctx);
  }, options);
  if (error) throw new Error(error.message);
  return value as T;
}

Deno.test("a context shows the request as hooks see it: canonical path, lower-case names, repeated fields, body", async () => {
  const options: TestContextOptions = {
    method: "POST",
    path: "/a//b/../%63?x=1",
    headers: { "X-One": "1", "Accept": ["a", "b"], "accept": "c", "x-none": [] },
    body: { items: [1] },
    user: { id: "alice" },
    state: { a: [1] },
  };
  const { request, user, state } = await inHook((ctx) => ctx, options);
  assertEquals([request.method, request.path, request.query], ["POST", "/a/c", "x=1"]);
  assertEquals([request.header("X-ONE"), request.header("x-none")], ["1", undefined]);
  assertEquals(request.headerValues("accept"), ["a", "b", "c"]);
  assertEquals(request.json(), { items: [1] });
  assertEquals(request.header("content-type"), "application/json");
  assertEquals([user, { ...state }], [{ id: "alice" }, { a: [1] }]);
  assertThrows(() => createTestContext({ path: "/%zz" }), Error, "malformed percent escape");
});

Deno.test("a body is bytes, text, JSON, or a reference: by itself where it is over the inline limit", async () => {
  const kind = (body: TestContextOptions["body"]) =>
    inHook(({ request }) => ({ ...request.body }), { body });
  assertEquals(await kind(undefined), { kind: "none" });
  assertEquals(await kind("é"), { kind: "inline", sizeBytes: 2 });
  assertEquals(await kind(new Uint8Array(65_536)), { kind: "inline", sizeBytes: 65_536 });
  const large = { kind: "reference", ref: "stream://1", sizeBytes: 65_537 } as const;
  assertEquals(await kind("x".repeat(65_537)), large);
  assertEquals(await kind({ reference: 65_537 }), large);
  assertEquals(await kind({ reference: "unknown" }), { kind: "reference", ref: "stream://1" });
  assertEquals(await kind({ reference: "a book" }), { kind: "inline", sizeBytes: 22 });
  await assertRejects(() => inHook(({ request }) => request.text(), { body: { reference: 9 } }));
});

Deno.test("a plugin that says readsBodies: false is shown none, and a reference as where no other plugin reads them", async () => {
  const plugin: Plugin = {
    readsBodies: false,
    beforeRequest(ctx) {
      assertEquals({ ...ctx.request.body }, {
        kind: "reference",
        ref: "stream://1",
        sizeBytes: 1,
      });
      ctx.request.text();
    },
    afterResponse: (ctx) => void ctx.response.text(),
  };
  const ctx = createTestContext({ body: "a", response: { body: "b" } });
  for (const hook of ["beforeRequest", "afterResponse"] as const) {
    const { action, error } = await runHook(plugin, hook, ctx);
    assertEquals(action, "error");
    assertMatch(error?.message ?? "", /readsBodies: false/);
  }
});

Deno.test("a plugin is shown the headers that it says it reads, and fails where it reads another one", async () => {
  const headers = { authorization: "x", cookie: "a=1", "x-list": "a, b" };
  const reading = async (read: (request: GatewayContext["request"]) => unknown) => {
    let seen: unknown;
    const plugin: Plugin = {
      readsHeaders: ["Authorization", "x-absent"],
      beforeRequest: (ctx) => void (seen = read(ctx.request)),
    };
    const { error } = await runHook(plugin, "beforeRequest", createTestContext({ headers }));
    return error?.message ?? seen;
  };
  assertEquals(await reading((request) => ({ ...request.headers })), { authorization: "x" });
  assertEquals(await reading(({ headers }) => JSON.stringify(headers)), '{"authorization":"x"}');
  assertEquals(await reading(({ headers }) => [headers["x-absent"], "cookie" in headers]), [
    undefined,
    false,
  ]);
  assertEquals(await reading((request) => request.header("AUTHORIZATION")), "x");
  const refusal =
    'the header "cookie" was not sent to this hook, since its plugin does not name it in readsHeaders';
  assertEquals(await reading(({ headers }) => headers.cookie), refusal);
  assertEquals(await reading((request) => request.header("Cookie")), refusal);
  assertEquals(await reading((request) => request.headerValues("cookie")), refusal);
  assertEquals(await reading(({ headers }) => Object.isFrozen(headers)), true);
});

Deno.test("hooks that run on one context see what the earlier ones set, in both phases", async () => {
  const ctx = createTestContext({ headers: { authorization: "x" }, response: { status: 404 } });
  const first: Plugin = {
    beforeRequest(ctx) {
      ctx.user = { id: "alice" };
      ctx.state.seen = 1;
      ctx.upstream.setHeader("X-User", "alice");
      ctx.upstream.deleteHeader("authorization");
      ctx.response.appendHeader("vary", "x-user");
      ctx.forward("http://beta.test/");
    },
  };
  const second: Plugin = {
    beforeRequest: (ctx) => ctx.upstream.appendHeader("x-user", `again ${ctx.state.seen}`),
    afterResponse: (ctx) => ctx.response.setBody({ was: ctx.response.status ?? 0 }),
  };
  const one = await runHook(first, "beforeRequest", ctx);
  assertEquals([one.action, one.forwarded], ["forward", "http://beta.test/"]);
  assertEquals([one.user, one.state], [{ id: "alice" }, { seen: 1 }]);
  assertEquals(one.upstreamHeaders, { "x-user": "alice" });
  assertEquals(one.response, undefined);
  const two = await runHook(second, "beforeRequest", ctx);
  assertEquals(two.patch, { upstream: { headers: { "x-user": ["alice", "again 1"] } } });
  assertEquals(two.forwarded, "http://beta.test/");
  const { response } = await runHook(second, "afterResponse", ctx);
  assertEquals(response, {
    status: 404,
    headers: { vary: ["x-user"], "content-type": "application/json" },
    body: '{"was":404}',
  });
});

Deno.test("a rejection is the client's answer, and no hook runs after it", async () => {
  const ctx = createTestContext();
  const plugin: Plugin = {
    beforeRequest(ctx) {
      ctx.response.setHeader("x-policy", "strict");
      ctx.reject(401, "who are you", { "WWW-Authenticate": "Bearer" });
    },
  };
  const { action, rejected, response } = await runHook(plugin, "beforeRequest", ctx);
  assertEquals(action, "reject");
  const headers = { "www-authenticate": "Bearer" };
  assertEquals(rejected, { status: 401, message: "who are you", headers });
  assertEquals(response, {
    status: 401,
    headers: { "content-type": "application/json", "x-policy": "strict", ...headers },
    body: '{"error":{"code":"rejected","message":"who are you","traceId":"test"}}',
  });
  await assertRejects(() => runHook(plugin, "beforeRequest", ctx), Error, "make a new context");
});

Deno.test("what a hook throws and a time that is over are told, and nothing of the hook stands", async () => {
  const thrown = await before((ctx) => {
    ctx.upstream.setHeader("x-a", "1");
    throw new RangeError("not today");
  });
  assertEquals([thrown.action, thrown.error?.name, thrown.error?.message], [
    "error",
    "RangeError",
    "not today",
  ]);
  assertEquals([thrown.patch, thrown.upstreamHeaders], [{}, {}]);
  const late = await before(async (ctx) => {
    ctx.upstream.setHeader("x-a", "1");
    await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
  }, { timeoutMs: 5 });
  assertEquals([late.action, late.upstreamHeaders], ["timed_out", {}]);
});

Deno.test("a hook that is not there and what is no plugin are mistakes of the test", async () => {
  await assertRejects(
    () => runHook({}, "beforeRequest", createTestContext()),
    TypeError,
    'the plugin has no "beforeRequest"',
  );
  const misspelt = { beforeReqest() {} } as Plugin;
  await assertRejects(
    () => runHook(misspelt, "beforeRequest", createTestContext()),
    Error,
    '"beforeReqest" is not a member of a plugin',
  );
  await assertRejects(() => loadPlugin(misspelt), Error, '"beforeReqest" is not a member');
});

Deno.test("onLoad gets configuration, environment, services and a log", async () => {
  const config = { a: [1] };
  let seen: unknown;
  const logs = await loadPlugin({
    async onLoad(init) {
      init.log.info("loaded", { n: 1 });
      seen = [init.config, init.config === config, init.env, await init.services.cache.get("k")];
    },
  }, { config, env: { A: "b" }, ctx: createTestContext({ cache: { k: "v" } }) });
  assertEquals(seen, [config, false, { A: "b" }, "v"]);
  assertEquals(logs, [{ level: "info", message: "loaded", fields: { n: 1 } }]);
});

Deno.test("the network answers what the test says, with the trace headers, and refuses the rest as a host does that is not allowed", async () => {
  const get = (url: string, http: TestContextOptions["http"]) =>
    inHook(async (ctx) => await (await ctx.services.http.fetch(url)).text(), { http });
  const map = {
    "http://users.test/a": new Response("a"),
    "http://users.test/id": (request: Request) =>
      new Response(request.headers.get("x-request-id") + new URL(request.url).search),
  };
  assertEquals(await get("http://users.test/a", map), "a");
  assertEquals(await get("http://users.test/a", map), "a", "a response answers more than once");
  assertEquals(await get("http://users.test/id?x=1", map), "test?x=1");
  assertEquals(await get("http://x.test/y", ({ url }) => new Response(url)), "http://x.test/y");
  const refusal = 'other.test:81 is not a host that plugins may reach; name it in "pluginNet"';
  for (const http of [undefined, map, () => undefined]) {
    await assertRejects(() => get("http://other.test:81/", http), Error, refusal);
  }
});

Deno.test("a request to a network that hangs ends with the hook's time", async () => {
  const { action } = await before(
    async (ctx) => void await ctx.services.http.fetch("http://slow.test/"),
    { timeoutMs: 5, http: () => new Promise(() => {}) },
  );
  assertEquals(action, "timed_out");
});

Deno.test("the cache has times to live by a clock that can be set, and is shared where a test says so", async () => {
  const first = createTestContext({ cache: { session: "alice" } });
  const { cache, clock } = first;
  const second = createTestContext({ cache });
  assert(second.clock === clock);
  assert(await cache.set("nonce", 1, { ttlSeconds: 60, onlyIfAbsent: true }));
  clock.advance(59.9);
  const use: Plugin = {
    async beforeRequest(ctx) {
      ctx.state.fresh = await ctx.services.cache.set("nonce", 2, { onlyIfAbsent: true });
      ctx.state.session = await ctx.services.cache.get("session");
    },
  };
  assertEquals((await runHook(use, "beforeRequest", second)).state, {
    fresh: false,
    session: "alice",
  });
  clock.advance(0.1);
  assertEquals((await runHook(use, "beforeRequest", first)).state.fresh, true);
});

testCacheConformance({
  name: "conduit/testing",
  open() {
    const { cache, clock } = createTestContext();
    return Promise.resolve({
      cache,
      pass: (seconds) => Promise.resolve(clock.advance(seconds)),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  },
});

Deno.test("a cache that is down rejects each call", async () => {
  const { error } = await before(async (ctx) => void await ctx.services.cache.get("k"), {
    cache: "down",
  });
  assertEquals(error?.message, "the cache is not reachable");
});

Deno.test("Date follows a clock that was set while a hook or onLoad runs, and only then", async () => {
  const ctx = createTestContext();
  const read: Plugin = {
    onLoad: (init) => init.log.info(new Date().toISOString()),
    async beforeRequest(ctx) {
      const began = Date.now();
      await Promise.resolve();
      const date = new Date();
      ctx.state.seen = [began, date.getTime(), date instanceof Date, new Date(5).getTime()];
      ctx.state.text = Date();
    },
  };
  const at = Date.parse("2031-05-06T07:08:09Z");
  const real = await runHook(read, "beforeRequest", ctx);
  assert(Math.abs(Number((real.state.seen as number[])[0]) - Date.now()) < 60_000);
  ctx.clock.set("2031-05-06T07:08:09Z");
  const [once, twice] = await Promise.all([1, 2].map(() => runHook(read, "beforeRequest", ctx)));
  assertEquals(once?.state.seen, [at, at, true, 5]);
  assertEquals(twice?.state.seen, [at, at, true, 5]);
  assertMatch(String(once?.state.text), /May 06 2031/);
  const [record] = await loadPlugin(read, { ctx });
  assertEquals(record?.message, "2031-05-06T07:08:09.000Z");
  assert(Date.now() < at && new Date().getFullYear() < 2031);
  assertThrows(() => ctx.clock.set("tomorrow"), TypeError, '"tomorrow" is not a date');
});

Deno.test("the client's body is told where it is shown to hooks or was set by one", async () => {
  const look: Plugin = { afterResponse: (ctx) => ctx.response.setHeader("x-seen", "1") };
  const replace: Plugin = { afterResponse: (ctx) => ctx.response.setBody("short") };
  const ctx = createTestContext({ response: { body: { reference: 9 } } });
  assertEquals((await runHook(look, "afterResponse", ctx)).response?.body, undefined);
  assertEquals((await runHook(replace, "afterResponse", ctx)).response?.body, "short");
});

Deno.test("CORS fields are denied, unless the configuration leaves CORS to others", async () => {
  const act = (ctx: GatewayContext) => ctx.response.setHeader("access-control-max-age", "1");
  const [denial] = (await before(act)).denied;
  assertEquals(denial?.what, 'response header "access-control-max-age"');
  assertEquals((await before(act, { cors: "passthrough" })).denied, []);
});

Deno.test("a test that uses conduit/testing needs no permission and only relative imports", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      join(dir, "own_test.ts"),
      `import { createTestContext, runHook } from ${
        JSON.stringify(toFileUrl(join(ROOT, "plugin-host/testing.ts")).href)
      };
       Deno.test("own", async () => {
         const plugin = { async beforeRequest(ctx) { await ctx.services.cache.get("k"); ctx.signal; } };
         const { action } = await runHook(plugin, "beforeRequest", createTestContext());
         if (action !== "continue") throw new Error(action);
       });`,
    );
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "test",
        "--no-config",
        "--no-lock",
        "--no-remote",
        "--no-npm",
        "--no-prompt",
        "--no-check",
        "own_test.ts",
      ],
      cwd: dir,
    }).output();
    const text = new TextDecoder();
    assertEquals(code, 0, text.decode(stdout) + text.decode(stderr));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
