/** What is told of traffic: the access log, /metrics, /plugins, /trace, spans and what clients saw are one story, count for count. */

import { assert, assertEquals } from "@std/assert";
import { adminPage } from "../support/admin_pages.ts";
import { type LogLine, type TestGateway, testGateway } from "../support/gateway.ts";
import { type MetricsPage, scrape, total } from "../support/metrics.ts";
import {
  ACTOR,
  DEADLY_WAYS,
  mixedTraffic,
  moodyUpstream,
  type Seen,
  type Way,
  WAYS,
} from "../support/mixed_traffic.ts";
import { type CollectedSpan, otlpCollector } from "../support/otlp_collector.ts";

// deno-lint-ignore no-explicit-any -- a line or a page from outside, whose form is what is looked at
type Told = any;

/** How often each of these occurs. */
function counted<T>(
  items: Iterable<T>,
  ...parts: readonly ((item: T) => unknown)[]
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) {
    const key = parts.map((part) => part(item) ?? "-").join(" ");
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

function summed<T>(
  items: Iterable<T>,
  key: (item: T) => unknown,
  value: (item: T) => number,
): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const item of items) {
    sums[String(key(item) ?? "-")] = (sums[String(key(item) ?? "-")] ?? 0) + value(item);
  }
  return positive(sums);
}

const positive = (counts: Record<string, number>) =>
  Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));

/** The series of a family, by the values of these labels. */
function series(
  { series }: MetricsPage,
  family: string,
  ...labels: readonly string[]
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [name, value] of series) {
    if (name.replace(/\{.*/s, "") !== family) continue;
    const key = labels.map((label) =>
      new RegExp(`[{,]${label}="((?:[^"\\\\]|\\\\.)*)"`).exec(name)?.[1]
    ).join(" ");
    counts[key] = (counts[key] ?? 0) + value;
  }
  return positive(counts);
}

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
const methodOf = ({ method }: Told) => METHODS.has(String(method)) ? method : "other";
const OUTCOMES: Readonly<Record<string, string>> = {
  continue: "ok",
  modify: "modified",
  forward: "forwarded",
  reject: "rejected",
};

function outcomeOf({ action, denied }: Told): string {
  return denied && ["modify", "forward"].includes(action) ? "denied" : OUTCOMES[action] ?? action;
}

/** A line of the access log, also from one for people, whose fields are text. */
function accessLine(line: LogLine): Told {
  const number = (value: unknown) => value === undefined ? undefined : Number(value);
  const numbers = ["status", "bytes", "retries", "upstreamMs"].map((
    name,
  ) => [name, number(line[name])]);
  const traceId = /\[trace:([^\]]+)/.exec(line.message)?.[1];
  return { ...line, ...traceId ? { traceId } : {}, ...Object.fromEntries(numbers) };
}

for (
  const { processes, ...options } of [
    { processes: 1, hookDispatch: "per-hook", format: "json" },
    { processes: 1, hookDispatch: "per-phase", format: "text" },
    { processes: 2, hookDispatch: "per-phase", format: "json" },
  ]
) {
  Deno.test(`clients, access log (${options.format}), metrics, plugins, traces and spans tell the same (${options.hookDispatch}, processes ${processes})`, async () => {
    await using upstream = moodyUpstream();
    await using collector = otlpCollector();
    const { hookDispatch, format } = options;
    const route = (path: string, more: object) => ({
      path,
      upstream: upstream.url,
      plugins: ["001-act"],
      ...more,
    });
    await using gateway = await testGateway({
      env: collector.env,
      plugins: {
        "001-act.ts": ACTOR,
        "002-read.ts": "export default { afterResponse(ctx) { ctx.response.text(); } };",
      },
      config: {
        processes,
        hookDispatch,
        log: { format, level: "info" },
        hookTimeoutMs: 150,
        hardCeilingMs: 400,
        pluginPoolSize: 1,
        maxInFlight: 10,
        bodies: { maxRequestBytes: 10_000 },
        cors: { allowedOrigins: ["https://a.test"] },
        timeouts: { responseHeaderMs: 400 },
        routes: [
          route("/a/*", {}),
          route("/read/*", { plugins: ["001-act", "002-read"], onHookTimeout: "reject" }),
          route("/bold/*", { onHookError: "continue" }),
          route("/plain/*", { plugins: false }),
          route("/get/*", { methods: ["GET"] }),
          route("/dead/*", { upstream: "http://127.0.0.1:1", plugins: false }),
          route("/turns/*", { upstream: ["http://127.0.0.1:1", upstream.url], plugins: false }),
        ],
      },
    });
    const traffic = (clients: number, ways: readonly Way[]) =>
      mixedTraffic(gateway, { ways, rounds: 2, clients, upstream: upstream.url });
    // All find room and an isolate first, so that everything happens once; then some do not.
    const seen = [
      ...await traffic(8, WAYS),
      ...await traffic(32, [...WAYS, ...DEADLY_WAYS]),
    ];
    const accessLines = () => gateway.logs.map(accessLine).filter(({ bytes }) => bytes >= 0);
    await gateway.until(() => accessLines().length >= seen.length, {
      what: "a line for each request",
    });
    const lines = accessLines();
    assertSameEnds(seen, lines);
    const stories = await Promise.all(seen.map(({ id }) => onlyStory(gateway, id)));
    assertStories(lines, stories);
    const page = await scrape(gateway);
    assertMetrics(page, lines, stories);
    await assertPlugins(gateway, page);
    assertEquals(
      counted(upstream.ids.filter((id) => !seen.some((each) => each.id === id)), String),
      {},
    );
    await gateway.until(
      () =>
        collector.spans.filter(({ kind, attributes }) =>
          kind === "server" && attributes["conduit.request_id"]
        ).length >= seen.length,
      { what: "the spans" },
    );
    assertSpans(collector.spans, stories);
  });
}

