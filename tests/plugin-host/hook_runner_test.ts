import { assert, assertEquals } from "@std/assert";
import type { HookResult, LogRecord } from "../../protocol/messages.ts";
import type { GatewayContext, Plugin } from "../../plugin-host/mod.ts";
import { input, run, type RunOptions } from "./hook_frame.ts";

/** What the hook came to, without what every result has. */
function decision(result: HookResult): Record<string, unknown> {
  const { type, id, plugin, durationMs, logs: _, ...rest } = result;
  assertEquals([type, id, plugin], ["result", 7, "001-test"]);
  assert(durationMs >= 0);
  return JSON.parse(JSON.stringify(rest));
}

async function before(
  hook: (ctx: GatewayContext) => unknown,
  options: RunOptions = {},
): Promise<HookResult> {
  return await run({ beforeRequest: hook as Plugin["beforeRequest"] }, options);
}

function errorOf(result: HookResult): string {
  assert(result.action === "continue" && result.error, JSON.stringify(result));
  return `${result.error.name}: ${result.error.message}`;
}

function block(ms: number): void {
  for (const startedAt = performance.now(); performance.now() - startedAt < ms;);
}

function expectTimeout(result: HookResult): void {
  assertEquals(decision(result), { action: "continue", timedOut: true });
}

Deno.test("a hook that changes nothing, or is not there, is a plain continue", async () => {
  assertEquals(decision(await before(() => {})), { action: "continue" });
  assertEquals(decision(await before(async () => {})), { action: "continue" });
  assertEquals(decision(await run({})), { action: "continue" });
});

Deno.test("a hook that changes something is a modify with exactly that", async () => {
  const result = await before((ctx) => {
    ctx.user = { id: 1 };
    ctx.upstream.setHeader("X-User", "1");
  });
  assertEquals(decision(result), {
    action: "modify",
    patch: { user: { id: 1 }, upstream: { headers: { "x-user": "1" } } },
  });
});

Deno.test("afterResponse sees the answer and the state of beforeRequest", async () => {
  const ctx = input({
    response: { status: 201, headers: { a: "1" }, body: { kind: "none" } },
    draft: { state: { startedAt: 5 } },
  });
  const plugin: Plugin = {
    beforeRequest: () => {
      throw new Error("the wrong hook");
    },
    afterResponse({ response, state }) {
      response.setHeader("x-seen", `${response.status} ${response.header("a")} ${state.startedAt}`);
    },
  };
  assertEquals(decision(await run(plugin, { hook: "afterResponse", ctx })), {
    action: "modify",
    patch: { response: { headers: { "x-seen": "201 1 5" } } },
  });
});

Deno.test("hooks are methods: `this` is the plugin", async () => {
  const plugin = {
    name: "this plugin",
    beforeRequest(ctx: GatewayContext) {
      ctx.user = this.name;
    },
  };
  assertEquals(decision(await run(plugin)), { action: "modify", patch: { user: "this plugin" } });
});

Deno.test("reject ends the hook, keeps its patch, and does not call onError", async () => {
  let onError = 0;
  const result = await run({
    beforeRequest(ctx) {
      ctx.state.tried = true;
      ctx.reject(401, "no token", { "WWW-Authenticate": "Bearer" });
      ctx.state.unreachable = true;
    },
    onError: () => void onError++,
  });
  assertEquals(decision(result), {
    action: "reject",
    status: 401,
    message: "no token",
    headers: { "www-authenticate": "Bearer" },
    patch: { state: { tried: true } },
  });
  assertEquals(onError, 0);
});

Deno.test("a rejection stands that the plugin caught, threw over, or forwarded after", async () => {
  const refused = { action: "reject", status: 403, message: "no", headers: {} };
  const attempt = (ctx: GatewayContext) => {
    try {
      ctx.reject(403, "no");
    } catch { /* swallowed */ }
  };
  const hooks: ((ctx: GatewayContext) => unknown)[] = [
    attempt,
    async (ctx) => {
      await Promise.resolve();
      attempt(ctx);
    },
    (ctx) => {
      attempt(ctx);
      throw new Error("something else");
    },
    (ctx) => {
      attempt(ctx);
      ctx.forward("http://elsewhere/");
    },
    (ctx) => {
      attempt(ctx);
      Object.assign(ctx.state, { noJson: 1n });
    },
  ];
  for (const hook of hooks) assertEquals(decision(await before(hook)), refused);
});

