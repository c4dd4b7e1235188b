/**
 * `deno task soak`: everything that a gateway can meet, under load, with every answer counted. The exit code says whether all
 * promises were kept. On Linux only.
 *
 * @module
 */

import { Load } from "./load.ts";
import { pause, type Phase } from "./phase.ts";
import { MACHINE_PHASES } from "./machine_phases.ts";
import { NETWORK_PHASES } from "./network_phases.ts";
import { PLUGIN_PHASES } from "./plugin_phases.ts";
import {
  broken,
  grown,
  type PhaseReport,
  type Report,
  reportText,
  type StormReport,
} from "./report.ts";
import { CALM, Storm } from "./storm.ts";

export const PHASES: readonly Phase[] = [...PLUGIN_PHASES, ...NETWORK_PHASES, ...MACHINE_PHASES];

/** By their number and not by time: on a busy machine a process takes longer until it is warm. */
const WARM_UP_ANSWERS = 12_000;
/** A process is warm where one rush more makes it grow by no more than this share. */
const WARM_GROWTH = 0.02;
const WARM_UP_LIMIT = 10;
/** As many times the calm clients: hooks are packed, and with few of them most isolates would stay as they are. */
const RUSHING = 8;
const SAMPLES = 5;
const SAMPLE_MS = 200;
/**
 * A short run does not last until V8 has given its young generation its full size: over 20 s of load, without anything that
 * leaks, a gateway grows by this. A long run begins with the short one and allows for nothing.
 */
const YOUNG_MIB = 32;
/** Idle connections to upstreams end after 30 s, and garbage has its own time. */
const SETTLE_LIMIT_MS = 60_000;
const LEFT_LIMIT_MS = 10_000;

const HELP = `Usage: deno task soak [options]

  --minutes N     the full counts, again and again until N minutes are over; without it, a few of each
  --phase NAME    one of ${PHASES.map(({ name }) => name).join(", ")}; may be given several times
  --json FILE     writes the counts
`;

export interface SoakOptions {
  /** 0 for a short run. */
  readonly minutes: number;
  /** All of them where it is empty. */
  readonly phases: readonly string[];
  readonly json?: string | undefined;
}

/** @throws {TypeError} with what is wrong */
export function parseOptions(args: readonly string[]): SoakOptions {
  let [minutes, json]: [number, string | undefined] = [0, undefined];
  const phases: string[] = [];
  for (let at = 0; at < args.length; at += 2) {
    const [name, value = ""] = args.slice(at, at + 2);
    if (name === "--minutes" && Number(value) > 0) minutes = Number(value);
    else if (name === "--phase" && PHASES.some((each) => each.name === value)) phases.push(value);
    else if (name === "--json" && value !== "") json = value;
    else throw new TypeError(`${JSON.stringify(`${name} ${value}`.trim())} is no option`);
  }
  return { minutes, phases, json };
}

/** @param say is told what happens now */
export async function soak(
  { minutes, phases: names }: SoakOptions,
  say: (text: string) => void = () => {},
): Promise<Report> {
  const startedAt = new Date();
  const chosen = PHASES.filter(({ name }) => names.length === 0 || names.includes(name));
  const able = chosen.filter(({ ignored }) => ignored === undefined);
  const shared = able.filter(({ gateway }) => !gateway);
  const groups = [
    ...(shared.length > 0 ? [shared] : []),
    ...able.filter(({ gateway }) => gateway).map((each) => [each]),
  ];
  const until = startedAt.getTime() + minutes * 60_000;
  const storms: StormReport[] = [];
  for (const group of groups) {
    const rounds = group === shared ? until : 0;
    storms.push(await rage(group, { isLong: minutes > 0, until: rounds, say }));
  }
  return {
    startedAt: startedAt.toISOString(),
    minutes,
    storms,
    ignored: Object.fromEntries(
      chosen.flatMap(({ name, ignored }) => ignored ? [[name, ignored]] : []),
    ),
  };
}

/** Some phases over one gateway, and over again until it is time. */
async function rage(
  group: readonly Phase[],
  { isLong, until, say }: {
    readonly isLong: boolean;
    readonly until: number;
    readonly say: (text: string) => void;
  },
): Promise<StormReport> {
  await using storm = await Storm.start(group[0]?.gateway);
  const phases: PhaseReport[] = [];
  const round = async (eventsOf: (phase: Phase) => number) => {
    for (const phase of group) {
      say(`${phase.name} …`);
      phases.push(await runPhase(storm, phase, eventsOf(phase)));
    }
  };
  await rush(storm);
  if (isLong) {
    await round(({ atOnce, long, short }) => atOnce ? long : short);
    await warmUp(storm); // the host may be a new one
  }
  const garbageMiB = isLong ? 0 : YOUNG_MIB;
  const before = await usual(storm, SAMPLES - 1);
  do await round((phase) => isLong ? phase.long : phase.short); while (Date.now() < until);
  say("until it is calm …");
  if (isLong) await rush(storm);
  const after = await settled(storm, { before, garbageMiB });
  const { code: exitCode, inFlight, orphans } = await storm.end();
  const faults = storm.faults();
  return { phases, before, after, garbageMiB, exitCode, inFlight, orphans, faults };
}

