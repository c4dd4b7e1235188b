/**
 * What a run of the benchmarks leaves behind: the shape of `docs/benchmarks/latest.json`, and the arithmetic over its samples.
 *
 * @module
 */

/** One run of `wrk`. */
export interface Sample {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers that were not 2xx or 3xx, and connections that broke. */
  readonly failed: number;
}

/** All samples of one case. `loaded` is at concurrency 32, `single` at concurrency 1. */
export interface CaseResult {
  readonly id: string;
  readonly title: string;
  readonly ours: boolean;
  readonly loaded: readonly Sample[];
  readonly single: readonly Sample[];
}

/** A case that could not be measured, and what to do about it. */
export interface LeftOut {
  readonly title: string;
  readonly reason: string;
}

export interface Throughput {
  readonly cases: readonly CaseResult[];
  readonly leftOut: readonly LeftOut[];
}

export interface StartTimes {
  /** From spawning `conduit run` to the first answer that all four plugins have touched. */
  readonly samplesMs: readonly number[];
}

export interface Idle {
  readonly clients: number;
  readonly warmRssBytes: number;
  readonly idleRssBytes: number;
}

/** One stream of bytes through hooks on both phases, with the gateway's resident memory beside it. */
export interface Transfer {
  readonly title: string;
  readonly bytes: number;
  readonly seconds: number;
  readonly peakRssBytes: number;
}

export interface Memory {
  /** After some bytes have gone either way, and before all transfers. */
  readonly warmRssBytes: number;
  readonly transfers: readonly Transfer[];
}

export interface SeriesPoint {
  /** What was varied, as the axis shows it. */
  readonly x: string;
  readonly loaded: readonly Sample[];
  readonly single: readonly Sample[];
  /** The same request straight to nginx, at the concurrency of `single`. */
  readonly base: readonly Sample[];
}

export interface SeriesLine {
  readonly title: string;
  readonly points: readonly SeriesPoint[];
}

export interface Series {
  readonly id: string;
  readonly title: string;
  readonly xLabel: string;
  readonly lines: readonly SeriesLine[];
  readonly leftOut: readonly LeftOut[];
}

/** Where and how something was measured. */
export interface Circumstances {
  readonly date: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly cores: number;
  readonly cpu: string;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** The load average of the last minute when it began: above 0.5 somebody else was at work. */
  readonly loadAverage: number;
  readonly commit: string;
  readonly versions: Readonly<Record<string, string>>;
}

type Measured<T> = { readonly circumstances: Circumstances } & T;

/** By suite, each as it was measured last. */
export interface Results {
  readonly throughput?: Measured<Throughput>;
  readonly start?: Measured<StartTimes>;
  readonly idle?: Measured<Idle>;
  readonly memory?: Measured<Memory>;
  readonly series?: Measured<{ readonly series: readonly Series[] }>;
}

/** The middle value, or the mean of the two middle ones; `NaN` of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? NaN;
  return Number.isInteger(middle) ? ((sorted[middle - 1] ?? NaN) + upper) / 2 : upper;
}

export const rate = (samples: readonly Sample[]): number =>
  median(samples.map((each) => each.requestsPerSecond));

export const p50 = (samples: readonly Sample[]): number =>
  median(samples.map((each) => each.p50Ms));

export const p99 = (samples: readonly Sample[]): number =>
  median(samples.map((each) => each.p99Ms));

/** What a point of a series adds to the median latency of the same request straight to nginx. */
export const addedMs = (point: SeriesPoint): number => p50(point.single) - p50(point.base);
