/**
 * The stories of the last requests, for `/trace`: a bounded number of them in bounded memory. A request costs a few references;
 * text is made when somebody asks.
 *
 * @module
 */

import type { Denial } from "../../protocol/mutation_rules.ts";
import type { UpstreamFailure } from "../errors.ts";
import type { HookStep, UpstreamTrip } from "../exchange.ts";
import type { LogFields } from "../log.ts";
import { proposal } from "./proposals.ts";

/** What is remembered of one request. */
export interface KeptStory {
  readonly traceId: string;
  /** In ms since 1970. */
  readonly endedAt: number;
  readonly method: string;
  readonly path: string;
  readonly route: string | undefined;
  readonly clientAddr: string;
  readonly user: string | number | undefined;
  readonly status: number;
  readonly durationMs: number;
  readonly sentBytes: number;
  readonly steps: readonly KeptStep[];
  readonly trip: UpstreamTrip | undefined;
  readonly rejectedBy: string | undefined;
  readonly error: string | undefined;
  readonly failure: string | undefined;
  readonly upstreamFailure: UpstreamFailure | undefined;
}

/** A hook; of what is too large to keep there are the fields that would be shown. */
export type KeptStep = HookStep & { readonly fields?: LogFields };

interface Slot {
  readonly story: KeptStory;
  readonly sizeBytes: number;
}

const MAX_STORIES = 4000;
const MAX_TOTAL_BYTES = 16 * 1024 * 1024;
/** What one hook answered is kept as it is up to here. */
const MAX_RESULT_BYTES = 4096;
const MAX_FIELDS = 40;
const MAX_DENIALS = 20;
const FIELD_CHARS = 200;

/** Objects, numbers and short names of a story and of a step, estimated from above; texts are counted. */
const STORY_BYTES = 600;
const STEP_BYTES = 400;

export class Stories {
  readonly #maxBytes: number;
  readonly #ring: (Slot | undefined)[];
  /** Where the next one goes. */
  #next = 0;
  #count = 0;
  #bytes = 0;

  constructor(
    { maxStories = MAX_STORIES, maxBytes = MAX_TOTAL_BYTES }: {
      readonly maxStories?: number;
      readonly maxBytes?: number;
    } = {},
  ) {
    this.#maxBytes = maxBytes;
    this.#ring = new Array<Slot | undefined>(maxStories).fill(undefined);
  }

  get count(): number {
    return this.#count;
  }

  /** Of what is kept, estimated from above. */
  get sizeBytes(): number {
    return this.#bytes;
  }

  /** Remembers a story in the place of the oldest ones. @param targetChars how long the URL is that `path` is a part of */
  keep(story: KeptStory, targetChars: number): void {
    let sizeBytes = STORY_BYTES + 2 * (targetChars + story.traceId.length);
    let isLarge = false;
    for (const step of story.steps) {
      const stepBytes = sizeOf(step.result, MAX_RESULT_BYTES) +
        sizeOf(step.denials, MAX_RESULT_BYTES);
      if (stepBytes > MAX_RESULT_BYTES) isLarge = true;
      sizeBytes += STEP_BYTES + stepBytes;
    }
    if (!isLarge) return this.#add({ story, sizeBytes });
    const steps = story.steps.map(shortened);
    const stepsBytes = sizeOf(steps, this.#maxBytes) + STEP_BYTES * steps.length;
    this.#add({
      story: { ...story, steps },
      sizeBytes: STORY_BYTES + 2 * (targetChars + story.traceId.length) + stepsBytes,
    });
  }

  /** Those with this id, the latest first: clients may choose the same one again. */
  find(traceId: string): KeptStory[] {
    return this.recent(this.#count).filter((story) => story.traceId === traceId);
  }

  /** The latest first. */
  recent(count: number): KeptStory[] {
    const stories: KeptStory[] = [];
    for (let back = 1; back <= Math.min(count, this.#count); back++) {
      const slot = this.#ring[(this.#next - back + this.#ring.length) % this.#ring.length];
      if (slot) stories.push(slot.story);
    }
    return stories;
  }

  #add(slot: Slot): void {
    if (this.#count === this.#ring.length) this.#forgetOldest();
    this.#ring[this.#next] = slot;
    this.#next = (this.#next + 1) % this.#ring.length;
    this.#count++;
    this.#bytes += slot.sizeBytes;
    while (this.#bytes > this.#maxBytes && this.#count > 0) this.#forgetOldest();
  }

  #forgetOldest(): void {
    const at = (this.#next - this.#count + this.#ring.length) % this.#ring.length;
    this.#bytes -= this.#ring[at]?.sizeBytes ?? 0;
    this.#ring[at] = undefined;
    this.#count--;
  }
}

/** A step whose answer or denials are too large: what would be shown of them. */
function shortened(step: HookStep): KeptStep {
  const { result, denials, ...rest } = step;
  if (sizeOf(result, MAX_RESULT_BYTES) + sizeOf(denials, MAX_RESULT_BYTES) <= MAX_RESULT_BYTES) {
    return step;
  }
  const fields = Object.entries(result ? proposal(result) : {})
    .map(([name, value]) => [name.slice(0, FIELD_CHARS), value] as const);
  const left = fields.length - MAX_FIELDS;
  return {
    ...rest,
    fields: Object.fromEntries([
      ...fields.slice(0, MAX_FIELDS),
      ...(left > 0 ? [["…", `${left} more`] as const] : []),
    ]),
    ...(denials ? { denials: denials.slice(0, MAX_DENIALS).map(cutDenial) } : {}),
  };
}

function cutDenial({ what, reason }: Denial): Denial {
  return { what: what.slice(0, FIELD_CHARS), reason: reason.slice(0, FIELD_CHARS) };
}

/** About what JSON takes in memory, from above; it stops counting beyond `limit`. */
function sizeOf(value: unknown, limit: number): number {
  if (typeof value === "string") return 24 + 2 * value.length;
  if (typeof value !== "object" || value === null) return 8;
  let bytes = 48;
  for (const key in value) {
    bytes += 24 + 2 * key.length + sizeOf((value as Record<string, unknown>)[key], limit - bytes);
    if (bytes > limit) break;
  }
  return bytes;
}
