/**
 * `/metrics` of the parent: one page for itself and all its gateway processes.
 *
 * @module
 */

import { Registry } from "prom-client";
import { askedCounter, askedGauge } from "../observe/families.ts";
import { MergedMetrics, type Page } from "../observe/merged_metrics.ts";
import { metricsText } from "../observe/metrics_page.ts";
import { addProcessMetrics } from "../observe/process_metrics.ts";
import type { GatewayProcess } from "./gateway_process.ts";
import type { KeptProcess } from "./kept_process.ts";

export class ParentMetrics {
  /** What the parent itself has to tell. */
  readonly registry: Registry = new Registry();
  readonly #processes: () => readonly KeptProcess[];
  readonly #merged: MergedMetrics = new MergedMetrics(this.registry);
  #started = 0;

  constructor(processes: () => readonly KeptProcess[]) {
    this.#processes = processes;
    const { registry } = this;
    addProcessMetrics(registry, () => undefined);
    askedGauge(registry, "conduit_processes", {
      help: "Gateway processes that are to be.",
      read: () => processes().length,
    });
    askedGauge(registry, "conduit_processes_serving", {
      help: "Gateway processes that take connections.",
      read: () => processes().filter(({ serving }) => serving).length,
    });
    askedCounter(registry, "conduit_process_restarts_total", {
      help: "Gateway processes started in the place of one that ended.",
      read: () => Math.max(0, this.#started - processes().length),
    });
  }

  /** Counts a process that was started, and keeps what it has counted when it ends. */
  watch(process: GatewayProcess): GatewayProcess {
    this.#started++;
    void process.ended.then(() => this.#merged.ended(process.pid));
    return process;
  }

  async page(): Promise<Response> {
    await Promise.all(
      this.#processes().map(async ({ serving }) => {
        const page = await serving?.ask<Page>("/metrics?format=json");
        if (serving?.listens && page) this.#merged.update(serving.pid, page);
      }),
    );
    return metricsText(await this.#merged.merged());
  }
}
