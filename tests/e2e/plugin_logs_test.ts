import { assert, assertEquals } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import { ask, askMany, assertAllServed } from "../support/failure.ts";
import { testGateway } from "../support/gateway.ts";
import { scrape, total } from "../support/metrics.ts";

/** What a plugin with the default limits may have written in so short a test, each of its ways to log for itself. */
const MAX_BYTES = 3 * 1024 * 1024;
const MILLION = 1_000_000;

/** Ways to log a million lines, as a plugin that is asked for `/loud`. */
const WAYS: Readonly<Record<string, { readonly source: string; readonly from: string }>> = {
  "ctx.log in a hook": {
    source: `beforeRequest(ctx) {
      if (ctx.request.path !== "/loud") return;
      for (let n = 0; n < ${MILLION}; n++) ctx.log.info("chatter", { n, text: "x".repeat(100) });
    },`,
    // The isolate itself stops at 200 for a hook.
    from: "",
  },
  "ctx.log after the result": {
    source: `beforeRequest(ctx) {
      if (ctx.request.path !== "/loud") return;
      setTimeout(() => {
        for (let n = 0; n < ${MILLION}; n++) ctx.log.info("chatter", { n });
      }, 1);
    },`,
    from: "",
  },
  "init.log outside of any hook, in one go": {
    source: `onLoad(init) { this.log = init.log; },
    beforeRequest(ctx) {
      if (ctx.request.path !== "/loud") return;
      for (let n = 0; n < ${MILLION}; n++) this.log.info("chatter", { n, text: "x".repeat(100) });
    },`,
    from: "plugin 001-loud",
  },
  "init.log outside of any hook, a little at a time": {
    source: `onLoad(init) { this.log = init.log; },
    beforeRequest(ctx) {
      if (ctx.request.path !== "/loud") return;
      let n = 0;
      const some = () => {
        for (let each = 0; each < 1000; each++) this.log.info("chatter", { n });
        if ((n += 1000) < ${MILLION}) setTimeout(some, 0);
      };
      some();
    },`,
    from: "plugin 001-loud",
  },
  "console.log": {
    source: `beforeRequest(ctx) {
      if (ctx.request.path !== "/loud") return;
      for (let n = 0; n < ${MILLION / 1000}; n++) console.log("chatter\\n".repeat(1000));
    },`,
    from: "plugin host output",
  },
  "a thousand fields that may not be set": {
    source: `beforeRequest(ctx) {
      if (ctx.request.path !== "/loud") return;
      for (let n = 0; n < 2000; n++) ctx.upstream.setHeader("proxy-x" + n, "chatter");
    },`,
    from: "hooks of 001-loud",
  },
  "an error of a megabyte": {
    source: `beforeRequest(ctx) {
      if (ctx.request.path === "/loud") throw new Error("chatter".repeat(150_000));
    },`,
    from: "",
  },
};

for (const [way, { source, from }] of Object.entries(WAYS)) {
  Deno.test(`a million log lines by ${way}: the gateway lives, its log stays small, and the plugin's other requests go on`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await testGateway({
      config: {
        pluginPoolSize: 2,
        hookTimeoutMs: 5000,
        hardCeilingMs: 20_000,
        onHookError: "continue",
        log: { format: "json", level: "info" },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: { "001-loud.ts": `export default { ${source} };` },
    });
    const hosts = await gateway.hostPids();
    const loud = askMany(gateway, "/loud", 3);
    const others = [];
    for (let n = 0; n < 20; n++) others.push(await ask(gateway, "/quiet"));
    assertAllServed([...others, ...await loud].map((each) => ({ ...each, durationMs: 0 })));
    if (from !== "") {
      await gateway.until(
        async () => total(await scrape(gateway), "conduit_log_records_dropped_total", { from }),
        { what: `the count of what ${from} lost` },
      );
    }
    assertEquals((await ask(gateway, "/quiet")).status, 200);
    assertEquals(await gateway.hostPids(), hosts, "no isolate was lost over it");
    gateway.signal("SIGTERM");
    assertEquals((await gateway.status).code, 0);
    const told = gateway.logs.filter((line) => line.message === "log records were dropped");
    assertEquals(told.some((line) => line.from === from), from !== "");
    const size = gateway.logs.reduce((sum, line) => sum + JSON.stringify(line).length, 0);
    assert(size < MAX_BYTES, `the log has ${size} bytes`);
  });
}

Deno.test("refused forwards have a share of the log as all that is said of a plugin's hooks, and their lines name the plugin", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      log: { format: "json", pluginRecordsPerSecond: 1 },
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: {
      "001-astray.ts": `export default {
        beforeRequest(ctx) { ctx.forward("http://elsewhere.example/" + "x".repeat(10_000)); },
      };`,
      "002-other.ts": "export default { beforeRequest() {} };",
    },
  });
  assertAllServed(await askMany(gateway, "/", 100));
  const dropped = async () =>
    total(await scrape(gateway), "conduit_log_records_dropped_total", {
      from: "hooks of 001-astray",
    });
  await gateway.until(async () => await dropped() > 0, { what: "records to be dropped" });
  const lines = gateway.logs.filter(({ message }) => message.startsWith("forward refused"));
  // Ten seconds' worth at once; the requests themselves take a few.
  assert(lines.length > 0 && lines.length < 50, `${lines.length} lines`);
  assert(lines.every(({ plugin }) => plugin === "001-astray"));
});
