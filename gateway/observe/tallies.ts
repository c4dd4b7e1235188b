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
class Family<T> {
  readonly #labelNames: readonly string[];
  readonly #create: () => T;
  readonly #series = new Map<string, { readonly labels: Labels; readonly value: T }>();

  constructor(labelNames: readonly string[], create: () => T) {
    this.#labelNames = labelNames;
    this.#create = create;
  }

  get series(): { readonly labels: Labels; readonly value: T }[] {
    return [...this.#series.values()];
  }

  /** The series with these labels, the same one each time; who fills it often keeps it. */
  labels(...values: readonly string[]): T {
    const key = JSON.stringify(values);
    const known = this.#series.get(key);
    if (known) return known.value;
    const labels = Object.fromEntries(this.#labelNames.map((name, at) => [name, values[at] ?? ""]));
    const value = this.#create();
    this.#series.set(key, { labels, value });
    return value;
  }
}

export type CounterFamily = Pick<Family<Count>, "labels">;
export type HistogramFamily = Pick<Family<Buckets>, "labels">;

export function counterFamily(registry: Registry, options: FamilyOptions): CounterFamily {
  const family = new Family<Count>(options.labelNames, () => ({ value: 0 }));
  register(
    registry,
    { ...options, type: "counter" },
    () => family.series.map(({ labels, value: { value } }) => ({ labels, value })),
  );
  return family;
}

/** @param options.bounds upper ends of the buckets, rising */
export function histogramFamily(
  registry: Registry,
  { bounds, ...options }: FamilyOptions & { readonly bounds: readonly number[] },
): HistogramFamily {
  const family = new Family<Buckets>(options.labelNames, () => new Buckets(bounds));
  register(
    registry,
    { ...options, type: "histogram" },
    () => family.series.flatMap(({ labels, value }) => value.values(options.name, labels)),
  );
  return family;
}

function register(
  registry: Registry,
  family: FamilyOptions & { readonly type: string },
  values: () => readonly object[],
): void {
  const metric = { ...family, aggregator: "sum" };
  const get = () => Promise.resolve({ ...metric, values: values() });
  // The registry asks no more of a metric than this; its types want one of the library's classes.
  registry.registerMetric({ ...metric, get } as unknown as Metric);
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
