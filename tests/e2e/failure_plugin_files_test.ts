import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  ask,
  assertAllServed,
  assertPoliced,
  duringLoad,
  errorOf,
  hostProgram,
  kill,
  POLICY,
} from "../support/failure.ts";
import { type EchoUpstream, echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, type TestGateway, testGateway } from "../support/gateway.ts";

const FILE = "002-version.ts";

/** A plugin that names its version in the response; `extra` stands at the top level, on line 2. */
function version(name: string, extra = ""): string {
  return `const version = "${name}";
${extra}
export default { afterResponse(ctx) { ctx.response.setHeader("x-version", version); } };`;
}

/** Files that do not load, and what the log has to say of each. */
const BROKEN: readonly { readonly what: string; readonly source: string; readonly says: RegExp }[] =
  [
    {
      what: "a syntax error",
      source: version("broken", "let = = 1;"),
      says: /^002-version\.ts:2:\d+: .*(expected|Unexpected)/i,
    },
    {
      what: "a throw at the top level",
      source: version("broken", `throw new RangeError("not today");`),
      says: /^002-version\.ts:2:\d+: .*RangeError: not today/,
    },
    {
      what: "no default export",
      source: `export const afterResponse = () => {};`,
      says: /^002-version\.ts: has no default export/,
    },
    {
      what: "a hook that is no function",
      source: `export default { afterResponse: "later" };`,
      says: /^002-version\.ts: "afterResponse" is "later", not a function/,
    },
    {
      what: "an onLoad that throws",
      source: `export default {\n  onLoad() { throw new Error("no database"); },\n};`,
      says: /^002-version\.ts:2:\d+: onLoad failed: Error: no database/,
    },
    {
      what: "an import of a file that is not there",
      source: version("broken", `import "./_absent.ts";`),
      says: /^002-version\.ts(:2:\d+)?: .*_absent\.ts/,
    },
    {
      what: "a top level that ends its isolate",
      source: version("broken", "Deno.exit(0);"),
      says: /^plugins: an isolate ended while it loaded them/,
    },
  ];

function versioned(
  upstream: EchoUpstream,
  options: Partial<Parameters<typeof testGateway>[0]> = {},
): Promise<TestGateway> {
  return testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { "001-policy.ts": POLICY, [FILE]: version("one") },
    ...options,
  });
}

async function servedVersion(gateway: TestGateway): Promise<string | null> {
  return (await ask(gateway, "/")).headers.get("x-version");
}

async function untilVersion(gateway: TestGateway, expected: string): Promise<void> {
  await gateway.until(async () => await servedVersion(gateway) === expected, {
    what: `version ${expected}`,
  });
}

Deno.test("failure: a plugin file is saved with an error; the old pool goes on serving, the log names file, line and reason, a fixed save goes live", async (test) => {
  await using upstream = echoUpstream();
  await using gateway = await versioned(upstream);
  const hosts = await gateway.hostPids();
  for (const { what, source, says } of BROKEN) {
    await test.step(what, async () => {
      const from = gateway.logs.length;
      const { result: record, others } = await duringLoad(gateway, async () => {
        await gateway.savePlugin(FILE, source);
        const message = "plugins did not load; what runs goes on";
        return await gateway.waitForLog((line) => line.message === message, { from });
      }, { clients: 10 });
      assertEquals(record.level, "error");
      assertMatch(String(record.reason), says);
      assertAllServed(others);
      assert(others.every((each) => each.headers.get("x-version") === "one"));
    });
  }
  await gateway.savePlugin(FILE, version("two"));
  await untilVersion(gateway, "two");
  assertEquals(await gateway.hostPids(), hosts);
  assertPoliced(upstream);
});

Deno.test("failure: a plugin file is saved with an error; one whose top level loops is given up, and the host with it", async () => {
  await using upstream = echoUpstream();
  // Ten seconds of patience are a second here: what the gateway tells its host is changed on the way.
  await using host = await hostProgram(
    `sed -u 's/"loadTimeoutMs":10000/"loadTimeoutMs":1000/' | $DENO "$@"`,
  );
  await using gateway = await versioned(upstream, { env: host.env });
  const [oldHost = 0] = await gateway.hostPids();
  const { result: record, others } = await duringLoad(gateway, async () => {
    await gateway.savePlugin(FILE, version("broken", "while (true) {}"));
    return await gateway.waitForLog((line) => /^plugins did not load/.test(line.message));
  }, { clients: 5 });
  assertEquals(
    record.reason,
    `${FILE}: the plugins did not load within 1000 ms; this one was still loading`,
  );
  assertAllServed(others);
  assert(others.every((each) => each.headers.get("x-version") === "one"));
  await gateway.waitForLog((line) => /last set that did is loaded again/.test(line.message));
  await gateway.until(async () => !await isRunning(oldHost), { what: "the stuck host to be gone" });
  assertEquals(await servedVersion(gateway), "one");
  await gateway.savePlugin(FILE, version("two"));
  await untilVersion(gateway, "two");
  assertPoliced(upstream);
});

