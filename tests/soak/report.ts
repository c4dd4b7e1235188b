/**
 * What a storm came to: the counts, which promises they break, and the table that people read.
 *
 * @module
 */

import type { Usage } from "../support/proc.ts";
import type { Load } from "./load.ts";

export interface PhaseReport {
  readonly phase: string;
  readonly seconds: number;
  /** What was done, counted. */
  readonly events: Readonly<Record<string, number>>;
  readonly answers: number;
  /** By path and outcome. */
  readonly outcomes: Load["counts"];
  /** Requests with an outcome that the failure policy does not have for them. */
  readonly lost: number;
  /** Requests that reached the upstream on a closed route without the policy's mark. */
  readonly unpoliced: number;
  /** Requests that the upstream still had when all clients were done. */
  readonly left: number;
  /** What never came, where the phase broke off. */
  readonly failure?: string;
}

type Both = Readonly<Record<"gateway" | "host", Usage>>;

/** One gateway, from its start to its end. */
export interface StormReport {
  readonly phases: readonly PhaseReport[];
  /** Once it is warm, and when all is over. */
  readonly before: Both;
  readonly after: Both;
  /** What it may have grown by beside a tenth. */
  readonly garbageMiB: number;
  readonly exitCode: number;
  /** Requests under way when it was told to end; missing where its log is out of reach. */
  readonly inFlight?: number | undefined;
  /** Processes of its session that outlived it. */
  readonly orphans: number;
  /** Messages that never may stand in the log. */
  readonly faults: readonly string[];
}

export interface Report {
  readonly startedAt: string;
  readonly minutes: number;
  readonly storms: readonly StormReport[];
  readonly ignored: Readonly<Record<string, string>>;
}

const LIMIT = 1.1;

/** What grew by more than a tenth. */
export function grown(
  { before, after, garbageMiB }: Pick<StormReport, "before" | "after" | "garbageMiB">,
): string[] {
  const slack = { rssMiB: garbageMiB, fds: 0 };
  return (["gateway", "host"] as const).flatMap((process) =>
    (["rssMiB", "fds"] as const)
      .filter((what) => after[process][what] > before[process][what] * LIMIT + slack[what])
      .map((what) => `${process}: ${what} ${before[process][what]} -> ${after[process][what]}`)
  );
}

/** Every promise that was not kept; none for a good storm. */
export function broken({ storms }: Report): string[] {
  return storms.flatMap((storm) => [
    ...storm.phases.flatMap((phase) => [
      ...(phase.failure === undefined ? [] : [`${phase.phase}: ${phase.failure}`]),
      ...(phase.answers > 0 ? [] : [`${phase.phase}: nobody was served`]),
      ...(phase.lost === 0 ? [] : [`${phase.phase}: ${phase.lost} requests lost`]),
      ...(phase.unpoliced === 0 ? [] : [`${phase.phase}: ${phase.unpoliced} requests unpoliced`]),
      ...(phase.left === 0 ? [] : [`${phase.phase}: ${phase.left} requests left at the upstream`]),
    ]),
    ...grown(storm),
    ...(storm.exitCode === 0 ? [] : [`the gateway ended with ${storm.exitCode}`]),
    ...(storm.inFlight ? [`${storm.inFlight} requests in flight that nobody waits for`] : []),
    ...(storm.orphans === 0 ? [] : [`${storm.orphans} orphans`]),
    ...storm.faults.map((fault) => `the log says: ${fault}`),
  ]);
}

/** A table row for each phase and two lines for each gateway. */
export function reportText({ storms, ignored }: Report): string {
  const head = ["phase", "s", "events", "answers", "other than 200", "lost", "unpoliced", "left"];
  const rows = storms.flatMap(({ phases }) => phases).map((each) => [
    each.phase,
    each.seconds.toFixed(0),
    counted(each.events),
    `${each.answers}`,
    counted(othersOf(each)) || "-",
    `${each.lost}`,
    `${each.unpoliced}`,
    `${each.left}`,
  ]);
  const lines = storms.map((storm) => {
    const names = storm.phases.map(({ phase }) => phase).join(", ");
    const use = (["gateway", "host"] as const).map((process) => {
      const [before, after] = [storm.before[process], storm.after[process]];
      return `${process} ${before.rssMiB} -> ${after.rssMiB} MiB, ${before.fds} -> ${after.fds} descriptors, ` +
        `${before.threads} -> ${after.threads} threads`;
    });
    return `${names}: ${use.join("; ")}; exit ${storm.exitCode}, ${storm.orphans} orphans, ` +
      `${storm.inFlight ?? "?"} in flight, ${storm.faults.length} faults\n`;
  });
  const skipped = Object.entries(ignored).map(([phase, why]) => `${phase}: IGNORED, ${why}\n`);
  return [aligned([head, ...rows]), ...lines, ...skipped].join("\n");
}

function othersOf({ outcomes }: PhaseReport): Record<string, number> {
  const others: Record<string, number> = {};
  for (const [outcome, count] of Object.values(outcomes).flatMap(Object.entries<number>)) {
    if (outcome !== "200") others[outcome] = (others[outcome] ?? 0) + count;
  }
  return others;
}

function counted(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ");
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, at) =>
    Math.max(...rows.map((row) => row[at]?.length ?? 0))
  );
  return rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ").trimEnd())
    .join("\n") + "\n";
}
