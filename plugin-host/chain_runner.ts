/**
 * Runs the hooks that messages ask for, and writes what they came to: together, when all that was asked for at the same time has
 * ended, and at once where a hook waits for something. See `docs/protocol.md` ("Chains of hooks").
 *
 * @module
 */

import { endsChain } from "../protocol/chain.ts";
import type { Connection } from "../protocol/connection.ts";
import { FrameError } from "../protocol/frame.ts";
import type { FromIsolate, HookFrame, HookResult } from "../protocol/messages.ts";
import { permittedPatch } from "../protocol/mutation_rules.ts";
import { apply } from "../protocol/patch.ts";
import type { BodyInfo, HookContext } from "../protocol/snapshot.ts";
import type { HeldWriter } from "./held_results.ts";
import { describeError } from "./json.ts";
import type { MarkWriter } from "./start_mark.ts";

/**
 * How long hooks may run without a word to the gateway, which knows that one of a chain began only by the result before it: less
 * than the time after which it takes one to be late (`GRACE_MS` there).
 */
const MAX_HELD_MS = 5;
/**
 * Of results, before the next one waits until the gateway has taken some. The bodies that plugins set for clients who ask at the same time
 * would make the queue run over, which ends the connection.
 */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
/** Most hooks have ended after so many turns of the microtask queue. */
const PROMPT_TURNS = 16;

export interface ChainNeeds {
  readonly connection: Connection<FromIsolate>;
  readonly mark: MarkWriter;
  readonly held: HeldWriter;
  /** Runs one hook; never throws. */
  readonly runHook: (frame: HookFrame) => Promise<HookResult>;
}

export class ChainRunner {
  readonly #connection: Connection<FromIsolate>;
  readonly #mark: MarkWriter;
  readonly #held: HeldWriter;
  readonly #runHook: ChainNeeds["runHook"];
  #toldAt = 0;

  constructor({ connection, mark, held, runHook }: ChainNeeds) {
    this.#connection = connection;
    this.#mark = mark;
    this.#held = held;
    this.#runHook = runHook;
  }

  /**
   * Runs the hooks of one message, unless this isolate was given up. Each is told what became of the ones before, as the
   * gateway sees it. What they came to is written by `flush`, or before that where it may not wait.
   *
   * @returns whether they ended without waiting for anything but themselves, which is known after a few microtasks
   */
  begin(frame: HookFrame): Promise<boolean> {
    return isPrompt(this.#run(frame), (frame.chain?.length ?? 1) * PROMPT_TURNS);
  }

  /** Whether the gateway must not wait any longer for what is held. */
  get isDue(): boolean {
    return performance.now() - this.#toldAt > MAX_HELD_MS;
  }

  /** Writes what is held. It is forgotten when that is done, unless more was held meanwhile. */
  async flush(): Promise<void> {
    this.#toldAt = performance.now();
    this.#connection.flush();
    const { usedBytes } = this.#held;
    await this.#connection.flushed();
    if (usedBytes > 0 && this.#held.usedBytes === usedBytes) this.#held.clear();
  }

  async #run({ chain, ...frame }: HookFrame): Promise<void> {
    if (!this.#mark.begin(frame.id)) return;
    const links = chain ?? [{ plugin: frame.plugin, readsBodies: true, stopsOnError: true }];
    let { draft } = frame.ctx;
    for (const link of links) {
      if (this.#mark.sealed) return;
      const ctx = { ...frame.ctx, draft };
      const running = this.#runHook({
        ...frame,
        plugin: link.plugin,
        ctx: link.readsBodies ? ctx : withoutBodies(ctx),
      });
      const waits = !await isPrompt(running);
      // A hook that waits for something must not hold up what the earlier ones came to.
      if (waits) void this.flush();
      const ended = await running;
      while (!this.#connection.hasRoom(MAX_QUEUED_BYTES)) await this.flush();
      const result = this.#hold(ended);
      const hasEnded = endsChain(result, links);
      if (waits && hasEnded) void this.flush();
      else if (this.isDue) await this.flush();
      if (hasEnded) return;
      if ("patch" in result && result.patch) {
        const judge = { ownsCors: frame.ownsCors ?? false, denials: [] };
        draft = apply(draft, permittedPatch(result.patch, judge));
      }
    }
  }

  /** @returns the result that will be written */
  #hold(result: HookResult): HookResult {
    try {
      const bytes = this.#connection.hold(result);
      if (!this.#held.add(bytes)) void this.flush();
      return result;
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      return this.#hold(
        failure(result, new Error("what the hook proposed is larger than a frame may be")),
      );
    }
  }
}

async function isPrompt(work: Promise<unknown>, turns = PROMPT_TURNS): Promise<boolean> {
  let ended = false;
  const end = () => void (ended = true);
  work.then(end, end);
  for (let turn = 0; turn < turns && !ended; turn++) await undefined;
  return ended;
}

/** For a plugin that reads none, also where another one of its chain does. */
function withoutBodies(ctx: HookContext): HookContext {
  const { request, response, draft } = ctx;
  if (!hasBytes(request.body) && !(response && hasBytes(response.body))) return ctx;
  return {
    request: { ...request, body: withoutBytes(request.body) },
    ...(response ? { response: { ...response, body: withoutBytes(response.body) } } : {}),
    draft,
  };
}

function hasBytes(body: BodyInfo): boolean {
  return body.kind === "inline" && body.base64 !== undefined;
}

function withoutBytes(body: BodyInfo): BodyInfo {
  return body.kind === "inline" ? { kind: "inline", sizeBytes: body.sizeBytes } : body;
}

/** The result for a hook that could not run, or whose result could not be sent. */
export function failure(
  { id, plugin }: { readonly id: number; readonly plugin: string },
  error: Error,
): HookResult {
  return {
    type: "result",
    id,
    plugin,
    action: "continue",
    error: describeError(error),
    durationMs: 0,
  };
}
