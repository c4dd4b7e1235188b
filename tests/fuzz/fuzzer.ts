/**
 * Runs one target: the kept inputs first, then mutations of whatever gave a new sort of answer.
 *
 * @module
 */

import { mutate } from "./mutate.ts";
import { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

export interface FuzzOptions {
  /** At least one. */
  readonly kept: readonly Uint8Array[];
  readonly seed: number;
  /** Whether to go on. */
  readonly goOn: (runs: number) => boolean;
  /** Told of each input before it is run, in case that never ends. */
  readonly before?: (input: Uint8Array) => void;
  /** Bytes of memory in use, looked at now and then. */
  readonly memoryBytes?: () => number;
}

export interface Finding {
  readonly input: Uint8Array;
  readonly what: string;
}

export interface FuzzReport {
  readonly runs: number;
  /** Sorts of answers seen. */
  readonly answers: number;
  readonly finding?: Finding;
}

const MAX_CORPUS = 4000;
/** No target keeps anything from one input to the next, and none of the inputs is larger than 16 KiB. */
const MAX_MEMORY_BYTES = 400e6;
const MAX_SHRINK_RUNS = 2000;

/** Ends at the first finding, which is made as small as it gets. */
export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzReport> {
  const { seed, goOn, before, memoryBytes = () => 0 } = options;
  const random = new Random(seed);
  const corpus = [...options.kept];
  const answers = new Set<string>();
  const mutations = { corpus, dictionary: target.dictionary, isJson: target.isJson ?? false };
  let runs = 0;
  for (; runs < options.kept.length || goOn(runs); runs++) {
    const input = options.kept[runs] ?? mutate(random, mutations);
    before?.(input);
    const { answer, problem } = await outcome(target, input);
    if (problem !== undefined) {
      const small = await shrink(target, { input, what: problem });
      return { runs, answers: answers.size, finding: small };
    }
    if (!answers.has(answer)) {
      answers.add(answer);
      if (corpus.length < MAX_CORPUS) corpus.push(input);
    }
    if (runs % 4096 === 4095 && memoryBytes() > MAX_MEMORY_BYTES) {
      const what = `${Math.round(memoryBytes() / 1e6)} MB are in use after ${runs} inputs`;
      return { runs, answers: answers.size, finding: { input, what } };
    }
  }
  return { runs, answers: answers.size };
}

type Outcome =
  | { readonly answer: string; readonly problem?: undefined }
  | { readonly answer?: undefined; readonly problem: string };

async function outcome(target: FuzzTarget, input: Uint8Array): Promise<Outcome> {
  try {
    // A copy: what changes its input shall not change the corpus.
    return { answer: `ok ${await target.run(input.slice())}` };
  } catch (error) {
    if (target.errors.some((type) => error instanceof type)) {
      const { name, message } = error as Error;
      // V8 quotes the text that is no JSON in its message.
      return { answer: error instanceof SyntaxError ? name : `${name} ${template(message)}` };
    }
    return { problem: error instanceof Error ? `${error.stack ?? error}` : `${error}` };
  }
}

/** The first line of a message, without what differs from input to input. */
export function template(message: string): string {
  const [line = ""] = message.split("\n", 1);
  return line.replaceAll(/"(?:[^"\\]|\\.)*"/g, '"…"').replaceAll(/\d+/g, "0").slice(0, 300);
}

/** Leaves out whatever is not needed for the same problem. */
async function shrink(target: FuzzTarget, { input, what }: Finding): Promise<Finding> {
  const isSame = async (candidate: Uint8Array) => {
    const { problem } = await outcome(target, candidate);
    return problem !== undefined && firstLine(problem) === firstLine(what);
  };
  let small = input;
  let runs = 0;
  for (let size = input.length >> 1; size > 0; size >>= 1) {
    for (let at = 0; at + size <= small.length && runs < MAX_SHRINK_RUNS; runs++) {
      const candidate = new Uint8Array(small.length - size);
      candidate.set(small.subarray(0, at));
      candidate.set(small.subarray(at + size), at);
      if (await isSame(candidate)) small = candidate;
      else at += size;
    }
  }
  return { input: small, what };
}

function firstLine(text: string): string {
  return template(text);
}
