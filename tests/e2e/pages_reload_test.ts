import { assert, assertEquals } from "@std/assert";
import { adminPage, storyOf } from "../support/admin_pages.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { ask } from "../support/failure.ts";
import { testGateway } from "../support/gateway.ts";
import { scrape, total } from "../support/metrics.ts";
import { PATIENT } from "../support/patient.ts";
import { reload } from "../support/reload.ts";

Deno.test("pages after a reload: /config and /plugins are of the new one, and what was counted and remembered stays", async () => {
  await using upstream = echoUpstream();
  const config = (region: string) => ({
    ...PATIENT,
    pluginConfig: { "001-a": { region } }, // another one means another host
    log: { format: "json", level: "info", requestHeaders: region === "eu" ? [] : ["x-shown"] },
    routes: [{ path: `/${region}/*`, upstream: upstream.url }],
  });
  await using gateway = await testGateway({
    plugins: { "001-a.ts": "export default { readsBodies: false, beforeRequest() {} };" },
    config: config("eu"),
  });
  const headers = (id: string) => ({ headers: { "x-request-id": id, "x-shown": "yes" } });
  await ask(gateway, "/eu/1", headers("before"));
  await storyOf(gateway, "before");
  const before = await scrape(gateway);
  const { hostPid } = await adminPage(gateway, "/plugins");

  await reload(gateway, config("us"));
  await ask(gateway, "/us/1", headers("after"));
  assertEquals((await storyOf(gateway, "after")).route, "/us/*");
  assertEquals((await storyOf(gateway, "before")).route, "/eu/*");
  const page = await adminPage(gateway, "/config");
  assertEquals([page.pluginConfig["001-a"].region, page.routes[0].path], ["us", "/us/*"]);
  const plugins = await adminPage(gateway, "/plugins");
  assert(plugins.hostPid !== hostPid && plugins.plugins.length === 1);
  assertEquals(plugins.plugins[0].hooks.beforeRequest.count, 2);
  await gateway.waitForLog(({ message }) => message === "GET /us/1 200");
  const lines = gateway.logs.filter(({ status }) => status === 200);
  assertEquals(lines.map((line) => line.headers), [undefined, { "x-shown": "yes" }]);

  const after = await scrape(gateway);
  for (const route of ["/eu/*", "/us/*"]) {
    assertEquals(total(after, "conduit_requests_total", { route, status: "200" }), 1);
  }
  for (const [name, value] of before.series) {
    if (!/_(?:total|count|sum|bucket)\b/.test(name)) continue;
    assert((after.series.get(name) ?? 0) >= value, `${name} fell from ${value}`);
  }
  assertEquals(total(after, "conduit_requests_in_flight"), 0);
});
