/**
 * Counters and histograms that cost an addition each: a request touches a dozen of them, and `prom-client`'s own look every
 * value up by its labels. They stand in its registry like any other and are read at a scrape.
 *
 * @module
 */

import type { Metric, Registry } from "prom-client";

/** One series of a counter; whoever has something to count adds to it. */
export interface Count {
  value: number;
}

type Labels = Readonly<Record<string, string>>;

interface FamilyOptions {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
}

/** The series of a family by their labels. */
export interface Family<T> {
  /** The series with these labels, the same one each time; who fills it often keeps it. */
  labels(...values: readonly string[]): T;
}

export function counterFamily(registry: Registry, options: FamilyOptions): Family<Count> {
  return newFamily(registry, { ...options, type: "counter" }, {
    create: () => ({ value: 0 }),
    values: ({ value }, labels) => [{ labels, value }],
  });
}

/** @param options.bounds upper ends of the buckets, rising */
export function histogramFamily(
  registry: Registry,
  { bounds, ...options }: FamilyOptions & { readonly bounds: readonly number[] },
): Family<Buckets> {
  return newFamily(registry, { ...options, type: "histogram" }, {
    create: () => new Buckets(bounds),
    values: (buckets, labels) => buckets.values(options.name, labels),
  });
}

function newFamily<T>(
  registry: Registry,
  options: FamilyOptions & { readonly type: string },
  { create, values }: {
    readonly create: () => T;
    readonly values: (series: T, labels: Labels) => readonly object[];
  },
): Family<T> {
  const series = new Map<string, { readonly labels: Labels; readonly value: T }>();
  const metric = { ...options, aggregator: "sum" };
  const all = () => [...series.values()].flatMap(({ labels, value }) => values(value, labels));
  const get = () => Promise.resolve({ ...metric, values: all() });
  // The registry asks no more of a metric than this; its types want one of the library's classes.
  registry.registerMetric({ ...metric, get } as unknown as Metric);
  return {
    labels(...given) {
      const key = JSON.stringify(given);
      const known = series.get(key);
      if (known) return known.value;
      const named = options.labelNames.map((name, at) => [name, given[at] ?? ""] as const);
      const value = create();
      series.set(key, { labels: Object.fromEntries(named), value });
      return value;
    },
  };
}

/** One series of a histogram. */
export class Buckets {
  readonly #bounds: readonly number[];
  /** One more than bounds: what is above all of them. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let at = 0;
    while (at < bounds.length && value > (bounds[at] as number)) at++;
    this.#counts[at] = (this.#counts[at] as number) + 1;
    this.#sum += value;
  }

  get count(): number {
    return this.#counts.reduce((sum, each) => sum + each, 0);
  }

  get mean(): number {
    return this.#sum / this.count;
  }

  /** About where a share of the values lies below: within its bucket they are taken to be spread evenly. */
  quantile(share: number): number {
    let rank = share * this.count;
    for (const [at, count] of this.#counts.entries()) {
      const [low, high] = [this.#bounds[at - 1] ?? 0, this.#bounds[at]];
      if (rank <= count && count > 0) {
        return high === undefined ? low : low + (high - low) * rank / count;
      }
      rank -= count;
    }
    return NaN;
  }

  /** As a page of Prometheus has them: each bucket with all that is below it. */
  values(name: string, labels: Labels): object[] {
    let below = 0;
    const buckets = Array.from(this.#counts, (count, at) => ({
      metricName: `${name}_bucket`,
      labels: { le: this.#bounds[at] ?? "+Inf", ...labels },
      value: below += count,
    }));
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: this.#sum },
      { metricName: `${name}_count`, labels, value: below },
    ];
  }
}
