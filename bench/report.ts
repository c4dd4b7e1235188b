/**
 * The results as Markdown.
 *
 * @module
 */

import type { Verdict } from "./goals.ts";
import { addedMs, type LeftOut, p50, p99, rate, type Series, type Throughput } from "./results.ts";

/** The cases, one a row. A ratio is that of the medians. */
export function throughputTable({ cases }: Throughput): string {
  const byId = new Map(cases.map((each) => [each.id, each]));
  const base = p50(byId.get("direct")?.single ?? []);
  const rows = cases.map(({ id, title, loaded, single }) => {
    const rates = loaded.map((each) => each.requestsPerSecond);
    const range = `${count(rate(loaded))} [${count(Math.min(...rates))}–${
      count(Math.max(...rates))
    }]`;
    const ratio = (to: string) => number(rate(loaded) / rate(byId.get(to)?.loaded ?? []), 2);
    const failed = [...loaded, ...single].reduce((sum, each) => sum + each.failed, 0);
    return [
      failed > 0 ? `${title} (${failed} failed)` : title,
      range,
      ratio("caddy"),
      ratio("nginx"),
      number(p50(loaded), 2),
      number(p99(loaded), 2),
      number(p50(single), 3),
      id === "direct" ? "" : number(p50(single) - base, 3),
    ];
  });
  return markdownTable([
    "case",
    "requests/s",
    "× Caddy",
    "× nginx",
    "p50 ms, 32",
    "p99 ms, 32",
    "p50 ms, 1",
    "added p50 ms, 1",
  ], rows);
}

export function seriesTable({ title, xLabel, lines }: Series): string {
  const rows = lines.flatMap((line) =>
    line.points.map((point) => [
      line.title,
      point.x,
      count(rate(point.loaded)),
      number(p50(point.single), 3),
      number(addedMs(point), 3),
    ])
  );
  const head = ["line", xLabel, "requests/s", "p50 ms", "added p50 ms"];
  return `${title}\n\n${markdownTable(head, rows)}`;
}

export function goalsTable(verdicts: readonly Verdict[]): string {
  const answer = (met: boolean | undefined) => met === undefined ? "" : met ? "yes" : "no";
  return markdownTable(
    ["goal", "reached", "met"],
    verdicts.map(({ goal, reached, met }) => [goal, reached, answer(met)]),
  );
}

/** What was not measured and why, as a list. */
export function leftOutList(leftOut: readonly LeftOut[]): string {
  return leftOut.map(({ title, reason }) => `- left out: ${title}: ${reason}\n`).join("");
}

/** A table in which all columns but the first are aligned right. */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const rule = head.map((_, column) => column === 0 ? "---" : "---:");
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return [head, rule, ...rows].map(line).join("");
}

/** Thousands set apart by a comma, no decimals. */
export const count = (value: number): string =>
  Number.isFinite(value) ? Math.round(value).toLocaleString("en") : "";

const number = (value: number, digits: number): string =>
  Number.isFinite(value) ? value.toFixed(digits) : "";
