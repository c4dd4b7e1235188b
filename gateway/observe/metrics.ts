/**
 * What this process counts, for `/metrics`. Series are looked up by their labels once and kept, so that a request costs a
 * handful of additions; what others know already is asked for at a scrape.
 *
 * It outlives reloads: whatever serves at the moment is told to `watch`.
 *
 * @module
 */

import { Gauge, Registry } from "prom-client";
import type { HookName } from "../../protocol/snapshot.ts";
import type { HookStep } from "../exchange.ts";
import { askedCounter, askedGauge, type Families, makeFamilies } from "./families.ts";
import { addProcessMetrics } from "./process_metrics.ts";
import type { EndedStory } from "./stories.ts";
import type { Buckets, Count } from "./tallies.ts";

/** Why an answer of an isolate is not taken. */
export type DroppedAnswer = "late" | "double" | "unknown";

/** What is asked for at a scrape. */
export interface PluginFacts {
  /** Sets of plugins in memory, with those that drain. */
  readonly generations: number;
  readonly readyIsolates: number;
  /** The files on disk are not what runs. */
  readonly isStale: boolean;
  readonly hostPid: number | undefined;
}

/** How a hook ended, as `outcome`, by the `action` of its step. */
const OUTCOMES: Readonly<Record<string, string>> = {
  continue: "ok",
  modify: "modified",
  reject: "rejected",
  forward: "forwarded",
  timed_out: "timed_out",
  error: "error",
  crashed: "crashed",
  unavailable: "unavailable",
};
/** In place of `modified` and `forwarded`, where a part of what was proposed was denied. */
const DENIED = "denied";

/** The label of a request that no route took. */
const NO_ROUTE = "-";
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
/** The label of all other methods, and of all names beyond `MAX_NAMES`. */
const OTHER = "other";
/** Routes and plugins come from files, so there are few; over years of reloads there may be many. */
const MAX_NAMES = 1000;
/** No hook is taken to have lasted longer, whatever its isolate says. */
const MAX_SECONDS = 3600;

interface RouteSeries {
  readonly label: string;
  readonly duration: Buckets;
  readonly upstream: Buckets;
  readonly sentBytes: Count;
  readonly retries: Count;
  readonly forwardRefusals: Count;
  /** By method, then by status. */
  readonly requests: Map<string, Count[]>;
}

/** What is known of one hook of one plugin. */
export interface HookSeries {
  readonly duration: Buckets;
  readonly denials: Count;
  readonly outcomes: Readonly<Record<string, Count>>;
}

export type PluginSeries = Readonly<Record<HookName, HookSeries>>;

export class Metrics {
  readonly registry: Registry = new Registry();
  /** Bytes on the plugin socket; whoever moves them adds to it. */
  readonly ipc = { receivedBytes: 0, sentBytes: 0 };
  readonly #families: Families = makeFamilies(this.registry);
  readonly #routes = new Map<string, RouteSeries>();
  readonly #plugins = new Map<string, PluginSeries>();
  #inFlight = 0;
  #facts: () => PluginFacts | undefined = () => undefined;

  /** @param lostLines lines of the log that could not be written */
  constructor(
    { version, lostLines = () => 0 }: {
      readonly version: string;
      readonly lostLines?: (() => number) | undefined;
    },
  ) {
    addInfo(this.registry, version);
    const { registry } = this;
    askedGauge(registry, "conduit_requests_in_flight", {
      help: "Requests that are being answered.",
      read: () => this.#inFlight,
    });
    askedCounter(registry, "conduit_ipc_bytes_total", {
      help: "Bytes between the gateway and its plugin hosts, as the gateway sees them.",
      read: () => ({ received: this.ipc.receivedBytes, sent: this.ipc.sentBytes }),
    }, "direction");
    askedCounter(registry, "conduit_log_lines_lost_total", {
      help: "Lines of the log that could not be written.",
      read: lostLines,
    });
    askedGauge(registry, "conduit_isolates", {
      help: "Isolates that take hooks now.",
      read: () => this.#facts()?.readyIsolates,
    });
    askedGauge(registry, "conduit_generations", {
      help: "Sets of plugins in memory, with those that only end what they began.",
      read: () => this.#facts()?.generations,
    });
    askedGauge(registry, "conduit_plugins_stale", {
      help: "1 where the plugin files on disk do not load, so that others run.",
      read: () => {
        const facts = this.#facts();
        return facts && Number(facts.isStale);
      },
      aggregator: "max",
    });
    addProcessMetrics(registry, () => this.#facts()?.hostPid);
    // A series that begins with its first event has no rate for that one: these begin with 0.
    const { shed, isolatesLost, droppedAnswers, pluginLoads, hostRestarts } = this.#families;
    for (const family of [shed, isolatesLost]) family.labels();
    for (const reason of ["late", "double", "unknown"]) droppedAnswers.labels(reason);
    for (const result of ["ok", "failed"]) pluginLoads.labels(result);
    for (const reason of ["died", "blocked"]) hostRestarts.labels(reason);
  }

  /** From now on these facts are asked for at a scrape. */
  watch(facts: () => PluginFacts): void {
    this.#facts = facts;
  }

  requestBegan(): void {
    this.#inFlight++;
  }

  requestEnded(request: EndedStory): void {
    const { status, trip, upstreamFailure } = request;
    this.#inFlight--;
    const series = this.#route(request.route ?? NO_ROUTE);
    const method = METHODS.has(request.method) ? request.method : OTHER;
    let byStatus = series.requests.get(method);
    if (!byStatus) series.requests.set(method, byStatus = []);
    const count = byStatus[status] ??= this.#families.requests.labels(
      series.label,
      method,
      String(status),
    );
    count.value++;
    series.duration.observe(request.durationMs / 1000);
    series.sentBytes.value += request.sentBytes;
    if (request.error === "overloaded") this.#families.shed.labels().value++;
    for (const step of request.steps) this.#hookEnded(step);
    if (trip?.durationMs !== undefined) series.upstream.observe(trip.durationMs / 1000);
    if (trip && trip.attempts > 1) series.retries.value += trip.attempts - 1;
    if (trip?.refusal !== undefined) series.forwardRefusals.value++;
    if (upstreamFailure !== undefined) {
      this.#families.upstreamFailures.labels(series.label, upstreamFailure).value++;
    }
  }