Deno.test("failure: a plugin file is saved with an error; one whose top level kills the host is tried twice, then the set before it serves", async () => {
  await using upstream = echoUpstream();
  await using host = await hostProgram(
    `shift; exec $DENO run --v8-flags=--max-old-space-size=64 "$@"`,
  );
  await using gateway = await versioned(upstream, { env: host.env });
  await gateway.savePlugin(
    FILE,
    version("broken", "for (const hog = [];;) hog.push(new Array(1e5).fill(Math.random()));"),
  );
  const record = await gateway.waitForLog((line) => /^plugins did not load/.test(line.message));
  assertMatch(String(record.reason), /^the plugin host ended \(SIG\w+\) each time it loaded them$/);
  await gateway.waitForLog((line) => line.message === "the plugin host is back");
  assertEquals(await servedVersion(gateway), "one");
  const died = gateway.logs.filter((line) =>
    line.message === "the plugin host failed while it loaded plugins"
  );
  assertEquals(died.length, 1, "the first of two times");
  await gateway.savePlugin(FILE, version("two"));
  await untilVersion(gateway, "two");
  assertPoliced(upstream);
});

Deno.test("a save that needs another host goes live when one can be started again, and the set before it serves until then", async () => {
  await using upstream = echoUpstream();
  await using host = await hostProgram(`exec $DENO "$@"`);
  await using gateway = await versioned(upstream, { env: host.env });
  await host.write("exit 1");
  await gateway.savePlugin("deno.json", "{}"); // other packages
  await gateway.savePlugin(FILE, version("two"));
  await gateway.waitForLog((line) =>
    line.message === "the plugin host failed while it loaded plugins"
  );
  assertEquals(await servedVersion(gateway), "one");
  await host.write(`exec $DENO "$@"`);
  await untilVersion(gateway, "two");
  assertPoliced(upstream);
});

Deno.test("failure: the host restarts while a broken file lies in pluginsDir; the last set that loaded is loaded again, the log says so, a fixed save goes live", async () => {
  await using upstream = echoUpstream();
  await using gateway = await versioned(upstream);
  await gateway.savePlugin(FILE, version("two"));
  await untilVersion(gateway, "two");
  await gateway.savePlugin(FILE, version("broken", "let = = 1;"));
  await gateway.waitForLog((line) => /^plugins did not load/.test(line.message));
  for (let times = 0; times < 2; times++) {
    const from = gateway.logs.length;
    for (const pid of await gateway.hostPids()) kill(pid);
    const record = await gateway.waitForLog(
      (line) =>
        line.message ===
          "the plugin files on disk do not load; the last set that did is loaded again",
      { from },
    );
    assertEquals(record.level, "warn");
    await gateway.waitForLog((line) => line.message === "the plugin host is back", { from });
    assertEquals(await servedVersion(gateway), "two");
  }
  await gateway.savePlugin(FILE, version("three"));
  await untilVersion(gateway, "three");
  assertPoliced(upstream);
});

Deno.test("failure: a plugin does not load at the first start; run ends with exit 1 and the reasons, before it listens", async () => {
  await using upstream = echoUpstream();
  await using gateway = await versioned(upstream, {
    plugins: { [FILE]: version("broken", `throw new RangeError("not today");`) },
    mayFail: true,
  });
  assertEquals((await gateway.status).code, 1);
  await gateway.until(() => gateway.stderr.includes("not today"), { what: "the reason" });
  assertMatch(
    gateway.stderr,
    /plugins did not load:\n002-version\.ts:2:\d+: .*RangeError: not today/,
  );
  assertEquals(gateway.logs.filter((line) => line.message === "listening"), []);
});

Deno.test("failure: a plugin does not load at the first start; dev answers 503 with the reasons and goes live at the next save", async () => {
  await using upstream = echoUpstream();
  await using gateway = await versioned(upstream, {
    plugins: {
      "001-policy.ts": POLICY,
      [FILE]: version("broken", `throw new RangeError("not today");`),
    },
    command: "dev",
  });
  const answer = await ask(gateway, "/");
  const { code, message } = errorOf(answer);
  assertEquals([answer.status, code], [503, "runtime_unavailable"]);
  assertStringIncludes(message, "002-version.ts:2:");
  assertStringIncludes(message, "not today");
  await gateway.savePlugin(FILE, version("one"));
  await untilVersion(gateway, "one");
  assertPoliced(upstream);
});

Deno.test("what onLoad logs and keeps in the cache arrives at the gateway", async () => {
  await using upstream = echoUpstream();
  await using gateway = await versioned(upstream, {
    plugins: {
      "001-load.ts": `export default {
        async onLoad(init) {
          init.log.info("loading");
          await init.services.cache.set("k", "kept");
          this.seen = await init.services.cache.get("k");
        },
        afterResponse(ctx) { ctx.response.setHeader("x-version", String(this.seen)); },
      };`,
    },
  });
  const record = await gateway.waitForLog((line) => line.message === "loading");
  assertEquals(record.plugin, "001-load");
  assertEquals(await servedVersion(gateway), "kept");
});
