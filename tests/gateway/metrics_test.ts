import { assert, assertEquals } from "@std/assert";
import type { HookStep } from "../../gateway/exchange.ts";
import { Metrics } from "../../gateway/observe/metrics.ts";
import type { EndedStory } from "../../gateway/observe/stories.ts";

const ENDED: EndedStory = {
  traceId: "t",
  endedAt: 0,
  method: "GET",
  path: "/",
  route: "/*",
  clientAddr: "",
  user: undefined,
  status: 200,
  durationMs: 1,
  sentBytes: 0,
  steps: [],
  trip: undefined,
  rejectedBy: undefined,
  error: undefined,
  failure: undefined,
  upstreamFailure: undefined,
};

const step = (changed: Partial<HookStep> = {}): HookStep => ({
  plugin: "001-a",
  hook: "beforeRequest",
  action: "modify",
  durationMs: 1,
  ...changed,
});

/** The page after these requests. */
async function pageOf(requests: readonly EndedStory[]): Promise<string> {
  const metrics = new Metrics({ version: "0" });
  for (const each of requests) {
    metrics.requestBegan();
    metrics.requestEnded(each);
  }
  return await metrics.registry.metrics();
}

Deno.test("metrics: routes and plugins of years of reloads end in one series, and what comes is still counted", async () => {
  const many = Array.from({ length: 1500 }, (_, at): EndedStory => ({
    ...ENDED,
    route: `/${at}`,
    steps: [step({ plugin: `${at}` })],
  }));
  const page = await pageOf(many);
  const count = (pattern: RegExp) => page.match(pattern)?.length;
  assertEquals(count(/^conduit_requests_total\{/gm), 1001);
  assertEquals(count(/^conduit_hook_duration_seconds_count\{.*beforeRequest/gm), 1001);
  assert(page.includes('conduit_requests_total{route="other",method="GET",status="200"} 500\n'));
  assert(page.includes('{plugin="other",hook="beforeRequest",outcome="modified"} 500\n'));
});

Deno.test("metrics: what an isolate makes up as its time neither breaks the page nor moves a sum by more than an hour", async () => {
  for (const [durationMs, sum] of [[-5, 0], [1e300, 3600], [0, 0], [1500, 1.5]] as const) {
    const page = await pageOf([{ ...ENDED, steps: [step({ durationMs })] }]);
    assert(
      page.includes(
        `conduit_hook_duration_seconds_sum{plugin="001-a",hook="beforeRequest"} ${sum}\n`,
      ),
      page,
    );
  }
});

Deno.test("metrics: a series begins with 0, so that its first event has a rate", async () => {
  const page = await pageOf([{ ...ENDED, steps: [step()] }]);
  for (
    const series of [
      "conduit_shed_total",
      "conduit_isolates_lost_total",
      'conduit_host_restarts_total{reason="died"}',
      'conduit_hook_answers_dropped_total{reason="double"}',
      'conduit_plugin_loads_total{result="failed"}',
      'conduit_forward_refusals_total{route="/*"}',
      'conduit_upstream_retries_total{route="/*"}',
      'conduit_denials_total{plugin="001-a",hook="beforeRequest"}',
      'conduit_hook_outcomes_total{plugin="001-a",hook="beforeRequest",outcome="timed_out"}',
      'conduit_hook_outcomes_total{plugin="001-a",hook="afterResponse",outcome="error"}',
    ]
  ) assert(page.includes(`\n${series} 0\n`), series);
});