  answerDropped(reason: DroppedAnswer): void {
    this.#families.droppedAnswers.labels(reason).value++;
  }

  /** @param from `plugin 001-auth`, `hooks of 001-auth` or `plugin host output` */
  logRecordDropped(from: string): void {
    this.#families.droppedLogs.labels(from).value++;
  }

  isolateLost(): void {
    this.#families.isolatesLost.labels().value++;
  }

  pluginsLoaded(result: "ok" | "failed"): void {
    this.#families.pluginLoads.labels(result).value++;
  }

  hostRestarted(reason: "died" | "blocked"): void {
    this.#families.hostRestarts.labels(reason).value++;
  }

  #hookEnded({ plugin, hook, action, durationMs, denials }: HookStep): void {
    const series = this.#plugin(plugin)[hook];
    series.duration.observe(Math.min(Math.max(durationMs / 1000, 0), MAX_SECONDS));
    const isDenied = denials !== undefined && (action === "modify" || action === "forward");
    const outcome = series.outcomes[isDenied ? DENIED : OUTCOMES[action] ?? ""];
    if (outcome) outcome.value++;
    if (denials !== undefined) series.denials.value += denials.length;
  }

  /** What is known of the hooks of a plugin, if one of them ever ran. */
  hooks(plugin: string): PluginSeries | undefined {
    return this.#plugins.get(plugin);
  }

  #route(name: string): RouteSeries {
    const known = this.#routes.get(name);
    if (known) return known;
    if (this.#routes.size >= MAX_NAMES && name !== OTHER) return this.#route(OTHER);
    const { durations, upstreams, sentBytes, retries, forwardRefusals } = this.#families;
    const series = {
      label: name,
      duration: durations.labels(name),
      upstream: upstreams.labels(name),
      sentBytes: sentBytes.labels(name),
      retries: retries.labels(name),
      forwardRefusals: forwardRefusals.labels(name),
      requests: new Map(),
    };
    this.#routes.set(name, series);
    return series;
  }

  #plugin(name: string): PluginSeries {
    const known = this.#plugins.get(name);
    if (known) return known;
    if (this.#plugins.size >= MAX_NAMES && name !== OTHER) return this.#plugin(OTHER);
    const series = {
      beforeRequest: this.#newHook(name, "beforeRequest"),
      afterResponse: this.#newHook(name, "afterResponse"),
    };
    this.#plugins.set(name, series);
    return series;
  }

  #newHook(plugin: string, hook: HookName): HookSeries {
    const { hookDurations, hookOutcomes, denials } = this.#families;
    const outcomes = Object.fromEntries(
      [...Object.values(OUTCOMES), DENIED]
        .map((outcome) => [outcome, hookOutcomes.labels(plugin, hook, outcome)]),
    );
    return {
      duration: hookDurations.labels(plugin, hook),
      denials: denials.labels(plugin, hook),
      outcomes,
    };
  }
}

function addInfo(registry: Registry, version: string): void {
  new Gauge({
    name: "conduit_info",
    help: "Always 1; the versions are its labels.",
    labelNames: ["version", "deno"],
    aggregator: "max",
    registers: [registry],
  }).set({ version, deno: Deno.version.deno }, 1);
}
