import { assert, assertEquals } from "@std/assert";
import {
  ask,
  askMany,
  assertAllServed,
  assertPoliced,
  duringLoad,
  errorOf,
  logOf,
  POLICY,
} from "../support/failure.ts";
import { type EchoUpstream, echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, type TestGateway, testGateway } from "../support/gateway.ts";

/** Tells which isolate ran it; does on request what a plugin should not. */
const WILD = `const isolate = crypto.randomUUID();
export default {
  async beforeRequest(ctx) {
    ctx.response.setHeader("x-isolate", isolate);
    switch (ctx.request.path) {
      case "/loop": while (true) {}
      case "/loop-after-await": await new Promise((resolve) => setTimeout(resolve, 5)); while (true) {}
      case "/loop-later": setTimeout(() => { while (true) {} }, 5); return;
      case "/exit": Deno.exit(3);
      case "/close": self.close(); await new Promise(() => {});
      case "/stray-rejection": Promise.reject(new Error("nobody catches this")); return;
      case "/stray-throw": setTimeout(() => { throw new Error("nobody catches this"); }, 0); return;
      case "/wait": await new Promise((resolve) => setTimeout(resolve, 1000)); return;
      // Long enough that the next call goes to another isolate.
      case "/who": await new Promise((resolve) => setTimeout(resolve, 10)); return;
      case "/hold": console.log("held"); for (const until = performance.now() + 1000; performance.now() < until;) {} return;
      case "/busy": for (const until = performance.now() + 25; performance.now() < until;) {} return;
    }
  },
};`;
/** Without `onTimeout: "reject"`: if the gateway took this hook for too slow, its mark would be missing. */
const LENIENT_POLICY = POLICY.replace(`"reject"`, `"continue"`);

function wildGateway(
  upstream: EchoUpstream,
  config: Readonly<Record<string, unknown>> = {},
  plugins: Readonly<Record<string, string>> = {},
): Promise<TestGateway> {
  return testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }], ...config },
    plugins: { "001-policy.ts": LENIENT_POLICY, "002-wild.ts": WILD, ...plugins },
  });
}

/** Asks until as many isolates as the pool has have answered. */
async function untilPoolIsFull(gateway: TestGateway, size: number): Promise<void> {
  const isolates = new Set<string | null>();
  await gateway.until(async () => {
    for (const { headers } of await askMany(gateway, "/who", 4 * size)) {
      isolates.add(headers.get("x-isolate"));
    }
    return isolates.size >= size;
  }, { what: `${size} isolates to answer` });
}

/** Waits until one other host process runs, and that one alone. */
async function untilReplaced(gateway: TestGateway, oldHost: number): Promise<void> {
  await gateway.until(async () => {
    const pids = await gateway.hostPids();
    return pids.length === 1 && !pids.includes(oldHost);
  }, { what: `host ${oldHost} to be gone and one other to run` });
  assertEquals(await isRunning(oldHost), false);
}

const BLOCKS = [
  { path: "/loop", answersAs: "hook timed out; treating as continue" },
  { path: "/loop-after-await", answersAs: "hook timed out; treating as continue" },
  { path: "/loop-later", answersAs: undefined }, // its hook had ended well
];

for (const [at, { path, answersAs }] of BLOCKS.entries()) {
  const pluginPoolSize = 2 + at;
  Deno.test(`failure: a hook blocks its isolate past hardCeilingMs; the isolate is replaced at once, the host renewed, other requests do not notice (${path}, ${pluginPoolSize} isolates)`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await wildGateway(upstream, { pluginPoolSize });
    await untilPoolIsFull(gateway, pluginPoolSize);
    const [oldHost = 0] = await gateway.hostPids();

    const { result: looping, others } = await duringLoad(gateway, async () => {
      const answer = await ask(gateway, path);
      await gateway.waitForLog((line) => line.message === "the plugin host was renewed");
      return answer;
    });
    assertEquals(looping.status, 200);
    assert(looping.durationMs < 3000, `answered after ${looping.durationMs} ms`);
    if (answersAs) await logOf(gateway, looping, answersAs);
    assertAllServed(others);
    assertPoliced(upstream);

    const said = gateway.logs.filter((line) => line.level === "warn").map((line) => line.message);
    assert(said.includes("an isolate is lost; it is replaced"), gateway.describe());
    assert(said.includes("a hook blocked its isolate; the plugin host is renewed"));
    await untilReplaced(gateway, oldHost);
    await untilPoolIsFull(gateway, pluginPoolSize);
  });
}

