/** deploy/alerts.yml and deploy/grafana-dashboard.json: what they ask for exists, and each alert can be fired. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { Metrics } from "../gateway/observe/metrics.ts";
import { ParentMetrics } from "../gateway/processes/parent_metrics.ts";
import { scratch } from "./support/conduit.ts";
import { ROOT } from "./support/gateway.ts";
import { NO_PROMTOOL, promtool } from "./support/metrics.ts";
import { readDoc } from "./support/prose.ts";

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets?: readonly { readonly expr: string; readonly legendFormat?: string }[];
  }[];
  readonly templating: { readonly list: readonly { readonly query?: string }[] };
}

const dashboard = async (): Promise<Dashboard> =>
  JSON.parse(await readDoc("deploy/grafana-dashboard.json"));

/** Every query of the dashboard, with Grafana's variables filled in. */
async function queries(): Promise<string[]> {
  const { panels } = await dashboard();
  return panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
    .map((expr) => expr.replaceAll("$__rate_interval", "5m").replaceAll(/\$\w+/g, ".*"));
}

/** The names that an expression of PromQL asks for, as families: without what histograms add to theirs. */
function familiesIn(text: string): string[] {
  return [...text.matchAll(/\b(?:conduit|process)_[a-z0-9_]+\b/g)]
    .map(([name]) => name.replace(/(?<=_seconds)_(?:bucket|sum|count)$/, ""));
}

Deno.test("alerts and dashboard ask for metrics that exist, and the dashboard shows every one", async () => {
  const version = "0";
  const registries = [new Metrics({ version }).registry, new ParentMetrics(() => []).registry];
  const known = new Set(
    registries.flatMap((registry) => registry.getMetricsAsArray().map(({ name }) => name)),
  );
  const alerts = (await readDoc("deploy/alerts.yml")).replaceAll(/^\s*(?:summary|do):.*$/gm, "");
  const variables = (await dashboard()).templating.list.map(({ query = "" }) => query);
  const shown = familiesIn((await queries()).join("\n"));
  const asked = [...familiesIn(alerts), ...familiesIn(variables.join("\n")), ...shown];
  assert(asked.length > 60, `${asked.length}`);
  assertEquals(asked.filter((name) => !known.has(name)), [], "there is no such metric");
  assertEquals([...known].filter((name) => !shown.includes(name)), [], "not on the dashboard");
});

/** The labels that this text names: in groupings and matchers, and in what is written beside them. */
function labelsIn(text: string): string[] {
  const lists = [...text.matchAll(/\b(?:by|on|ignoring) \(([^)]*)\)/g)].flatMap(([, list = ""]) =>
    list.split(", ")
  );
  const single = text.matchAll(/[{,](\w+)(?:=|!)|\{\{(\w+)\}\}|\$labels\.(\w+)/g);
  return [...lists, ...[...single].map(([, ...names]) => names.find(Boolean) ?? "")];
}

Deno.test("alerts and dashboard name labels that their metrics have", async () => {
  // `instance` and `job` are Prometheus' own; metrics of the parent have no labels.
  const labels = new Map(
    new Metrics({ version: "0" }).registry.getMetricsAsArray().map((metric) => [
      metric.name,
      (metric as unknown as { readonly labelNames: readonly string[] }).labelNames,
    ]),
  );
  const { panels } = await dashboard();
  const targets = panels.flatMap(({ targets = [] }) => targets)
    .map(({ expr, legendFormat = "" }) => `${expr} ${legendFormat}`);
  const alerts = (await readDoc("deploy/alerts.yml")).split("- alert: ").slice(1);
  let named = 0;
  for (const text of [...targets, ...alerts]) {
    const known = familiesIn(text).flatMap((name) => labels.get(name) ?? []);
    const own = labelsIn(text).filter((label) => !["instance", "job", "le"].includes(label));
    assertEquals(own.filter((label) => !known.includes(label)), [], text);
    named += own.length;
  }
  assert(named > 60, `${named}`);
});

/** Series by which an alert fires after 30 minutes, a value a minute: `a+bxn` begins with a and adds b, n times. */
const FIRED_BY: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  ConduitDown: { 'up{job="conduit"}': "0x30" },
  ConduitWithoutPlugins: { conduit_isolates: "0x30" },
  ConduitPluginsStale: { conduit_plugins_stale: "1x30" },
  ConduitHostRestarts: { 'conduit_host_restarts_total{reason="blocked"}': "0+1x30" },
  ConduitProcessRestarts: { conduit_process_restarts_total: "0+1x30" },
  ConduitServerErrors: {
    'conduit_requests_total{route="/a",method="GET",status="200"}': "0+90x30",
    'conduit_requests_total{route="/a",method="GET",status="502"}': "0+10x30",
  },
  ConduitUpstreamFailures: {
    'conduit_requests_total{route="/a",method="GET",status="200"}': "0+90x30",
    'conduit_upstream_failures_total{route="/a",failure="closed"}': "0+2x30",
  },
  ConduitHookFailures: {
    'conduit_hook_outcomes_total{plugin="001-a",hook="beforeRequest",outcome="ok"}': "0+90x30",
    'conduit_hook_outcomes_total{plugin="001-a",hook="beforeRequest",outcome="error"}': "0+2x30",
  },
  ConduitShedding: { conduit_shed_total: "0+1x30" },
  ConduitSlow: {
    'conduit_request_duration_seconds_bucket{route="/a",le="2.5"}': "0+90x30",
    'conduit_request_duration_seconds_bucket{route="/a",le="5"}': "0+100x30",
    'conduit_request_duration_seconds_bucket{route="/a",le="+Inf"}': "0+100x30",
  },
  ConduitHookSlow: {
    'conduit_hook_duration_seconds_bucket{plugin="001-a",hook="beforeRequest",le="0.05"}': "0+9x30",
    'conduit_hook_duration_seconds_bucket{plugin="001-a",hook="beforeRequest",le="0.1"}': "0+10x30",
    'conduit_hook_duration_seconds_bucket{plugin="001-a",hook="beforeRequest",le="+Inf"}':
      "0+10x30",
  },
  ConduitForwardRefused: { 'conduit_forward_refusals_total{route="/a"}': "0x25 1x5" },
  ConduitPluginDenied: { 'conduit_denials_total{plugin="001-a",hook="beforeRequest"}': "0x25 1x5" },
  ConduitProtocolBroken: { 'conduit_hook_answers_dropped_total{reason="double"}': "0x25 1x5" },
  ConduitLogsDropped: { 'conduit_log_records_dropped_total{from="plugin 001-a"}': "0x25 9x5" },
  ConduitLogUnwritable: { "conduit_log_lines_lost_total": "0x25 9x5" },
  ConduitMemory: { conduit_host_resident_memory_bytes: "2000000000x30" },
};