async function onlyStory(gateway: TestGateway, id: string): Promise<Told> {
  const { requests } = await adminPage(gateway, `/trace/${id}`);
  assertEquals(requests.length, 1, id);
  return requests[0];
}

function assertSameEnds(seen: readonly Seen[], lines: readonly Told[]): void {
  assertEquals(lines.length, seen.length, "one line a request");
  const lineOf = new Map(lines.map((line) => [line.traceId, line]));
  for (const { id, status, bytes, end } of seen) {
    const line = lineOf.get(id);
    assert(line, `no line of ${id}`);
    const what = `${JSON.stringify({ id, status, bytes, end })} ${JSON.stringify(line)}`;
    if (end === "left") assertEquals([line.status, Number(line.bytes) >= bytes], [499, true], what);
    else {
      assertEquals([line.status, line.cut !== undefined], [status, end === "cut"], what);
      if (end === "whole") assertEquals(line.bytes, bytes, what);
      else assert(Number(line.bytes) >= bytes, what);
    }
  }
}

function assertStories(lines: readonly Told[], stories: readonly Told[]): void {
  const lineOf = new Map(lines.map((line) => [line.traceId, line]));
  for (const story of stories) {
    const line = lineOf.get(story.traceId);
    assertEquals(
      [
        story.status,
        story.bytes,
        story.route,
        story.rejectedBy,
        story.method,
        story.path,
        story.status === 499 ? undefined : story.error,
        story.user,
      ],
      [
        line?.status,
        line?.bytes,
        line?.route,
        line?.rejectedBy,
        line?.method,
        line?.path,
        line?.error,
        line?.user,
      ] as unknown[],
      story.traceId,
    );
    assertEquals((story.upstream?.attempts ?? 1) - 1, line?.retries || 0, story.traceId);
    assertEquals(
      story.upstream?.durationMs !== undefined,
      !Number.isNaN(Number(line?.upstreamMs)),
      story.traceId,
    );
  }
}