Deno.test("a rejection made in time stands also when the hook then takes too long", async () => {
  const result = await before(async (ctx) => {
    try {
      ctx.reject(403, "no");
    } catch { /* swallowed */ }
    await new Promise(() => {});
  }, { timeoutMs: 20 });
  assertEquals(decision(result), { action: "reject", status: 403, message: "no", headers: {} });
});

Deno.test("reject that is called wrongly is a rejection with an impossible status and the mistake, also if that is caught", async () => {
  const calls: readonly ((ctx: GatewayContext) => void)[] = [
    (ctx) => ctx.reject(NaN, "x"),
    (ctx) => {
      try {
        ctx.reject(NaN, "x");
      } catch { /* swallowed */ }
    },
  ];
  for (const call of calls) {
    const { error, ...rest } = decision(await before(call));
    assertEquals(rest, { action: "reject", status: 0, message: "", headers: {} });
    const { name, message } = error as Record<string, string>;
    assertEquals(`${name}: ${message}`, "TypeError: status is NaN, not a number");
  }
});

Deno.test("forward: the last target wins, and the patch goes with it", async () => {
  const result = await before((ctx) => {
    ctx.forward("http://a/");
    ctx.state.beta = true;
    ctx.forward(new URL("http://b/x"));
  });
  assertEquals(decision(result), {
    action: "forward",
    url: "http://b/x",
    patch: { state: { beta: true } },
  });
});

Deno.test("forward in afterResponse is a hook error that says so", async () => {
  const plugin: Plugin = { afterResponse: (ctx) => ctx.forward("http://a/") };
  assertEquals(
    errorOf(await run(plugin, { hook: "afterResponse" })),
    "TypeError: ctx.forward works in beforeRequest only",
  );
});

Deno.test("a hook that returns a Response has failed, as nobody gets that answer; whatever else it returns is ignored", async () => {
  const error =
    "TypeError: the hook returned a Response, which nobody gets; call ctx.reject to answer";
  const answer = () => new Response("no", { status: 403 });
  const sent = (ctx: GatewayContext) => void ctx.upstream.setHeader("x-a", "1");
  assertEquals(errorOf(await before((ctx) => (sent(ctx), answer()))), error);
  assertEquals(errorOf(await before(() => Promise.resolve(answer()))), error);
  const refused = await before((ctx) => {
    try {
      ctx.reject(401, "no");
    } catch {
      return answer();
    }
  });
  assertEquals(refused.action, "reject");
  for (const other of [false, 0, { status: 403 }, new Proxy({}, {}), [], () => answer()]) {
    assertEquals(decision(await before(() => other)), { action: "continue" });
    assertEquals(decision(await before(() => Promise.resolve(other))), { action: "continue" });
  }
});

Deno.test("what a hook may not do says what would allow it, and not which flag of Deno", async () => {
  const refused = (message: string) =>
    before(() => {
      throw new Deno.errors.NotCapable(
        `${message}, run again with the --allow-${message.split(" ")[1]} flag`,
      );
    });
  for (
    const [message, remedy] of [
      ['Requires net access to "a.test:80"', 'name the host in "pluginNet"'],
      ['Requires env access to "A"', 'name the variable in "pluginEnv"'],
      ['Requires read access to "/a"', "plugins read nothing but their own folder"],
      ['Requires run access to "sh"', "plugins are not allowed that"],
    ] as const
  ) {
    assertEquals(errorOf(await refused(message)), `NotCapable: ${message}; ${remedy}`);
  }
});

Deno.test("what a hook throws comes with name, message and stack", async () => {
  const result = await before(() => {
    throw new RangeError("boom");
  });
  assertEquals(errorOf(result), "RangeError: boom");
  assert(result.action === "continue" && result.error?.stack?.includes("hook_runner_test.ts:"));
  assertEquals(errorOf(await before(() => Promise.reject("text"))), "Error: text");
  assertEquals(errorOf(await before(() => Promise.reject(undefined))), "Error: undefined");
});

