/**
 * The stories of the last requests, for `/trace`: a bounded number of them in bounded memory.
 *
 * What hooks answered is kept as JSON: thousands of small objects, which the garbage collector has to follow and move, cost a
 * busy gateway five times as much as writing that text. For the same reason each story is written into an object that is there.
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
  /** In ms since 1970; now, while it runs. */
  readonly endedAt: number;
  readonly method: string;
  readonly path: string;
  readonly route: string | undefined;
  readonly clientAddr: string;
  readonly user: string | number | undefined;
  /** `undefined` while it runs. */
  readonly status: number | undefined;
  readonly durationMs: number;
  readonly sentBytes: number;
  readonly steps: readonly KeptStep[];
  readonly trip: UpstreamTrip | undefined;
  readonly rejectedBy: string | undefined;
  readonly error: string | undefined;
  readonly failure: string | undefined;
  readonly upstreamFailure: UpstreamFailure | undefined;
}

/** Of one that has ended. */
export type EndedStory = KeptStory & { readonly status: number };

/** A hook; of what is too large to keep there are the fields that would be shown. */
export type KeptStep = HookStep & { readonly fields?: LogFields };

/** Where one story lies, for the life of the gateway. */
interface Slot extends Writable<Omit<KeptStory, "steps" | "trip">> {
  /** As JSON; nothing where no hook ran. */
  steps: string;
  hasTrip: boolean;
  readonly trip: UpstreamTrip;
  sizeBytes: number;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const MAX_STORIES = 4000;
const MAX_TOTAL_BYTES = 16 * 1024 * 1024;
/** What one hook answered is kept as it is up to here, in characters of JSON. */
const MAX_STEP_CHARS = 4096;
const MAX_FIELDS = 40;
const MAX_DENIALS = 20;
const FIELD_CHARS = 200;

/** Objects, numbers and short names of a story, estimated from above; texts are counted. */
const STORY_BYTES = 600;

export class Stories {
  readonly #maxBytes: number;
  readonly #ring: readonly Slot[];
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
    this.#ring = Array.from({ length: maxStories }, newSlot);
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
    const steps = story.steps.length === 0 ? "" : stepsText(story.steps);
    if (this.#count === this.#ring.length) this.#forgetOldest();
    const slot = this.#slot(this.#next);
    write(slot, story);
    slot.steps = steps;
    slot.sizeBytes = STORY_BYTES + 2 * (targetChars + story.traceId.length + steps.length);
    this.#next = (this.#next + 1) % this.#ring.length;
    this.#count++;
    this.#bytes += slot.sizeBytes;
    while (this.#bytes > this.#maxBytes && this.#count > 0) this.#forgetOldest();
  }

  /** Those with this id, the latest first: clients may choose the same one again. */
  find(traceId: string): KeptStory[] {
    return this.#latest(this.#count).filter((slot) => slot.traceId === traceId).map(told);
  }

  /** The latest first. */
  recent(count: number): KeptStory[] {
    return this.#latest(Math.min(count, this.#count)).map(told);
  }

  #latest(count: number): Slot[] {
    const slots: Slot[] = [];
    for (let back = 1; back <= count; back++) {
      slots.push(this.#slot(this.#next - back));
    }
    return slots;
  }

  #slot(at: number): Slot {
    const { length } = this.#ring;
    return this.#ring[(at + length) % length] as Slot;
  }

  #forgetOldest(): void {
    const slot = this.#slot(this.#next - this.#count);
    this.#bytes -= slot.sizeBytes;
    this.#count--;
    write(slot, NO_STORY);
    slot.steps = "";
  }
}

const NO_STORY: KeptStory = {
  traceId: "",
  endedAt: 0,
  method: "",
  path: "",
  route: undefined,
  clientAddr: "",
  user: undefined,
  status: undefined,
  durationMs: 0,
  sentBytes: 0,
  steps: [],
  trip: undefined,
  rejectedBy: undefined,
  error: undefined,
  failure: undefined,
  upstreamFailure: undefined,
};
const NO_TRIP: UpstreamTrip = {
  origin: undefined,
  isForward: false,
  attempts: 0,
  durationMs: undefined,
  refusal: undefined,
};

function newSlot(): Slot {
  return { ...NO_STORY, steps: "", hasTrip: false, trip: { ...NO_TRIP }, sizeBytes: 0 };
}

/** Member by member: nothing is allocated, and nothing of the story before is held any more. */
function write(slot: Slot, story: KeptStory): void {
  slot.traceId = story.traceId;
  slot.endedAt = story.endedAt;
  slot.method = story.method;
  slot.path = story.path;
  slot.route = story.route;
  slot.clientAddr = story.clientAddr;
  slot.user = story.user;
  slot.status = story.status;
  slot.durationMs = story.durationMs;
  slot.sentBytes = story.sentBytes;
  slot.rejectedBy = story.rejectedBy;
  slot.error = story.error;
  slot.failure = story.failure;
  slot.upstreamFailure = story.upstreamFailure;
  slot.hasTrip = story.trip !== undefined;
  const { trip } = slot;
  const { origin, isForward, attempts, durationMs, refusal } = story.trip ?? NO_TRIP;
  trip.origin = origin;
  trip.isForward = isForward;
  trip.attempts = attempts;
  trip.durationMs = durationMs;
  trip.refusal = refusal;
}

/** A copy, since the slot is written anew. */
function told({ steps, hasTrip, trip, sizeBytes: _, ...story }: Slot): KeptStory {
  return {
    ...story,
    steps: steps === "" ? [] : JSON.parse(steps),
    trip: hasTrip ? { ...trip } : undefined,
  };
}

function stepsText(steps: readonly HookStep[]): string {
  const text = steps.some(hasLargeBody) ? undefined : JSON.stringify(steps);
  return text !== undefined && text.length <= MAX_STEP_CHARS
    ? text
    : `[${steps.map(stepText).join(",")}]`;
}

function stepText(step: HookStep): string {
  const text = hasLargeBody(step) ? undefined : JSON.stringify(step);
  return text !== undefined && text.length <= MAX_STEP_CHARS
    ? text
    : JSON.stringify(shortened(step));
}

/** Told apart first: writing a body as JSON takes time. */
function hasLargeBody({ result }: HookStep): boolean {
  const patch = result && "patch" in result ? result.patch : undefined;
  return (patch?.response?.body?.data.length ?? 0) > MAX_STEP_CHARS;
}

/** Of a step that is too large: what would be shown. */
function shortened({ result, denials, ...rest }: HookStep): KeptStep {
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
