/**
 * What counting one request and remembering its story costs: no hooks, two, and eight, beside nothing but the clock.
 *
 * @module
 */

import type { HookStep } from "../../gateway/exchange.ts";
import { Metrics } from "../../gateway/observe/metrics.ts";
import { type EndedStory, Stories } from "../../gateway/observe/stories.ts";

const metrics = new Metrics({ version: "0" });

const steps = (count: number): HookStep[] =>
  Array.from({ length: count }, (_, at) => ({
    plugin: `00${at >> 1}-plugin`,
    hook: at % 2 === 0 ? "beforeRequest" : "afterResponse",
    action: "modify",
    durationMs: 0.1,
    // New each time, as it is decoded.
    result: {
      type: "result",
      id: at,
      plugin: `00${at >> 1}-plugin`,
      durationMs: 0.1,
      action: "modify",
      patch: { upstream: { headers: { "x-user-id": "u-1", "x-roles": ["a", "b"] } } },
    },
  }));

const storyWith = (steps: readonly HookStep[]): EndedStory => ({
  traceId: "0b6e9c0a-6d0f-4f0a-9d52-2f7f3c1c5a0e",
  endedAt: 0,
  method: "GET",
  path: "/user-service/me",
  route: "/user-service/*",
  clientAddr: "203.0.113.7",
  user: undefined,
  status: 200,
  durationMs: 3,
  sentBytes: 1000,
  steps,
  trip: { isForward: false, attempts: 1, durationMs: 2 },
  rejectedBy: undefined,
  error: undefined,
  failure: undefined,
  upstreamFailure: undefined,
});

function count(steps: readonly HookStep[]): void {
  metrics.requestBegan();
  metrics.requestEnded(storyWith(steps));
}

Deno.bench("performance.now", { group: "request", baseline: true }, () => {
  performance.now();
});

for (const hooks of [0, 2, 8]) {
  const each = steps(hooks);
  Deno.bench(`a request with ${hooks} hooks`, { group: "request" }, () => count(each));
}

const stories = new Stories();

function remember(steps: readonly HookStep[]): void {
  stories.keep(storyWith(steps), 40);
}

for (const hooks of [0, 2, 8]) {
  Deno.bench(
    `the steps of ${hooks} hooks, made`,
    { group: `story ${hooks}`, baseline: true },
    () => {
      steps(hooks);
    },
  );
  Deno.bench(`and remembered`, { group: `story ${hooks}` }, () => remember(steps(hooks)));
}

Deno.bench("a scrape", async () => {
  await metrics.registry.metrics();
});