Deno.test("runHook does not throw, whatever a plugin throws", async () => {
  const unshowable = "Error: a value that cannot be shown";
  const hostile = [
    Object.create(null),
    Object.defineProperty(new Error("x"), "message", {
      get: () => {
        throw new Error("in a getter");
      },
    }),
    { toString: () => ({}) },
    new Proxy(new Error("x"), {
      getPrototypeOf() {
        throw new Error("in a trap");
      },
    }),
  ];
  for (const thrown of hostile) {
    assertEquals(errorOf(await before(() => Promise.reject(thrown))), unshowable);
    const alsoInOnError = await run({
      beforeRequest: () => Promise.reject(thrown),
      onError: () => Promise.reject(thrown),
    });
    assertEquals(errorOf(alsoInOnError), unshowable);
  }
  assertEquals(errorOf(await before(() => Promise.reject(Symbol("s")))), "Error: Symbol(s)");
});

Deno.test("a hook that throws loses its patch", async () => {
  const result = await before((ctx) => {
    ctx.user = "x";
    ctx.forward("http://a/");
    throw new Error("boom");
  });
  assertEquals(errorOf(result), "Error: boom");
  assertEquals(Object.keys(decision(result)).sort(), ["action", "error"]);
});

Deno.test("onError is called once, with the error and the ctx; what it changes has no effect", async () => {
  const boom = new Error("boom");
  const calls: unknown[] = [];
  const result = await run({
    beforeRequest() {
      throw boom;
    },
    async onError(error, ctx) {
      await Promise.resolve();
      calls.push(error, ctx.request.path);
      ctx.log.error("told", { error });
      ctx.user = "from onError";
      ctx.reject(418, "no effect");
    },
  });
  assertEquals(errorOf(result), "Error: boom");
  assertEquals(Object.keys(decision(result)).sort(), ["action", "error"]);
  assert(calls[0] === boom && calls[1] === "/users" && calls.length === 2);
  assertEquals(result.logs?.map((each) => [each.level, each.message]), [["error", "told"]]);
});

Deno.test("no JSON in state or user is a hook error, and onError hears of it", async () => {
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  const values: [unknown, RegExp][] = [
    [() => {}, /^TypeError: ctx\.state\["x"\] is a function, which is not JSON$/],
    [cycle, /^TypeError: ctx\.state\["x"\] cannot be sent as JSON: Converting circular structure/],
    [1n, /^TypeError: ctx\.state\["x"\] cannot be sent as JSON: .*BigInt$/],
  ];
  for (const [value, message] of values) {
    const heard: unknown[] = [];
    const result = await run({
      beforeRequest: (ctx) => void Object.assign(ctx.state, { x: value }),
      onError: (error) => void heard.push(error),
    });
    assert(message.test(errorOf(result)), errorOf(result));
    assertEquals(heard.length, 1);
  }
});

Deno.test("onError that throws is logged, and the first error is the one that counts", async () => {
  const result = await run({
    beforeRequest() {
      throw new Error("first");
    },
    onError() {
      throw new Error("second");
    },
  });
  assertEquals(errorOf(result), "Error: first");
  const [record] = result.logs ?? [];
  assertEquals(record?.message, "onError failed");
  assertEquals((record?.fields?.error as { message: string }).message, "second");
});

Deno.test("onError has what is left of the hook's time", async () => {
  const result = await run({
    beforeRequest() {
      throw new Error("first");
    },
    onError: () => new Promise(() => {}),
  }, { timeoutMs: 20 });
  assertEquals(errorOf(result), "Error: first");
  assertEquals(result.logs, undefined);
});

Deno.test("an async hook that takes too long is timed out at its limit, with no patch", async () => {
  let onError = 0;
  const result = await run({
    async beforeRequest(ctx) {
      ctx.user = "lost";
      await new Promise(() => {});
    },
    onError: () => void onError++,
  }, { timeoutMs: 30 });
  expectTimeout(result);
  assert(result.durationMs >= 29 && result.durationMs < 1500, `${result.durationMs} ms`);
  assertEquals(onError, 0);
});

Deno.test("a sync hook that blocks longer than its time is timed out, with no patch", async () => {
  const result = await before((ctx) => {
    ctx.user = "lost";
    block(40);
  }, { timeoutMs: 20 });
  expectTimeout(result);
  assert(result.durationMs >= 40);
  const late = before(async (ctx) => {
    await Promise.resolve();
    ctx.user = "lost";
    block(40);
  }, { timeoutMs: 20 });
  expectTimeout(await late);
});

