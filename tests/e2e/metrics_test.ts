import { assert, assertEquals, assertMatch } from "@std/assert";
import { echoUpstream, silentUpstream } from "../support/echo_upstream.ts";
import { ask } from "../support/failure.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { type MetricsPage, NO_PROMTOOL, promtool, scrape, total } from "../support/metrics.ts";
import { PATIENT } from "../support/patient.ts";
import { rawExchange } from "../support/raw_conversation.ts";

/** A plugin that does what the path says. */
const PLUGINS = {
  "001-act.ts": `export default {
    readsBodies: false,
    async beforeRequest(ctx) {
      const { path } = ctx.request;
      if (path.endsWith("/slow")) await new Promise((resolve) => setTimeout(resolve, 60_000));
      if (path.endsWith("/throw")) throw new Error("out of luck");
      if (path.endsWith("/reject")) ctx.reject(401, "no");
      if (path.endsWith("/forward")) ctx.forward("http://evil.invalid/");
      if (path.endsWith("/modify")) ctx.upstream.setHeader("x-a", "b");
      if (path.endsWith("/deny")) {
        ctx.upstream.setHeader("x-a", "b");
        ctx.upstream.setHeader("host", "evil");
        ctx.upstream.setHeader("connection", "evil");
      }
    },
    afterResponse() {},
  };`,
};

/** The page once these requests have been counted: that happens when their clients have had all of the answer. */
async function pageAfter(gateway: TestGateway, requests: number): Promise<MetricsPage> {
  let page = await scrape(gateway);
  await gateway.until(async () => {
    page = await scrape(gateway);
    return total(page, "conduit_requests_total") === requests;
  }, { what: `${requests} requests on /metrics` });
  return page;
}

Deno.test("metrics: each request, hook and upstream is counted once, by what became of it", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    plugins: PLUGINS,
    config: {
      hookTimeoutMs: 1000,
      hardCeilingMs: 5000,
      onHookTimeout: "reject",
      routes: [
        { path: "/a/*", upstream: upstream.url },
        { path: "/dead/*", upstream: "http://127.0.0.1:1" },
        { path: "/turns/*", upstream: ["http://127.0.0.1:1", upstream.url], plugins: false },
      ],
    },
  });
  const ways = ["ok", "modify", "deny", "reject", "forward", "throw", "slow"];
  for (const way of ways) await ask(gateway, `/a/${way}`);
  const { text } = await ask(gateway, "/a/bytes", { method: "POST", body: "x" });
  await ask(gateway, "/dead/x");
  await ask(gateway, "/turns/x");
  await ask(gateway, "/nowhere");
  await ask(gateway, "/a/head", { method: "HEAD" });
  const page = await pageAfter(gateway, ways.length + 5);

  const of = (family: string, labels = {}) => total(page, family, labels);
  const requests = (route: string, method: string, status: string) =>
    of("conduit_requests_total", { route, method, status });
  assertEquals(requests("/a/*", "GET", "200"), 4);
  assertEquals(requests("/a/*", "GET", "401"), 1);
  assertEquals(requests("/a/*", "GET", "500"), 1);
  assertEquals(requests("/a/*", "GET", "503"), 1);
  assertEquals(requests("/a/*", "POST", "200"), 1);
  assertEquals(requests("/a/*", "HEAD", "200"), 1);
  assertEquals(requests("/dead/*", "GET", "502"), 1);
  assertEquals(requests("-", "GET", "404"), 1);

  assertEquals(of("conduit_request_duration_seconds_count", { route: "/a/*" }), 9);
  assert(of("conduit_request_duration_seconds_sum", { route: "/a/*" }) > 1, "the slow one is in");
  assertEquals(of("conduit_upstream_duration_seconds_count", { route: "/a/*" }), 6);
  assertEquals(
    of("conduit_upstream_failures_total", { route: "/dead/*", failure: "unreachable" }),
    1,
  );
  assertEquals(of("conduit_upstream_retries_total", { route: "/turns/*" }), 1);
  assertEquals(of("conduit_upstream_retries_total"), 1);
  assertEquals(of("conduit_forward_refusals_total", { route: "/a/*" }), 1);
  assert(of("conduit_response_body_bytes_total", { route: "/a/*" }) > 5 * (text.length - 100));

  const before = (outcome: string) =>
    of("conduit_hook_outcomes_total", { plugin: "001-act", hook: "beforeRequest", outcome });
  assertEquals(before("ok"), 4);
  assertEquals(
    ["modified", "denied", "rejected", "forwarded", "error", "timed_out"].map(before),
    [1, 1, 1, 1, 1, 1],
  );
  assertEquals(of("conduit_hook_outcomes_total", { hook: "afterResponse", outcome: "ok" }), 6);
  assertEquals(of("conduit_denials_total", { plugin: "001-act", hook: "beforeRequest" }), 2);
  assertEquals(of("conduit_hook_duration_seconds_count", { hook: "beforeRequest" }), 10);
  assert(of("conduit_hook_duration_seconds_sum", { hook: "beforeRequest" }) >= 1);

  assertEquals(of("conduit_requests_in_flight"), 0);
  assertEquals(of("conduit_isolates"), 2);
  assertEquals(of("conduit_generations"), 1);
  assertEquals(of("conduit_plugin_loads_total", { result: "ok" }), 1);
  for (const direction of ["sent", "received"]) {
    assert(of("conduit_ipc_bytes_total", { direction }) > 1000, direction);
  }
  assert(of("process_resident_memory_bytes") > 2 ** 20);
  assert(of("conduit_host_resident_memory_bytes") > 2 ** 20);
  assertMatch(page.text, /^conduit_info\{version="[\d.]+",deno="[\d.]+"\} 1$/m);
  assertEquals(page.contentType, "text/plain; version=0.0.4; charset=utf-8");
});