function assertMetrics(
  page: MetricsPage,
  lines: readonly Told[],
  stories: readonly Told[],
): void {
  const hooks = stories.flatMap((story: Told) => story.hooks);
  const trips = stories.filter(({ upstream }) => upstream?.durationMs !== undefined);
  const routeOf = ({ route }: Told) => route;
  const expected = {
    conduit_requests_total: counted(lines, routeOf, methodOf, ({ status }) => status),
    conduit_response_body_bytes_total: summed(lines, routeOf, ({ bytes }) => Number(bytes)),
    conduit_request_duration_seconds_count: counted(lines, routeOf),
    conduit_upstream_duration_seconds_count: counted(trips, routeOf),
    conduit_upstream_retries_total: summed(lines, routeOf, ({ retries }) => Number(retries) || 0),
    conduit_upstream_failures_total: counted(
      trips.filter(({ upstream }) => upstream.failure),
      routeOf,
      ({ upstream }) => upstream.failure,
    ),
    conduit_forward_refusals_total: counted(
      trips.filter(({ upstream }) => upstream.forwardRefused),
      routeOf,
    ),
    conduit_hook_outcomes_total: counted(
      hooks,
      ({ plugin }) => plugin,
      ({ hook }) => hook,
      outcomeOf,
    ),
    conduit_hook_duration_seconds_count: counted(hooks, ({ plugin }) => plugin, ({ hook }) => hook),
    conduit_denials_total: summed(
      hooks,
      ({ plugin, hook }) => `${plugin} ${hook}`,
      ({ denied }) => denied?.length ?? 0,
    ),
    conduit_shed_total: summed(lines, () => "", ({ error }) => Number(error === "overloaded")),
  };
  const labels: Readonly<Record<string, readonly string[]>> = {
    conduit_requests_total: ["route", "method", "status"],
    conduit_upstream_failures_total: ["route", "failure"],
    conduit_hook_outcomes_total: ["plugin", "hook", "outcome"],
    conduit_hook_duration_seconds_count: ["plugin", "hook"],
    conduit_denials_total: ["plugin", "hook"],
    conduit_shed_total: [],
  };
  for (const [family, counts] of Object.entries(expected)) {
    assertEquals(series(page, family, ...labels[family] ?? ["route"]), counts, family);
    assert(Object.keys(counts).length > 0, `no ${family} in this traffic`);
  }
  assertEquals(total(page, "conduit_requests_in_flight"), 0);
  for (
    const name of [
      "conduit_request_duration_seconds",
      "conduit_upstream_duration_seconds",
      "conduit_hook_duration_seconds",
    ]
  ) {
    assertEquals(total(page, `${name}_bucket`, { le: "+Inf" }), total(page, `${name}_count`), name);
  }
}

async function assertPlugins(gateway: TestGateway, page: MetricsPage): Promise<void> {
  const report = await adminPage(gateway, "/plugins");
  const plugins = (report.processes ?? [report]).flatMap((each: Told) => each.plugins);
  const hooks = plugins.flatMap(({ name, hooks }: Told) =>
    Object.entries<Told>(hooks).map(([hook, told]) => ({ name, hook, ...told }))
  );
  const outcomes = hooks.flatMap(({ name, hook, outcomes = {} }: Told) =>
    Object.entries(outcomes).map(([outcome, count]) => ({
      key: `${name} ${hook} ${outcome}`,
      count,
    }))
  );
  assertEquals(
    summed(outcomes, ({ key }: Told) => key, ({ count }: Told) => count),
    series(page, "conduit_hook_outcomes_total", "plugin", "hook", "outcome"),
  );
  const keyOf = ({ name, hook }: Told) => `${name} ${hook}`;
  assertEquals(
    summed(hooks, keyOf, ({ denials = 0 }: Told) => denials),
    series(page, "conduit_denials_total", "plugin", "hook"),
  );
  assertEquals(
    summed(hooks, keyOf, ({ count }: Told) => count),
    series(page, "conduit_hook_duration_seconds_count", "plugin", "hook"),
  );
}

function assertSpans(spans: readonly CollectedSpan[], stories: readonly Told[]): void {
  const served = spans.filter(({ kind, attributes }) =>
    kind === "server" && attributes["conduit.request_id"]
  );
  assertEquals(served.length, stories.length);
  for (const { spanId, attributes } of served) {
    const story = stories.find(({ traceId }) => traceId === attributes["conduit.request_id"]);
    const children = spans.filter(({ parentSpanId }) => parentSpanId === spanId);
    const hooks = children.filter(({ kind }) => kind === "internal").map(({ name, attributes }) =>
      `${name} ${attributes["conduit.action"]}`
    );
    assertEquals(attributes["http.response.status_code"], story.status, story.traceId);
    assertEquals(attributes["http.route"], story.route, story.traceId);
    assertEquals(attributes["conduit.rejected_by"], story.rejectedBy, story.traceId);
    assertEquals(
      hooks.sort(),
      story.hooks.map(({ plugin, hook, action }: Told) => `${plugin} ${hook} ${action}`).sort(),
      story.traceId,
    );
    assertEquals(
      children.filter(({ kind }) => kind === "client").length,
      story.upstream ? 1 : 0,
      story.traceId,
    );
  }
}