Deno.test("what a hook sets after its time is dropped; what it logs goes out by itself", async () => {
  const records: LogRecord[] = [];
  const ended = Promise.withResolvers<void>();
  const deadline = Promise.withResolvers<void>();
  const result = await before(async (ctx) => {
    ctx.log.info("in time");
    await deadline.promise;
    ctx.user = "late";
    assertEquals(ctx.user, undefined);
    ctx.upstream.setHeader("x", "late");
    ctx.log.warn("late", { n: 1 });
    ended.resolve();
    ctx.reject(401, "late");
  }, { timeoutMs: 20, lateLog: (record, frame) => records.push(record) && assert(frame.id === 7) });
  expectTimeout(result);
  deadline.resolve();
  await ended.promise;
  expectTimeout(result);
  assertEquals(result.logs, [{ level: "info", message: "in time" }]);
  assertEquals(records.map((each) => JSON.stringify(each)), [
    '{"level":"warn","message":"late","fields":{"n":1}}',
  ]);
});

Deno.test("a rejection after the result is no unhandled one", async () => {
  const fail = Promise.withResolvers<void>();
  expectTimeout(await before(() => fail.promise, { timeoutMs: 10 }));
  fail.reject(new Error("late"));
  await new Promise((resolve) => setTimeout(resolve, 0));
});

Deno.test("thenables are awaited: objects, functions, and ones that never settle", async () => {
  const setsUser = (ctx: GatewayContext) => ({
    then(resolve: () => void) {
      ctx.user = "then";
      resolve();
    },
  });
  const expected = { action: "modify", patch: { user: "then" } };
  assertEquals(decision(await before(setsUser)), expected);
  const callable = (ctx: GatewayContext) => Object.assign(() => {}, setsUser(ctx));
  assertEquals(decision(await before(callable)), expected);
  assertEquals(decision(await before(() => ({ then: "no function" }))), { action: "continue" });
  assertEquals(
    errorOf(
      await before(() => ({ then: (_: unknown, no: (e: Error) => void) => no(new Error("x")) })),
    ),
    "Error: x",
  );
  expectTimeout(await before(() => ({ then() {} }), { timeoutMs: 10 }));
});

Deno.test("ctx.signal aborts at the deadline, also when asked for late", async () => {
  let signal: AbortSignal | undefined;
  const aborted = Promise.withResolvers<number>();
  const startedAt = performance.now();
  await before((ctx) => {
    signal = ctx.signal;
    assert(signal === ctx.signal && !signal.aborted);
    signal.onabort = () => aborted.resolve(performance.now() - startedAt);
  }, { timeoutMs: 50 });
  // AbortSignal.timeout does not keep the process alive by itself.
  const alive = setTimeout(() => aborted.reject(new Error("ctx.signal did not abort")), 5000);
  const afterMs = await aborted.promise;
  clearTimeout(alive);
  assert(afterMs >= 48 && afterMs < 2000, `${afterMs} ms`);
});

Deno.test("log records come in order, with fields made JSON whatever they are", async () => {
  const cycle: Record<string, unknown> = Object.create(null);
  cycle.self = cycle;
  const result = await before((ctx) => {
    ctx.log.debug("d");
    ctx.log.info("i", {});
    ctx.log.warn("w", { n: 1, list: [undefined], gone: undefined });
    ctx.log.error("e", { error: new RangeError("boom"), cycle, big: 1n, f: Symbol("s") });
    ctx.log.info(5 as unknown as string, { ["__proto__"]: "x" });
  });
  const [d, i, w, e, last] = result.logs ?? [];
  assertEquals([d, i].map((each) => JSON.stringify(each)), [
    '{"level":"debug","message":"d"}',
    '{"level":"info","message":"i","fields":{}}',
  ]);
  assertEquals(JSON.stringify(w?.fields), '{"n":1,"list":[null],"gone":null}');
  const { error, ...others } = e?.fields ?? {};
  const { name, message, stack } = error as Record<string, string>;
  assertEquals([name, message, stack?.startsWith("RangeError: boom\n")], [
    "RangeError",
    "boom",
    true,
  ]);
  assertEquals({ ...others }, { cycle: "a value that cannot be shown", big: "1", f: "Symbol(s)" });
  assertEquals(JSON.stringify(last), '{"level":"info","message":"5","fields":{"__proto__":"x"}}');
});

