/**
 * Runs `wrk` and reads what it prints.
 *
 * @module
 */

import type { Sample } from "./results.ts";

/** What every measured request carries: the field that the policies read. */
export const TENANT = { "x-tenant": "bench" } as const;

export interface Load {
  readonly connections: number;
  readonly seconds: number;
  readonly headers?: Readonly<Record<string, string>>;
}

const MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

/** @throws where `wrk` is not there or got no answer */
export async function wrk(url: string, load: Load): Promise<Sample> {
  const fields = Object.entries({ ...TENANT, ...load.headers });
  const { stdout, stderr } = await new Deno.Command("wrk", {
    args: [
      "-t1",
      `-c${load.connections}`,
      `-d${load.seconds}s`,
      "--latency",
      ...fields.flatMap(([name, value]) => ["-H", `${name}: ${value}`]),
      url,
    ],
  }).output();
  const decoder = new TextDecoder();
  return parseWrk(decoder.decode(stdout) + decoder.decode(stderr));
}

/** The report of `wrk --latency`. */
export function parseWrk(text: string): Sample {
  const requestsPerSecond = Number(/Requests\/sec:\s*([\d.]+)/.exec(text)?.[1]);
  if (!(requestsPerSecond > 0)) throw new Error(`wrk measured nothing: ${text.trim()}`);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  const broken = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  return {
    requestsPerSecond,
    p50Ms: percentile(text, 50),
    p99Ms: percentile(text, 99),
    failed: (broken?.slice(1) ?? []).reduce((sum, count) => sum + Number(count), refused),
  };
}

function percentile(text: string, percent: number): number {
  const [, value, unit = ""] =
    RegExp(`^\\s*${percent}%\\s+([\\d.]+)(us|ms|s|m)$`, "m").exec(text) ??
      [];
  const factor = MS[unit];
  if (value === undefined || factor === undefined) {
    throw new Error(`wrk gave no ${percent} % latency: ${text.trim()}`);
  }
  return Number((Number(value) * factor).toFixed(6));
}