Deno.test("metrics: no client makes a label: methods and paths that it invents share one value", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { routes: [{ path: "/a/*", upstream: upstream.url }] },
  });
  await ask(gateway, "/a/x");
  const before = (await pageAfter(gateway, 1)).series.size;
  for (let at = 0; at < 20; at++) {
    await rawExchange(gateway.port, `MADE${at} /a/${at} HTTP/1.1\r\nHost: a${at}\r\n\r\n`, {
      quietMs: 100,
    });
    await ask(gateway, `/made-up-${at}`);
    await ask(gateway, `/a/${at}`, { headers: { "x-made": `${at}`, "x-request-id": `m${at}` } });
  }
  const page = await pageAfter(gateway, 61);
  assertEquals(total(page, "conduit_requests_total", { route: "/a/*", method: "other" }), 20);
  assertEquals(total(page, "conduit_requests_total", { route: "-", status: "404" }), 20);
  // A route's own series: its durations, bytes and statuses, each once.
  assert(page.series.size - before < 50, `${page.series.size - before} series for 60 requests`);
});

Deno.test("metrics: requests under way are in flight, and what is over maxInFlight is shed", async () => {
  await using upstream = silentUpstream();
  await using gateway = await testGateway({
    config: { maxInFlight: 2, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const held = [ask(gateway, "/1"), ask(gateway, "/2")];
  await gateway.until(() => upstream.seen.length === 2, { what: "two requests upstream" });
  assertEquals(total(await scrape(gateway), "conduit_requests_in_flight"), 2);
  assertEquals((await ask(gateway, "/3")).status, 503);
  assertEquals(total(await pageAfter(gateway, 1), "conduit_shed_total"), 1);
  upstream.release();
  await Promise.all(held);
  assertEquals(total(await pageAfter(gateway, 3), "conduit_requests_in_flight"), 0);
});

Deno.test("metrics: loads, renewals and deaths of the plugin host are counted, and what it served before is kept", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    plugins: {
      "001-loop.ts": `export default {
        readsBodies: false,
        beforeRequest(ctx) { if (ctx.request.path === "/loop") for (;;); },
      };`,
    },
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
  });
  await ask(gateway, "/loop");
  await gateway.waitForLog(({ message }) => message === "the plugin host was renewed");
  await gateway.savePlugin("002-broken.ts", "export default {");
  await gateway.waitForLog(({ message }) => message.startsWith("plugins did not load"));
  const broken = await scrape(gateway);
  assertEquals(total(broken, "conduit_plugins_stale"), 1);
  assertEquals(total(broken, "conduit_plugin_loads_total", { result: "failed" }), 1);
  assertEquals(total(broken, "conduit_host_restarts_total", { reason: "blocked" }), 1);
  assert(total(broken, "conduit_isolates_lost_total") >= 1);

  await gateway.savePlugin("002-broken.ts", "export default {};");
  await gateway.waitForLog(({ message }) => message === "plugins reloaded");
  const [host = 0] = (await gateway.hostPids()).slice(-1);
  Deno.kill(host, "SIGKILL");
  await gateway.waitForLog(({ message }) => message === "the plugin host is back");
  const page = await pageAfter(gateway, 1);
  assertEquals(total(page, "conduit_plugins_stale"), 0);
  assertEquals(total(page, "conduit_host_restarts_total", { reason: "died" }), 1);
  assertEquals(total(page, "conduit_plugin_loads_total", { result: "ok" }), 4);
  assertEquals(total(page, "conduit_hook_outcomes_total", { outcome: "timed_out" }), 1);
});

Deno.test("metrics: an answer that comes after its time is dropped and counted", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    plugins: {
      "001-busy.ts": `export default {
        readsBodies: false,
        beforeRequest() { for (const until = Date.now() + 600; Date.now() < until;); },
      };`,
    },
    config: {
      hookTimeoutMs: 50,
      hardCeilingMs: 10_000,
      routes: [{ path: "/*", upstream: upstream.url }],
    },
  });
  assertEquals((await ask(gateway, "/")).status, 200);
  await gateway.until(
    async () => total(await scrape(gateway), "conduit_hook_answers_dropped_total") === 1,
    { what: "the late answer" },
  );
  const page = await scrape(gateway);
  assertEquals(total(page, "conduit_hook_answers_dropped_total", { reason: "late" }), 1);
  assertEquals(total(page, "conduit_hook_outcomes_total", { outcome: "timed_out" }), 1);
});

Deno.test({
  name: `metrics: promtool check metrics finds nothing${NO_PROMTOOL ?? ""}`,
  ignore: NO_PROMTOOL !== undefined,
  async fn() {
    await using upstream = echoUpstream();
    await using gateway = await testGateway({
      plugins: PLUGINS,
      config: { ...PATIENT, routes: [{ path: "/a/*", upstream: upstream.url }] },
    });
    for (const way of ["ok", "deny", "reject", "forward", "throw"]) await ask(gateway, `/a/${way}`);
    const { text } = await pageAfter(gateway, 5);
    assertEquals(await promtool(["check", "metrics"], text), { code: 0, output: "" });
    const { code } = await promtool(["check", "metrics"], `${text}${text}`);
    assert(code !== 0, "it finds what is wrong");
  },
});
