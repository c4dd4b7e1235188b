/**
 * `deno task fuzz [--minutes N | --seconds N] [--target NAME] [--seed S]`: all targets, as many at a time as there are cores, each in a
 * process of its own. The first finding of each is printed with its seed and its input, and kept among the regressions; exit code 1.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { fromFileUrl } from "@std/path";
import { keepRegression, quoted } from "./corpus.ts";
import type { Finding, FuzzReport } from "./fuzzer.ts";
import { TARGETS } from "./targets.ts";
import { newProgress, readProgress, type WorkerInit } from "./progress.ts";

/** One input may take so long on a machine that is busy with other things. */
const MAX_INPUT_MS = 5000;
/** Beyond it the process ends: no target needs nearly as much. */
const MAX_HEAP_MB = 600;

interface Options {
  readonly seconds: number;
  readonly seed: number;
}

/** Runs one target here. @returns the exit code */
async function fuzzHere(target: string, { seconds, seed }: Options): Promise<number> {
  const progress = newProgress();
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const done = Promise.withResolvers<FuzzReport>();
  worker.onmessage = ({ data }: MessageEvent<FuzzReport>) => done.resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    const { runs, input } = readProgress(progress);
    done.resolve({ runs, answers: 0, finding: { input, what: event.message } });
  };
  worker.postMessage({ target, seed, seconds, progress } satisfies WorkerInit);
  const watch = watchProgress(progress, (finding) => done.resolve(finding));
  const { runs, answers, finding } = await done.promise;
  clearInterval(watch);
  if (!finding) {
    console.log(`${target}: ${runs} inputs, ${answers} sorts of answers, seed ${seed}`);
    return 0;
  }
  const file = await keepRegression(target, finding.input);
  console.error(describe(target, { finding, seed, runs, file }));
  return 1;
}

function watchProgress(progress: SharedArrayBuffer, hang: (report: FuzzReport) => void) {
  let last = { runs: -1, at: performance.now() };
  return setInterval(() => {
    const { runs, input } = readProgress(progress);
    if (runs !== last.runs) last = { runs, at: performance.now() };
    // Before the first input it is still loading.
    else if (runs > 0 && performance.now() - last.at > MAX_INPUT_MS) {
      hang({ runs, answers: 0, finding: { input, what: `takes more than ${MAX_INPUT_MS} ms` } });
    }
  }, 200);
}

function describe(
  target: string,
  { finding: { what, input }, seed, runs, file }: {
    readonly finding: Finding;
    readonly seed: number;
    readonly runs: number;
    readonly file: string;
  },
): string {
  return `${target}: FOUND with seed ${seed} after ${runs} inputs
${what}
input: ${quoted(input)}
base64: ${input.toBase64()}
kept in ${file}, which every run begins with`;
}

/** Runs each target in a process of its own. @returns the exit code */
async function fuzzAll(targets: readonly string[], { seconds, seed }: Options): Promise<number> {
  const waiting = [...targets];
  let code = 0;
  const lane = async () => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      const args = ["--target", target, "--seconds", `${seconds}`, "--seed", `${seed}`];
      const { code: own } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "-A",
          "--no-check",
          `--v8-flags=--max-old-space-size=${MAX_HEAP_MB}`,
          fromFileUrl(import.meta.url),
          ...args,
        ],
      }).output().then(async ({ stdout, stderr, code }) => {
        await Deno.stdout.write(stdout);
        await Deno.stderr.write(stderr);
        if (code > 1) console.error(`${target}: ended with ${code} under seed ${seed}`);
        return { code };
      });
      code = Math.max(code, own);
    }
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, lane));
  return code === 0 ? 0 : 1;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string" },
      seconds: { type: "string" },
      seed: { type: "string" },
      target: { type: "string" },
    },
  });
  const options: Options = {
    seconds: values.seconds ? Number(values.seconds) : 60 * Number(values.minutes ?? 1),
    seed: values.seed ? Number(values.seed) : Math.floor(Math.random() * 2 ** 31),
  };
  if (values.target && !TARGETS.some(({ name }) => name === values.target)) {
    console.error(
      `there is no target "${values.target}", there are ${
        TARGETS.map(({ name }) => name).join(", ")
      }`,
    );
    Deno.exit(2);
  }
  Deno.exit(
    values.target
      ? await fuzzHere(values.target, options)
      : await fuzzAll(TARGETS.map(({ name }) => name), options),
  );
}
