/**
 * `/metrics` of one process, in the text format of Prometheus; `?format=json` is for the parent of several processes.
 *
 * @module
 */

import type { Registry } from "prom-client";
import { type AdminPage, json } from "../admin.ts";

export function metricsPage(registry: Registry): AdminPage {
  return async ({ searchParams }) =>
    searchParams.get("format") === "json"
      ? json(200, await registry.getMetricsAsJSON())
      : await metricsText(registry);
}

/** The page of all that is in `registry`. */
export async function metricsText(registry: Registry): Promise<Response> {
  return new Response(await registry.metrics(), {
    headers: { "content-type": registry.contentType, "cache-control": "no-store" },
  });
}