Deno.test("failure: a hook blocks its isolate past hardCeilingMs; all isolates at once, and what waits is answered by the new ones", async () => {
  await using upstream = echoUpstream();
  await using gateway = await wildGateway(upstream, { onHookTimeout: "reject" });
  await untilPoolIsFull(gateway, 2);
  const [oldHost = 0] = await gateway.hostPids();
  const loops = askMany(gateway, "/loop", 2);
  const others = await askMany(gateway, "/ordinary", 20);
  for (const answer of await loops) assertEquals(errorOf(answer).code, "hook_timeout");
  assertEquals(others.map((each) => each.status), Array(20).fill(200));
  assertPoliced(upstream);
  await untilReplaced(gateway, oldHost);
  await untilPoolIsFull(gateway, 2);
});

Deno.test("failure: a hook blocks its isolate past hardCeilingMs; hooks begun beside it count as timed out, those not begun run elsewhere", async () => {
  await using upstream = echoUpstream();
  await using gateway = await wildGateway(upstream, {
    pluginPoolSize: 1,
    hookTimeoutMs: 1500,
    hardCeilingMs: 1500,
    onHookTimeout: "reject",
  });
  const waiting = ask(gateway, "/wait");
  await ask(gateway, "/first"); // so the hook of /wait has begun
  const loop = ask(gateway, "/loop");
  await new Promise((resolve) => setTimeout(resolve, 200));
  const later = ask(gateway, "/later");
  assertEquals(errorOf(await waiting).code, "hook_timeout");
  assertEquals(errorOf(await loop).code, "hook_timeout");
  assertEquals((await later).status, 200);
  assertEquals(upstream.seen.map((each) => each.target), ["/first", "/later"]);
  assertPoliced(upstream);
});

Deno.test("a queue of busy hooks, each within hookTimeoutMs, is no timeout and no blocked isolate", async () => {
  await using upstream = echoUpstream();
  await using gateway = await wildGateway(upstream, { hookTimeoutMs: 1000, hardCeilingMs: 2000 });
  for (let round = 0; round < 2; round++) {
    const answers = await askMany(gateway, "/busy", 200); // 1250 ms of work for each isolate, or more
    assertEquals(answers.map((each) => each.status), Array(200).fill(200));
  }
  assertPoliced(upstream);
  const noticed = gateway.logs.filter((line) => line.level === "warn");
  assertEquals(noticed, []);
});

Deno.test("failure: a hook blocks its isolate past hardCeilingMs; where hookTimeoutMs is longer, that has to be over first", async () => {
  await using upstream = echoUpstream();
  await using gateway = await wildGateway(upstream, {
    hookTimeoutMs: 1500, // no hardCeilingMs, which is 200 then
    onHookTimeout: "reject",
  });
  assertEquals((await ask(gateway, "/hold")).status, 200); // blocks for a second
  assertEquals((await ask(gateway, "/loop")).status, 503);
  await gateway.waitForLog((line) => line.message === "the plugin host was renewed");
});

for (const path of ["/exit", "/close"]) {
  Deno.test(`failure: an isolate crashes or closes itself; its pending hooks fail by the hook-error rule, it is replaced, host and gateway live (${path})`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await wildGateway(upstream, {
      hookTimeoutMs: 5000,
      hardCeilingMs: 5000,
      pluginPoolSize: 1,
      onHookTimeout: "reject",
    });
    const [host] = await gateway.hostPids();
    const beside = ask(gateway, "/wait");
    await ask(gateway, "/first"); // so the hook of /wait has begun
    for (const answer of await Promise.all([ask(gateway, path), beside])) {
      assertEquals([answer.status, errorOf(answer).code], [500, "plugin_error"]);
      const record = await logOf(gateway, answer, "hook failed; treating as reject");
      assertEquals(record.plugin, "002-wild");
    }
    assertEquals((await ask(gateway, "/after")).status, 200);
    assertEquals(upstream.seen.map((each) => each.target), ["/first", "/after"]);
    assertEquals(await gateway.hostPids(), [host]);
  });
}

