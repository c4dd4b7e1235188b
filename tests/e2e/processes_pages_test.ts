import { assert, assertEquals } from "@std/assert";
import { adminPage, storyOf } from "../support/admin_pages.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import type { TestGateway } from "../support/gateway.ts";
import { NO_PROMTOOL, promtool, scrape, total } from "../support/metrics.ts";
import { askAnew, says, twoProcesses } from "../support/two_processes.ts";

const PLUGINS = { "001-a.ts": "export default { readsBodies: false, beforeRequest() {} };" };

const accessLines = ({ logs }: TestGateway) => logs.filter(({ status }) => status !== undefined);

/** Requests over connections of their own, until each process has answered `atLeast` in all. */
async function askThroughBoth(gateway: TestGateway, atLeast: number): Promise<number> {
  const from = accessLines(gateway).length;
  let asked = 0;
  const counts = () => {
    const processes = accessLines(gateway).slice(from).map((line) => line.process);
    return new Set(processes).size === 2;
  };
  while (asked < atLeast || !counts()) {
    using response = await askAnew(gateway.url);
    await response.arrayBuffer(); // a client that leaves is a 499
    asked++;
  }
  return asked;
}

Deno.test("processes: /metrics of the parent is one page for all, and nothing on it falls when a process dies", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
  let asked = await askThroughBoth(gateway, 10);
  await gateway.until(
    async () => total(await scrape(gateway), "conduit_requests_total") === asked,
    { what: `${asked} requests` },
  );
  const before = await scrape(gateway);
  assertEquals(total(before, "conduit_requests_total", { route: "/*", status: "200" }), asked);
  assertEquals(total(before, "conduit_request_duration_seconds_count"), asked);
  assertEquals(
    total(before, "conduit_hook_outcomes_total", { plugin: "001-a", outcome: "ok" }),
    asked,
  );
  assertEquals(total(before, "conduit_isolates"), 2);
  assertEquals(total(before, "conduit_info"), 1);
  assertEquals(total(before, "conduit_processes"), 2);
  assertEquals(total(before, "conduit_processes_serving"), 2);
  assertEquals(total(before, "conduit_process_restarts_total"), 0);

  const [victim = 0] = await gateway.hostPids();
  Deno.kill(victim, "SIGKILL");
  await gateway.waitForLog(says("a gateway process ended"));
  const between = await scrape(gateway);
  assertEquals(total(between, "conduit_requests_total"), asked);
  await gateway.waitForLog(says("a gateway process is back"));
  asked += await askThroughBoth(gateway, 10);
  await gateway.until(
    async () => total(await scrape(gateway), "conduit_requests_total") === asked,
    { what: `${asked} requests` },
  );
  const after = await scrape(gateway);
  assertEquals(total(after, "conduit_process_restarts_total"), 1);
  assertEquals(total(after, "conduit_isolates"), 2, "what a process is goes with it");
  for (const [name, value] of before.series) {
    if (!/_(?:total|count|sum|bucket)\b/.test(name)) continue;
    assert((after.series.get(name) ?? 0) >= value, `${name} fell from ${value}`);
  }
});

Deno.test("processes: /trace of the parent finds a request, whichever process served it", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
  const asked = await askThroughBoth(gateway, 4);
  const lines = accessLines(gateway);
  for (const { traceId } of lines) {
    assertEquals((await storyOf(gateway, String(traceId))).traceId, traceId);
  }
  const { requests } = await adminPage(gateway, "/trace");
  const times = requests.map(({ time }: { time: string }) => time);
  assertEquals([times.length, times.toSorted().toReversed()], [asked, times]);
  assertEquals((await fetch(`${gateway.adminUrl}/trace/none`)).status, 404);
});

Deno.test("processes: /plugins of the parent has a page for each process, and /config is the file's, without secrets", async () => {
  await using gateway = await twoProcesses({
    plugins: PLUGINS,
    config: { pluginConfig: { "001-a": { greeting: "hello ${APP_PASSWORD}" } } },
    env: { APP_PASSWORD: "hunter2" },
  });
  const { processes } = await adminPage(gateway, "/plugins");
  const pids = (await gateway.hostPids()).toSorted((a, b) => a - b);
  const pidsOf = processes.map(({ pid }: { pid: number }) => pid);
  assertEquals(pidsOf.toSorted((a: number, b: number) => a - b), pids);
  assertEquals(new Set(processes.map((each: { hostPid: number }) => each.hostPid)).size, 2);
  for (const { plugins: [plugin] } of processes) assertEquals(plugin.name, "001-a");
  const config = await adminPage(gateway, "/config");
  assertEquals(config.pluginConfig, { "001-a": { greeting: "hello ***" } });
  assertEquals([config.listen, config.admin.listen], ["127.0.0.1:0", "127.0.0.1:0"]);
});

Deno.test({
  name: `processes: promtool check metrics finds nothing on the parent's page${NO_PROMTOOL ?? ""}`,
  ignore: NO_PROMTOOL !== undefined,
  async fn() {
    await using upstream = echoUpstream();
    await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
    await askThroughBoth(gateway, 2);
    const { text } = await scrape(gateway);
    assertEquals(await promtool(["check", "metrics"], text), { code: 0, output: "" });
  },
});