async function runPhase(storm: Storm, phase: Phase, events: number): Promise<PhaseReport> {
  const first = await storm.upstream.counts();
  const startedAt = performance.now();
  const load = storm.load(phase.lanes);
  let failure: string | undefined;
  let done: PhaseReport["events"] = {};
  try {
    done = await phase.run(storm, load, events);
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
  }
  await load.stop();
  const last = await nothingRuns(storm);
  return {
    phase: phase.name,
    seconds: (performance.now() - startedAt) / 1000,
    events: done,
    answers: load.answers,
    outcomes: load.counts,
    lost: load.lost,
    unpoliced: last.unpoliced - first.unpoliced,
    left: last.running,
    ...(failure === undefined ? {} : { failure }),
  };
}

/** The upstream's counts when no request runs there any more, or should not. */
async function nothingRuns(storm: Storm) {
  const limit = Date.now() + LEFT_LIMIT_MS;
  for (;;) {
    const counts = await storm.upstream.counts();
    if (counts.running === 0 || Date.now() > limit) return counts;
    await pause(20);
  }
}

type Use = StormReport["before"];

/**
 * As many requests as it can take: a fresh process would make everything look like a leak, and so would one that has no reason
 * to collect its garbage.
 */
async function rush(storm: Storm): Promise<void> {
  const lanes = CALM.map((lane) => ({ ...lane, clients: RUSHING * lane.clients }));
  const load = new Load(storm.port, lanes, { pauseMs: 0 });
  while (load.answers < WARM_UP_ANSWERS) await pause(SAMPLE_MS);
  await load.stop();
}

/** Rushes until that makes it no larger: each isolate takes memory until it has once been as busy as it can be. */
async function warmUp(storm: Storm): Promise<void> {
  for (let left = WARM_UP_LIMIT, grows = true; left > 0 && grows; left--) {
    const before = await storm.usage();
    await rush(storm);
    const after = await storm.usage();
    grows = after.gateway.rssMiB > before.gateway.rssMiB * (1 + WARM_GROWTH) ||
      after.host.rssMiB > before.host.rssMiB * (1 + WARM_GROWTH);
  }
}

/** What it uses when it has come back to where it was, or at the end of its time. */
async function settled(
  storm: Storm,
  from: Pick<StormReport, "before" | "garbageMiB">,
): Promise<Use> {
  const limit = Date.now() + SETTLE_LIMIT_MS;
  for (;;) {
    const after = await usual(storm, SAMPLES >> 1);
    if (grown({ ...from, after }).length === 0 || Date.now() > limit) return after;
  }
}

/** Of some samples under the calm load the one at `rank`, from the least: garbage comes and goes. */
async function usual(storm: Storm, rank: number): Promise<Use> {
  const load = storm.load(CALM);
  const seen: Use[] = [];
  while (seen.length < SAMPLES) {
    await pause(SAMPLE_MS);
    seen.push(await storm.usage());
  }
  await load.stop();
  const ranked = (of: (use: Use) => number) => seen.map(of).sort((a, b) => a - b)[rank] ?? NaN;
  const usage = (process: keyof Use) => ({
    rssMiB: ranked((use) => use[process].rssMiB),
    fds: ranked((use) => use[process].fds),
    threads: ranked((use) => use[process].threads),
  });
  return { gateway: usage("gateway"), host: usage("host") };
}

async function main(options: SoakOptions): Promise<number> {
  const report = await soak(options, (text) => console.error(text));
  if (options.json !== undefined) {
    await Deno.writeTextFile(options.json, JSON.stringify(report, null, 2) + "\n");
  }
  console.log(reportText(report));
  const promises = broken(report);
  console.log(
    promises.length === 0 ? "all promises were kept" : `NOT KEPT:\n${promises.join("\n")}`,
  );
  return promises.length === 0 ? 0 : 1;
}

if (import.meta.main) {
  if (Deno.args.includes("--help")) {
    console.log(HELP);
    Deno.exit(0);
  }
  try {
    Deno.exit(await main(parseOptions(Deno.args)));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    console.error(`soak: ${error.message}\n\n${HELP}`);
    Deno.exit(2);
  }
}
