/**
 * Requests a second and latency of our cases and of the peers, in interleaved rounds: each case once a round, so that a drift
 * of the machine meets all of them.
 *
 * @module
 */

import { reason, type Subject, SUBJECTS } from "./cases.ts";
import { checkAnswer, type Lab, type Server } from "./lab.ts";
import { PEERS } from "./peers.ts";
import type { CaseResult, LeftOut, Sample, Throughput } from "./results.ts";
import { wrk } from "./wrk.ts";

export const LOADED_CONNECTIONS = 32;

/** How a suite is run. */
export interface Effort {
  readonly rounds: number;
  readonly seconds: number;
  /** A try: less of everything, good for no number. */
  readonly quick: boolean;
  /** Says on stderr what is going on. */
  readonly say: (text: string) => void;
}

export const CASES: readonly Subject[] = [...SUBJECTS, ...PEERS];

/** @param only ids of cases; empty for all. Straight to nginx is always among them, the others are compared with it. */
export async function throughput(
  lab: Lab,
  upstream: Server,
  { only, ...effort }: Effort & { readonly only: readonly string[] },
): Promise<Throughput> {
  const running: { subject: Subject; url: string; loaded: Sample[]; single: Sample[] }[] = [];
  const leftOut: LeftOut[] = [];
  for (const subject of CASES) {
    if (only.length > 0 && subject.id !== "direct" && !only.includes(subject.id)) continue;
    try {
      const { origin } = await subject.start(lab, upstream);
      await checkAnswer(origin, subject);
      running.push({ subject, url: `${origin}/`, loaded: [], single: [] });
    } catch (error) {
      leftOut.push({ title: subject.title, reason: reason(error) });
    }
  }
  const { seconds, rounds } = effort;
  for (const { url } of running) {
    await wrk(url, { connections: LOADED_CONNECTIONS, seconds: Math.min(seconds, 2) });
  }
  for (let round = 1; round <= rounds; round++) {
    for (const each of [...running]) {
      const { subject, url, loaded, single } = each;
      effort.say(`round ${round} of ${rounds}: ${subject.title}`);
      try {
        loaded.push(await wrk(url, { connections: LOADED_CONNECTIONS, seconds }));
        single.push(await wrk(url, { connections: 1, seconds }));
      } catch (error) {
        // One gateway that breaks down does not take the others' samples along.
        running.splice(running.indexOf(each), 1);
        leftOut.push({ title: subject.title, reason: `round ${round}: ${reason(error)}` });
      }
    }
  }
  const cases = running.map(({ subject, loaded, single }): CaseResult => {
    const { id, title, ours } = subject;
    return { id, title, ours, loaded, single };
  });
  return { cases, leftOut };
}
