/**
 * One phase of the storm: what happens meanwhile, and what the failure policy has for each route then.
 *
 * @module
 */

import type { Lane, Load } from "./load.ts";
import type { Storm, StormOptions } from "./storm.ts";

export interface Phase {
  readonly name: string;
  /** How many events: in CI, and in a long run. */
  readonly short: number;
  readonly long: number;
  /** Its events come at the same time: a process is warm for a long run only when it has met all of them once. */
  readonly atOnce?: boolean;
  /** Routes beside or in the place of the calm ones. */
  readonly lanes?: readonly Lane[];
  /** Needs a gateway of its own, started like this. */
  readonly gateway?: StormOptions;
  /** Why it cannot run here. */
  readonly ignored?: string;
  /** Makes `events` of them under load. @returns what was done, counted; @throws where something never came */
  readonly run: (
    storm: Storm,
    load: Load,
    events: number,
  ) => Promise<Readonly<Record<string, number>>>;
}

/** A number of them, one after another. */
export async function times(
  count: number,
  action: (index: number) => Promise<void>,
): Promise<void> {
  for (let index = 0; index < count; index++) await action(index);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The calm lanes with some of them replaced, and others added. */
export function lanesWith(calm: readonly Lane[], ...lanes: readonly Lane[]): readonly Lane[] {
  return [...calm.filter(({ path }) => lanes.every((each) => each.path !== path)), ...lanes];
}
