/**
 * The goals of the project for speed and memory, and whether what was measured reaches them.
 *
 * @module
 */

import { median, p50, rate, type Results } from "./results.ts";

export interface Verdict {
  readonly goal: string;
  /** The value, or why there is none. */
  readonly reached: string;
  /** Missing where it was not measured. */
  readonly met?: boolean;
}

interface Ratio {
  readonly ours: string;
  readonly theirs: string;
  readonly least: number;
}

const RATIOS: Readonly<Record<string, Ratio>> = {
  "no plugins against Caddy": { ours: "plain", theirs: "caddy", least: 2 },
  "no plugins against nginx": { ours: "plain", theirs: "nginx", least: 0.55 },
  "8 hooks per-phase against Caddy without policy": {
    ours: "per-phase",
    theirs: "caddy",
    least: 1.2,
  },
  "8 hooks per-phase against nginx with Lua": {
    ours: "per-phase",
    theirs: "nginx-lua",
    least: 0.4,
  },
  "8 hooks per-phase against @fastify/http-proxy": {
    ours: "per-phase",
    theirs: "fastify",
    least: 2,
  },
  "8 hooks per-hook against Caddy without policy": {
    ours: "per-hook",
    theirs: "caddy",
    least: 0.6,
  },
};

const ADDED_P50_MS = { "per-hook": 1, "per-phase": 0.35 } as const;
const MEMORY_MB = 96;
const IDLE_KB = 40;
const START_MS = 400;

/** Every goal, in the order of the table that was agreed on. */
export function verdicts(results: Results): Verdict[] {
  const cases = new Map(results.throughput?.cases.map((each) => [each.id, each]));
  const found: Verdict[] = [];
  for (const [title, { ours, theirs, least }] of Object.entries(RATIOS)) {
    const ratio = rate(cases.get(ours)?.loaded ?? []) / rate(cases.get(theirs)?.loaded ?? []);
    found.push(
      verdict(`${title} ≥ ${least.toFixed(2)} ×`, ratio, {
        met: ratio >= least,
        text: `${ratio.toFixed(2)} ×`,
      }),
    );
  }
  for (const [id, most] of Object.entries(ADDED_P50_MS)) {
    const added = p50(cases.get(id)?.single ?? []) - p50(cases.get("direct")?.single ?? []);
    found.push(
      verdict(`added p50 at concurrency 1, 8 hooks ${id} < ${most} ms`, added, {
        met: added < most,
        text: `${added.toFixed(3)} ms`,
      }),
    );
  }
  const { warmRssBytes: warm = NaN, transfers = [NO_TRANSFER] } = results.memory ?? {};
  for (const { title, peakRssBytes } of transfers) {
    const growth = (peakRssBytes - warm) / 1e6;
    found.push(
      verdict(`memory grows < ${MEMORY_MB} MB: ${title}`, growth, {
        met: growth < MEMORY_MB,
        text: `${growth.toFixed(1)} MB`,
      }),
    );
  }
  const { clients = NaN, warmRssBytes = NaN, idleRssBytes = NaN } = results.idle ?? {};
  const each = (idleRssBytes - warmRssBytes) / clients / 1000;
  const count = results.idle?.clients ?? 3000;
  const start = median(results.start?.samplesMs ?? []);
  return [
    ...found,
    verdict(`${count} idle keep-alive clients < ${IDLE_KB} KB each`, each, {
      met: each < IDLE_KB,
      text: `${each.toFixed(1)} KB`,
    }),
    verdict(`start to first policed answer < ${START_MS} ms`, start, {
      met: start < START_MS,
      text: `${start.toFixed(0)} ms`,
    }),
  ];
}

const NO_TRANSFER = {
  title: "2 GiB down, 1 GiB up, a reader that stops",
  peakRssBytes: NaN,
} as const;

function verdict(
  goal: string,
  value: number,
  { met, text }: { readonly met: boolean; readonly text: string },
): Verdict {
  return Number.isNaN(value) ? { goal, reached: "not measured" } : { goal, reached: text, met };
}
