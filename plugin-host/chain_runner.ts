/**
 * Runs the hooks that one message asks for, and writes what they came to: a single one at once, those of a chain together
 * when it has ended. See `docs/protocol.md` ("Chains of hooks").
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
 * How long a chain of hooks may run without a word to the gateway, which knows that a hook began only by the result before it:
 * less than the time after which it takes one to be late (`GRACE_MS` there).
 */
const MAX_HELD_MS = 5;
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

  constructor({ connection, mark, held, runHook }: ChainNeeds) {
    this.#connection = connection;
    this.#mark = mark;
    this.#held = held;
    this.#runHook = runHook;
  }

  /**
   * Runs the hooks of one message, unless this isolate was given up. Each is told what became of the ones before, as the
   * gateway sees it.
   *
   * @returns whether they ended without waiting for anything but themselves, which is known after a few microtasks
   */
  begin(frame: HookFrame): Promise<boolean> {
    return isPrompt(this.#run(frame), (frame.chain?.length ?? 1) * PROMPT_TURNS);
  }

  async #run({ chain, ...frame }: HookFrame): Promise<void> {
    if (!this.#mark.begin(frame.id)) return;
    if (!chain) return this.#sendResult(await this.#runHook(frame));
    let { draft } = frame.ctx;
    let toldAt = performance.now();
    for (const link of chain) {
      if (this.#mark.sealed) return;
      const ctx = { ...frame.ctx, draft };
      const running = this.#runHook({
        ...frame,
        plugin: link.plugin,
        ctx: link.readsBodies ? ctx : withoutBodies(ctx),
      });
      const result = await this.#flushingMeanwhile(running);
      if (endsChain(result, chain)) return this.#sendResult(result);
      const { frame: bytes, queued } = this.#queue(result);
      if (performance.now() - toldAt > MAX_HELD_MS || !this.#held.add(bytes)) {
        await this.#flush();
        toldAt = performance.now();
      }
      if (endsChain(queued, chain)) return await this.#flush();
      if ("patch" in queued && queued.patch) {
        const judge = { ownsCors: frame.ownsCors ?? false, denials: [] };
        draft = apply(draft, permittedPatch(queued.patch, judge));
      }
    }
  }

  /** A hook that waits for something must not hold up what the earlier ones of its chain came to. */
  async #flushingMeanwhile(running: Promise<HookResult>): Promise<HookResult> {
    if (!await isPrompt(running)) void this.#flush();
    return await running;
  }

  #sendResult(result: HookResult): void {
    this.#queue(result);
    void this.#flush();
  }

  /** @returns the frame, and the result that is in it */
  #queue(result: HookResult): { readonly frame: Uint8Array; readonly queued: HookResult } {
    try {
      return { frame: this.#connection.hold(result), queued: result };
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      const tooLarge = new Error("what the hook proposed is larger than a frame may be");
      return this.#queue(failure(result, tooLarge));
    }
  }

  /** Writes what is queued. What was held is forgotten when that is done, unless more was held meanwhile. */
  async #flush(): Promise<void> {
    this.#connection.flush();
    const { usedBytes } = this.#held;
    await this.#connection.flushed();
    if (usedBytes > 0 && this.#held.usedBytes === usedBytes) this.#held.clear();
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
function withoutBodies({ request, response, draft }: HookContext): HookContext {
  return {
    request: { ...request, body: withoutBytes(request.body) },
    ...(response ? { response: { ...response, body: withoutBytes(response.body) } } : {}),
    draft,
  };
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