Deno.test("a log call that its types forbid loses nothing and fails no hook", async () => {
  const headers = Object.assign(Object.create(null), { accept: "text/html" });
  const trap = new Proxy({}, {
    ownKeys() {
      throw new Error("in a trap");
    },
  });
  const result = await before(({ log }) => {
    const info = log.info as (...args: unknown[]) => void;
    info(headers);
    info("failed", new RangeError("boom"));
    info(new RangeError("boom"));
    info("user", "alice");
    info("users", ["alice"]);
    info("trap", trap);
    info(trap);
    info("inside", { list: [new RangeError("boom")], seen: new Map([["a", NaN]]) });
  });
  assertEquals(result.action, "continue");
  const stackless = JSON.parse(
    JSON.stringify(
      result.logs ?? [],
      (key, value) => key === "stack" || key === "level" ? undefined : value,
    ),
  );
  const boom = { name: "RangeError", message: "boom" };
  assertEquals(stackless, [
    { message: '{"accept":"text/html"}' },
    { message: "failed", fields: { error: boom } },
    { message: "RangeError: boom", fields: { error: boom } },
    { message: "user", fields: { value: "alice" } },
    { message: "users", fields: { value: ["alice"] } },
    { message: "trap", fields: { value: "[object Object]" } },
    { message: "[object Object]" },
    { message: "inside", fields: { list: [boom], seen: [["a", "NaN"]] } },
  ]);
});

Deno.test("the 201st log record of a hook says that the rest is dropped", async () => {
  const result = await before((ctx) => {
    for (let n = 0; n < 1000; n++) ctx.log.info(`record ${n}`);
  });
  assertEquals(result.logs?.length, 201);
  assertEquals(result.logs?.[199]?.message, "record 199");
  assertEquals(result.logs?.[200], {
    level: "warn",
    message: "more than 200 log records in one hook; the rest is dropped",
  });
});

Deno.test("what a hook logs after its result counts among its 200 records", async () => {
  const late: LogRecord[] = [];
  const ended = Promise.withResolvers<void>();
  const result = await before(async (ctx) => {
    for (let n = 0; n < 150; n++) ctx.log.info(`record ${n}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
    for (let n = 150; n < 1000; n++) ctx.log.info(`record ${n}`);
    ended.resolve();
  }, { timeoutMs: 10, lateLog: (record) => late.push(record) });
  await ended.promise;
  assertEquals([result.logs?.length, late.length], [150, 51]);
  assertEquals(late.slice(-2).map(({ message }) => message), [
    "record 199",
    "more than 200 log records in one hook; the rest is dropped",
  ]);
});

Deno.test("ctx.services.http sets the trace headers and stops at the hook's deadline", async () => {
  const never = Promise.withResolvers<Response>();
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
    if (new URL(request.url).pathname === "/slow") return never.promise;
    return new Response(request.headers.get("x-request-id"));
  });
  const base = `http://127.0.0.1:${server.addr.port}`;
  const result = await before(async (ctx) => {
    const response = await ctx.services.http.fetch(base, { headers: { "x-request-id": "forged" } });
    ctx.user = await response.text();
  });
  assertEquals(decision(result), { action: "modify", patch: { user: "t1" } });

  const failed = Promise.withResolvers<unknown>();
  expectTimeout(
    await before(async (ctx) => {
      await ctx.services.http.fetch(`${base}/slow`).catch(failed.resolve);
      await new Promise(() => {});
    }, { timeoutMs: 50 }),
  );
  assertEquals((await failed.promise as Error).name, "TimeoutError");
  never.resolve(new Response());
});

Deno.test("ctx.services.cache carries each call out with plain JSON", async () => {
  const result = await before(async ({ services: { cache }, state }) => {
    state.get = await cache.get("k");
    const values = [
      await cache.set("k", { at: new Date(0) } as never, { ttlSeconds: 5 }),
      await cache.delete("k"),
      await cache.expire("k", 5),
    ];
    state.values = values;
  });
  assertEquals(decision(result), {
    action: "modify",
    patch: { state: { get: ["get", "k"], values: [false, false, false] } },
  });
});
