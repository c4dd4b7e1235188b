/**
 * The families of `/metrics` that a gateway process fills while it serves: names, labels, and what they count.
 * docs/operations.md explains each.
 *
 * @module
 */

import { Counter, Gauge, type Registry } from "prom-client";
import { counterFamily, histogramFamily } from "./tallies.ts";

const REQUEST_BUCKETS = [
  ...[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5],
  ...[1, 2.5, 5, 10, 30, 60],
];
const HOOK_BUCKETS = [
  ...[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05],
  ...[0.1, 0.25, 0.5, 1],
];

export type Families = ReturnType<typeof makeFamilies>;

/** The families by what they are called in the code. */
export function makeFamilies(registry: Registry) {
  const counter = (name: string, help: string, labelNames: readonly string[] = []) =>
    counterFamily(registry, { name, help, labelNames });
  const histogram = (name: string, help: string, more: {
    readonly labelNames: readonly string[];
    readonly bounds: readonly number[];
  }) => histogramFamily(registry, { name, help, ...more });
  const byRoute = { labelNames: ["route"], bounds: REQUEST_BUCKETS };
  return {
    requests: counter(
      "conduit_requests_total",
      "Requests that have ended, by the route that took them; 499 is a client that left.",
      ["route", "method", "status"],
    ),
    durations: histogram(
      "conduit_request_duration_seconds",
      "From a request's head to the end of its response.",
      byRoute,
    ),
    sentBytes: counter("conduit_response_body_bytes_total", "Bytes of response bodies.", ["route"]),
    shed: counter("conduit_shed_total", "Requests refused because of maxInFlight."),
    upstreams: histogram(
      "conduit_upstream_duration_seconds",
      "From a request to an upstream or forward target to the head of its answer, or its failure.",
      byRoute,
    ),
    upstreamFailures: counter(
      "conduit_upstream_failures_total",
      "Round trips that failed, also in the middle of a body.",
      ["route", "failure"],
    ),
    retries: counter(
      "conduit_upstream_retries_total",
      "Attempts after the first one, at another upstream or over a fresh connection.",
      ["route"],
    ),
    forwardRefusals: counter(
      "conduit_forward_refusals_total",
      "Forward targets that were refused.",
      ["route"],
    ),
    hookDurations: histogram(
      "conduit_hook_duration_seconds",
      "What a hook took in its isolate, or until it was given up.",
      { labelNames: ["plugin", "hook"], bounds: HOOK_BUCKETS },
    ),
    hookOutcomes: counter(
      "conduit_hook_outcomes_total",
      "How hooks ended.",
      ["plugin", "hook", "outcome"],
    ),
    denials: counter(
      "conduit_denials_total",
      "Fields, statuses and paths that a plugin set and may not.",
      ["plugin", "hook"],
    ),
    droppedAnswers: counter(
      "conduit_hook_answers_dropped_total",
      "Answers of isolates that were not taken.",
      ["reason"],
    ),
    droppedLogs: counter(
      "conduit_log_records_dropped_total",
      "Log records that plugins caused beyond their limits.",
      ["from"],
    ),
    isolatesLost: counter(
      "conduit_isolates_lost_total",
      "Isolates that crashed, ended or were given up.",
    ),
    pluginLoads: counter(
      "conduit_plugin_loads_total",
      "Sets of plugin files that went live, or did not load.",
      ["result"],
    ),
    hostRestarts: counter(
      "conduit_host_restarts_total",
      "Plugin hosts replaced because they died, or because a hook blocked an isolate.",
      ["reason"],
    ),
  };
}

/** A gauge that is asked for at a scrape; it has no value where there is none. */
export function askedGauge(
  registry: Registry,
  name: string,
  { help, read, aggregator = "sum" }: {
    readonly help: string;
    readonly read: () => number | undefined;
    /** How the values of several processes become one. */
    readonly aggregator?: "sum" | "max" | "min" | "first";
  },
): void {
  new Gauge({
    name,
    help,
    aggregator,
    registers: [registry],
    collect() {
      const value = read();
      if (value === undefined) this.remove();
      else this.set(value);
    },
  });
}

/** A counter that somebody else keeps, asked for at a scrape. */
export function askedCounter(
  registry: Registry,
  name: string,
  { help, read }: {
    readonly help: string;
    readonly read: () => Readonly<Record<string, number>> | number;
  },
  label?: string,
): void {
  new Counter({
    name,
    help,
    ...(label === undefined ? {} : { labelNames: [label] }),
    registers: [registry],
    collect() {
      const values = read();
      this.reset();
      if (typeof values === "number") return this.inc(values);
      for (const [value, count] of Object.entries(values)) {
        this.inc({ [label ?? ""]: value }, count);
      }
    },
  });
}