/** A gateway that is well, with what happens in one now and then. */
const WELL: Readonly<Record<string, string>> = {
  'up{job="conduit"}': "1x30",
  conduit_isolates: "4x30",
  conduit_plugins_stale: "0x30",
  'conduit_host_restarts_total{reason="blocked"}': "0x20 1x10",
  'conduit_host_restarts_total{reason="died"}': "0x30",
  conduit_process_restarts_total: "0x20 1x10",
  'conduit_requests_total{route="/a",method="GET",status="200"}': "0+1000x30",
  'conduit_requests_total{route="/a",method="GET",status="401"}': "0+500x30",
  'conduit_requests_total{route="/a",method="GET",status="503"}': "0+1x30",
  'conduit_upstream_failures_total{route="/a",failure="closed"}': "0+1x30",
  'conduit_hook_outcomes_total{plugin="001-a",hook="beforeRequest",outcome="rejected"}':
    "0+1000x30",
  'conduit_hook_outcomes_total{plugin="001-a",hook="beforeRequest",outcome="timed_out"}': "0+1x30",
  conduit_shed_total: "5x30",
  'conduit_request_duration_seconds_bucket{route="/a",le="1"}': "0+100x30",
  'conduit_request_duration_seconds_bucket{route="/a",le="+Inf"}': "0+100x30",
  'conduit_hook_duration_seconds_bucket{plugin="001-a",hook="beforeRequest",le="0.025"}':
    "0+100x30",
  'conduit_hook_duration_seconds_bucket{plugin="001-a",hook="beforeRequest",le="+Inf"}': "0+100x30",
  'conduit_forward_refusals_total{route="/a"}': "3x30",
  'conduit_denials_total{plugin="001-a",hook="beforeRequest"}': "3x30",
  'conduit_hook_answers_dropped_total{reason="late"}': "0+1x30",
  'conduit_hook_answers_dropped_total{reason="unknown"}': "0x30",
  'conduit_log_records_dropped_total{from="plugin 001-a"}': "9x30",
  "conduit_log_lines_lost_total": "9x30",
  'process_resident_memory_bytes{job="conduit"}': "200000000x30",
  conduit_host_resident_memory_bytes: "100000000x30",
};

/** How many alerts fire, after 30 minutes of these series. */
function ruleTest(series: Readonly<Record<string, string>>, matching: string, count: number) {
  return {
    interval: "1m",
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    promql_expr_test: [{
      expr: `count(ALERTS{alertstate="firing"${matching}}) or vector(0)`,
      eval_time: "30m",
      exp_samples: [{ labels: "{}", value: count }],
    }],
  };
}

/** What `promtool test rules` says. JSON is YAML. */
async function testRules(tests: readonly object[]): Promise<{ code: number; output: string }> {
  const rules = join(ROOT, "deploy/alerts.yml");
  await using dir = await scratch({
    "test.yml": JSON.stringify({ rule_files: [rules], evaluation_interval: "1m", tests }),
  });
  return await promtool(["test", "rules", join(dir.path, "test.yml")]);
}

const withPromtool = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name: `${name}${NO_PROMTOOL ?? ""}`, ignore: NO_PROMTOOL !== undefined, fn });

withPromtool(
  "promtool check rules takes deploy/alerts.yml and every query of the dashboard",
  async () => {
    const { code, output } = await promtool(["check", "rules", join(ROOT, "deploy/alerts.yml")]);
    assertEquals(code, 0, output);
    const rules = (await queries()).map((expr, at) => ({ record: `dashboard:${at}`, expr }));
    assert(rules.length > 25);
    await using dir = await scratch({
      "queries.yml": JSON.stringify({ groups: [{ name: "queries", rules }] }),
    });
    const checked = await promtool(["check", "rules", join(dir.path, "queries.yml")]);
    assertEquals(checked.code, 0, checked.output);
  },
);

withPromtool(
  "every alert is fired by what it is for, and by nothing in a gateway that is well",
  async () => {
    const names = [...(await readDoc("deploy/alerts.yml")).matchAll(/- alert: (\w+)/g)]
      .map(([, name]) => name);
    assertEquals(Object.keys(FIRED_BY), names);
    const told = (await readDoc("docs/operations.md")).matchAll(/`(Conduit[A-Z]\w+)`/g);
    assertEquals(new Set([...told].map(([, name]) => name)), new Set(names));
    const well = await testRules([ruleTest(WELL, "", 0)]);
    assertEquals(well.code, 0, well.output);
    for (const [name, series] of Object.entries(FIRED_BY)) {
      const fired = await testRules([ruleTest(series, `,alertname="${name}"`, 1)]);
      assertEquals(fired.code, 0, `${name}: ${fired.output}`);
    }
  },
);
