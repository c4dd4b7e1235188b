/**
 * What the gateway costs, measured beside other gateways on this machine: `deno task bench`. How it is done and how to read
 * it: `docs/benchmarks/README.md`.
 *
 * @module
 */

import { join } from "@std/path";
import { barChart, lineChart } from "./chart.ts";
import { reason } from "./cases.ts";
import { verdicts } from "./goals.ts";
import { idle } from "./idle.ts";
import { Lab, ROOT, startUpstream, which } from "./lab.ts";
import { circumstances } from "./machine.ts";
import { memory } from "./memory.ts";
import { goalsTable, leftOutList, seriesTable, throughputTable } from "./report.ts";
import { addedMs, rate, type Results, type Series } from "./results.ts";
import { series } from "./series.ts";
import { startTimes } from "./start.ts";
import { CASES, type Effort, throughput } from "./throughput.ts";

const SUITES = ["throughput", "start", "idle", "memory", "series"] as const;
type Suite = typeof SUITES[number];

const HELP = `Usage: deno task bench [options]

  --suite NAME,...   ${SUITES.join(", ")} or all (default: throughput)
  --only NAME,...    cases of the throughput suite: ${CASES.map(({ id }) => id).join(", ")}
  --seconds N        of each measurement (default: 5)
  --rounds N         (default: 3)
  --quick            a try: one round of one second, less of everything else
  --out DIR          where the results go (default: docs/benchmarks, and with --quick or --only a
                     folder under the temporary directory: a part does not replace the whole)
`;

interface Options {
  readonly suites: readonly Suite[];
  readonly only: readonly string[];
  readonly seconds: number;
  readonly rounds: number;
  readonly quick: boolean;
  /** Missing for a folder under the temporary directory. */
  readonly out: string | undefined;
}

/** @throws {TypeError} with what is wrong and what there is */
export function parseOptions(args: readonly string[]): Options {
  const given: Record<string, string> = {};
  for (let at = 0; at < args.length; at++) {
    const name = args[at] ?? "";
    if (!/^--(suite|only|seconds|rounds|quick|out)$/.test(name)) {
      throw new TypeError(`${JSON.stringify(name)} is no option`);
    }
    given[name.slice(2)] = name === "--quick" ? "1" : args[++at] ?? "";
  }
  const quick = given.quick !== undefined;
  const names = (value: string | undefined, known: readonly string[]) => {
    const list = value === undefined ? [] : value.split(",");
    const unknown = list.find((name) => !known.includes(name));
    if (unknown === undefined) return list;
    throw new TypeError(`${JSON.stringify(unknown)} is none of ${known.join(", ")}`);
  };
  const number = (name: string, fallback: number) => {
    const value = Number(given[name] ?? fallback);
    if (Number.isInteger(value) && value > 0) return value;
    throw new TypeError(
      `--${name} needs a whole number from 1, not ${JSON.stringify(given[name])}`,
    );
  };
  const only = names(given.only, CASES.map(({ id }) => id));
  const suites = given.suite === "all" ? SUITES : names(given.suite, SUITES) as Suite[];
  return {
    suites: suites.length === 0 ? ["throughput"] : suites,
    only,
    seconds: number("seconds", quick ? 1 : 5),
    rounds: number("rounds", quick ? 1 : 3),
    quick,
    out: given.out ||
      (quick || only.length > 0 ? undefined : join(ROOT, "docs/benchmarks")),
  };
}

async function main(options: Options): Promise<void> {
  const out = options.out ?? await Deno.makeTempDir({ prefix: "conduit-bench-results-" });
  let results: Results = await readResults(join(out, "latest.json"));
  for (const suite of options.suites) {
    const conditions = await circumstances(options);
    results = {
      ...results,
      [suite]: { circumstances: conditions, ...await measure(suite, options) },
    };
    // After each suite: a later one that fails must not take the earlier ones along.
    await write(out, results, suite);
  }
  console.log(goalsTable(verdicts(results)));
  console.error(`written to ${out}`);
}

async function measure(suite: Suite, { only, ...options }: Options): Promise<object> {
  const effort: Effort = { ...options, say: (text) => console.error(text) };
  await using lab = await Lab.open();
  const upstream = await startUpstream(lab);
  switch (suite) {
    case "throughput": {
      const found = await throughput(lab, upstream, { ...effort, only });
      console.log(throughputTable(found));
      console.log(leftOutList(found.leftOut));
      return found;
    }
    case "start":
      return await startTimes(lab, upstream, effort);
    case "idle":
      return await idle(lab, upstream, effort);
    case "memory":
      return await memory(lab, upstream, effort);
    case "series": {
      const found = await series(lab, upstream, effort);
      for (const each of found.series) console.log(seriesTable(each) + leftOutList(each.leftOut));
      return found;
    }
  }
}

/** Writes all results and the charts of one suite, in the form that `deno fmt` wants. */
async function write(out: string, results: Results, suite: Suite): Promise<void> {
  await Deno.mkdir(out, { recursive: true });
  const files: Record<string, string> = { "latest.json": JSON.stringify(results, null, 2) };
  if (suite === "throughput") files["latest.svg"] = throughputChart(results);
  if (suite === "series") {
    for (const each of results.series?.series ?? []) {
      if (each.lines.length > 0) files[`series-${each.id}.svg`] = seriesChart(each);
    }
  }
  const paths = Object.keys(files).map((name) => join(out, name));
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(out, name), text);
  }
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", "--config", join(ROOT, "deno.json"), ...paths],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

function throughputChart({ throughput }: Results): string {
  // The upstream itself would leave no room for the gateways.
  const cases = throughput?.cases.filter(({ id }) => id !== "direct") ?? [];
  const bars = cases.map(({ title, ours, loaded }) => ({
    label: title,
    ours,
    value: rate(loaded),
  }));
  return barChart(
    "Requests a second, median, 32 connections",
    bars.toSorted((a, b) => b.value - a.value),
  );
}

function seriesChart({ title, xLabel, lines }: Series): string {
  const values = (of: (point: Series["lines"][number]["points"][number]) => number) =>
    lines.map((line) => ({ label: line.title, values: line.points.map(of) }));
  return lineChart(title, {
    xs: lines[0]?.points.map((point) => point.x) ?? [],
    xLabel,
    panels: [
      {
        title: "requests/s, median",
        lines: values((point) => rate(point.loaded)),
        text: (value) => `${(value / 1000).toFixed(1)}k`,
      },
      {
        title: "added p50 in ms against nginx alone",
        lines: values(addedMs),
        text: (value) => value.toFixed(2),
      },
    ],
  });
}

async function readResults(file: string): Promise<Results> {
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  }
}

if (import.meta.main) {
  if (Deno.args.includes("--help")) {
    console.log(HELP);
    Deno.exit(0);
  }
  let options: Options;
  try {
    options = parseOptions(Deno.args);
    for (const program of ["wrk", "nginx"]) {
      if (await which(program) === undefined) {
        throw new TypeError(`${program} is needed and not there: apt-get install ${program}`);
      }
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    console.error(`bench: ${reason(error)}\n\n${HELP}`);
    Deno.exit(2);
  }
  await main(options);
}
