/**
 * `/metrics` of the parent of several gateway processes: one page for all of them. Counters never fall while the parent
 * lives: what a process that has ended had counted stays in the sum, as far as it was asked.
 *
 * @module
 */

import { AggregatorRegistry, type Registry } from "prom-client";

/** A family with its values, as `getMetricsAsJSON` gives it. */
interface Family {
  readonly name: string;
  readonly type: string;
  readonly values: readonly object[];
}

export type Page = readonly Family[];

/** The last page of each process, and what those that ended had counted. */
export class MergedMetrics {
  readonly #own: Registry;
  readonly #last = new Map<number, Page>();
  #departed: Page = [];

  /** @param own what the parent itself has to tell */
  constructor(own: Registry) {
    this.#own = own;
  }

  /** Takes a page of the process `pid`; a process that does not answer stays on the page with its last one. */
  update(pid: number, page: Page): void {
    this.#last.set(pid, page);
  }

  /** The process has ended: what it is is gone, what it has counted stays. */
  ended(pid: number): void {
    const page = this.#last.get(pid);
    this.#last.delete(pid);
    if (page) this.#departed = [...this.#departed, ...page.filter(isCumulative)];
  }

  /** All of it as one registry. */
  async merged(): Promise<Registry> {
    // Each family that is given again is added to the one before, so the departed stay one page.
    const departed = await this.#compacted();
    const own = await this.#own.getMetricsAsJSON() as unknown as Page;
    return AggregatorRegistry.aggregate([departed, ...this.#last.values(), own] as object[]);
  }

  async #compacted(): Promise<Page> {
    if (this.#departed.length === 0) return [];
    const families = this.#departed.map((family) => [family]);
    const registry = AggregatorRegistry.aggregate(families as object[]);
    return this.#departed = await registry.getMetricsAsJSON() as unknown as Page;
  }
}

function isCumulative({ type }: Family): boolean {
  return type === "counter" || type === "histogram";
}
