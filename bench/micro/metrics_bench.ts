/**
 * What counting one request costs: no hooks, two, and eight, beside nothing but the clock.
 *
 * @module
 */

import type { HookStep } from "../../gateway/exchange.ts";
import { Metrics } from "../../gateway/observe/metrics.ts";

const metrics = new Metrics({ version: "0" });

const steps = (count: number): HookStep[] =>
  Array.from({ length: count }, (_, at) => ({
    plugin: `00${at >> 1}-plugin`,
    hook: at % 2 === 0 ? "beforeRequest" : "afterResponse",
    action: "modify",
    durationMs: 0.1,
  }));

function count(steps: readonly HookStep[]): void {
  metrics.requestBegan();
  metrics.requestEnded({
    method: "GET",
    route: "/user-service/*",
    status: 200,
    durationMs: 3,
    sentBytes: 1000,
    isShed: false,
    steps,
    trip: { isForward: false, attempts: 1, durationMs: 2 },
    upstreamFailure: undefined,
  });
}

Deno.bench("performance.now", { group: "request", baseline: true }, () => {
  performance.now();
});

for (const hooks of [0, 2, 8]) {
  const each = steps(hooks);
  Deno.bench(`a request with ${hooks} hooks`, { group: "request" }, () => count(each));
}

Deno.bench("a scrape", async () => {
  await metrics.registry.metrics();
});
