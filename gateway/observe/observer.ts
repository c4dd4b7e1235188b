/**
 * What becomes of a request that has ended: one access line, the counts of `/metrics`, its story for `/trace`, the end of its span.
 *
 * @module
 */

import { type AccessLog, type Arrival, type Story, userId } from "../access_log.ts";
import type { HookStep } from "../exchange.ts";
import type { Metrics } from "./metrics.ts";
import type { KeptStory, Stories } from "./stories.ts";

export interface ObserverNeeds {
  readonly accessLog: AccessLog;
  readonly metrics: Metrics;
  /** Where there is nobody to show them, none are kept. */
  readonly stories: Stories | undefined;
}

const NO_STEPS: readonly HookStep[] = [];

/** Sees the requests of one configuration; what it counts in outlives that. */
export class Observer {
  readonly #needs: ObserverNeeds;

  constructor(needs: ObserverNeeds) {
    this.#needs = needs;
  }

  began(): void {
    this.#needs.metrics.requestBegan();
  }

  /** @param status 499 where the client left before it had its answer */
  ended(arrival: Arrival, story: Story, status: number): void {
    const { accessLog, metrics, stories } = this.#needs;
    const told = storyOf(arrival, { story, status });
    metrics.requestEnded(told);
    accessLog.write(arrival, told);
    stories?.keep(told, arrival.url.length);
    arrival.span?.end({
      ...story,
      requestId: arrival.traceId,
      status,
      error: status === 499 ? "client_gone" : story.failure ?? story.errorCode,
      isCut: story.failure !== undefined,
    });
  }
}

/** What there is to tell of a request that runs. */
export function runningStory(arrival: Arrival, story: Story): KeptStory {
  return storyOf(arrival, { story, status: undefined });
}

function storyOf<S extends number | undefined>(
  { request, traceId, peer, startedAt }: Arrival,
  { story, status }: { readonly story: Story; readonly status: S },
): KeptStory & { readonly status: S } {
  const { path, route, exchange, sentBytes, rejectedBy, errorCode, failure } = story;
  return {
    traceId,
    endedAt: Date.now(),
    method: request.method,
    path,
    route,
    clientAddr: exchange?.facts.request.remoteAddr ?? peer,
    user: userId(exchange?.draft.user),
    status,
    durationMs: performance.now() - startedAt,
    sentBytes,
    steps: exchange?.steps ?? NO_STEPS,
    trip: exchange?.trip,
    rejectedBy,
    error: errorCode,
    failure,
    upstreamFailure: story.upstreamFailure,
  };
}