Deno.test("failure: an isolate crashes or closes itself; all of them, again and again, and only isolates that have loaded take their place", async () => {
  await using upstream = echoUpstream();
  await using gateway = await wildGateway(upstream, { onHookError: "continue" }, {
    "000-slow-start.ts": `export default {
      onLoad: () => new Promise((resolve) => setTimeout(resolve, Math.random() * 200)),
    };`,
  });
  const hosts = await gateway.hostPids();
  for (const path of ["/exit", "/close", "/exit"]) {
    const crashes = askMany(gateway, path, 2);
    assertAllServed(await askMany(gateway, "/ordinary", 20));
    assertAllServed(await crashes);
    await untilPoolIsFull(gateway, 2);
  }
  assertEquals(await gateway.hostPids(), hosts);
  assertPoliced(upstream);
  assertEquals(gateway.logs.filter((line) => JSON.stringify(line).includes("no plugin")), []);
});

for (const path of ["/stray-rejection", "/stray-throw"]) {
  Deno.test(`failure: a stray error in a plugin ends neither isolate nor host; the log names it (${path})`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await wildGateway(upstream, { pluginPoolSize: 1 });
    const before = await ask(gateway, "/before");
    const answer = await ask(gateway, path);
    assertEquals(answer.status, 200);
    const record = await gateway.waitForLog((line) => / in a plugin$/.test(line.message));
    assert(JSON.stringify(record).includes("nobody catches this"));
    const after = await ask(gateway, "/after");
    assertEquals(after.headers.get("x-isolate"), before.headers.get("x-isolate"));
  });
}

Deno.test("failure: a hook blocks its isolate past hardCeilingMs; requests whose hooks had ended there are answered while it blocks", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      routes: [{ path: "/*", upstream: upstream.url }],
      pluginPoolSize: 1,
      hookTimeoutMs: 4000,
      hardCeilingMs: 5000,
    },
    plugins: { "001-policy.ts": LENIENT_POLICY, "002-wild.ts": WILD },
    env: { CONDUIT_TRACE_IPC: "1" },
  });
  // Behind a hook that holds the isolate they come in order: first the ordinary ones, which end, and then one that blocks.
  const held = ask(gateway, "/hold");
  await gateway.waitForLog((line) => line.message === "plugin host output");
  const ordinary = Array.from({ length: 8 }, () => ask(gateway, "/ordinary"));
  const asked = () => gateway.stderr.split('"path":"/ordinary"').length - 1;
  await gateway.until(() => Promise.resolve(asked() === 8), { what: "all hooks to be asked for" });
  const blocked = ask(gateway, "/loop");
  for (const { status, durationMs } of await Promise.all([held, ...ordinary])) {
    assertEquals(status, 200);
    assert(durationMs < 3000, `answered after ${durationMs} ms`);
  }
  assertEquals((await blocked).status, 200);
  assertPoliced(upstream);
});

Deno.test("a host with a burning thread ends while a request with which its hooks are done waits for its upstream", async () => {
  const arrived = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  await using upstream = echoUpstream({
    async respond({ target }) {
      if (target !== "/held") return undefined;
      arrived.resolve();
      await held.promise;
      return undefined;
    },
  });
  await using gateway = await wildGateway(upstream);
  const [host = 0] = await gateway.hostPids();
  const waiting = ask(gateway, "/held");
  await arrived.promise;
  await ask(gateway, "/loop");
  await gateway.until(async () => !await isRunning(host), {
    what: "the host's end",
    withinMs: 20_000,
  });
  held.resolve();
  assertEquals((await waiting).status, 200);
});
