/**
 * The warm pool: a fixed number of isolates for each generation of plugins, all of one generation loaded from one
 * folder that no longer changes.
 *
 * @module
 */

import type { FromHost, HookResult, PluginManifest } from "../protocol/messages.ts";
import { HeldReader, newHeldMemory } from "./held_results.ts";
import type { IsolateInit } from "./isolate_messages.ts";
import { FirstReport, LoadTimeout, LOST_IN_LOADING } from "./first_report.ts";
import { LoadError, pluginFiles } from "./loader.ts";
import { MarkReader, newMark } from "./start_mark.ts";

/** Everything that stays the same for all isolates of a host. */
export interface PoolOptions
  extends
    Pick<IsolateInit, "socket" | "secret" | "version" | "maxFrameBytes" | "pluginConfig" | "env"> {
  readonly poolSize: number;
  /** How long a set of plugins may take to load, `onLoad` included. */
  readonly loadTimeoutMs: number;
  readonly permissions: Deno.PermissionOptionsObject;
  readonly send: (message: FromHost) => void;
}

interface Isolate {
  readonly id: number;
  readonly worker: Worker;
  readonly mark: MarkReader;
  readonly held: HeldReader;
  readonly report: FirstReport;
  readonly startedAt: number;
}

interface Generation {
  readonly id: number;
  readonly dirUrl: string;
  readonly files: readonly string[];
  readonly isolates: Map<number, Isolate>;
  /** Known once all isolates have loaded. */
  plugins: readonly PluginManifest[] | undefined;
  /** Isolates that ended soon after their start, in a row. */
  youngLosses: number;
}

/** An isolate that ends before this age may have ended by itself: the next ones are not started in a tight loop. */
const YOUNG_MS = 1000;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2000;

/** Beside this module, as source or bundled: `worker.ts` or `worker.mjs`. */
const WORKER = new URL(import.meta.url.replace(/[^/]*(\.\w+)$/, "worker$1"));

export class IsolatePool {
  readonly #options: PoolOptions;
  readonly #generations = new Map<number, Generation>();
  #lastIsolate = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Builds a generation from the files in a folder and reports `pool`, or `reload_failed` and leaves nothing behind. */
  async load(id: number, dirUrl: string): Promise<void> {
    try {
      const generation: Generation = {
        id,
        dirUrl,
        files: await pluginFiles(new URL(dirUrl)),
        isolates: new Map(),
        plugins: undefined,
        youngLosses: 0,
      };
      this.#generations.set(id, generation);
      const ready = Array.from(
        { length: this.#options.poolSize },
        () => this.#addIsolate(generation),
      );
      const [plugins] = await Promise.all(ready);
      generation.plugins = plugins ?? [];
      this.#reportPool(generation);
    } catch (error) {
      this.retire(id);
      this.#options.send(loadFailure(id, error));
    }
  }

  /** Gives an isolate up, says which hooks it began, and puts a new one in its place. */
  async replace(isolate: number, reason: string): Promise<void> {
    const generation = [...this.#generations.values()].find((each) => each.isolates.has(isolate));
    const lost = generation?.isolates.get(isolate);
    if (!generation || !lost) return;
    if (!lost.report.loaded) return lost.report.fail(new LoadError("plugins", LOST_IN_LOADING));
    generation.isolates.delete(isolate);
    const started = lost.mark.seal();
    const unsent = lost.held.read();
    this.#options.send({
      type: "isolate_lost",
      isolate,
      reason,
      started,
      ...(unsent.length > 0 ? { unsent } : {}),
    });
    lost.worker.terminate();
    const isYoung = performance.now() - lost.startedAt < YOUNG_MS;
    generation.youngLosses = isYoung ? generation.youngLosses + 1 : 0;
    await this.#refill(generation, generation.youngLosses - 2 * this.#options.poolSize);
  }

  /**
   * Adds an isolate, and goes on trying: what the plugins' `onLoad` needs may be away for a while.
   *
   * @param failures how often that went wrong; up to 0 there is no pause
   */
  async #refill(generation: Generation, failures: number): Promise<void> {
    for (; this.#generations.has(generation.id); failures = Math.max(failures, 0) + 1) {
      await pause(failures);
      try {
        await this.#addIsolate(generation);
        return this.#reportPool(generation);
      } catch (error) {
        if (!this.#generations.has(generation.id)) return;
        this.#options.send(loadFailure(generation.id, error));
        // Its thread is stuck, as the next one's would be. The gateway renews this process.
        if (error instanceof LoadTimeout) return;
      }
    }
  }

  /** Ends the isolates of a generation that nobody uses any more. */
  retire(id: number): void {
    const generation = this.#generations.get(id);
    this.#generations.delete(id);
    for (const isolate of generation?.isolates.values() ?? []) isolate.worker.terminate();
  }

  /**
   * What the threads of all isolates were about a moment ago, also where one is stuck: the id of the last hook it began, and the
   * results that it may not have written.
   */
  progress(): Pick<Extract<FromHost, { type: "pong" }>, "started" | "unsent"> {
    const started: Record<string, number> = {};
    const unsent: { readonly isolate: number; readonly results: readonly HookResult[] }[] = [];
    for (const generation of this.#generations.values()) {
      for (const { id, mark, held } of generation.isolates.values()) {
        started[id] = mark.read();
        const results = held.read();
        if (results.length > 0) unsent.push({ isolate: id, results });
      }
    }
    return { started, ...(unsent.length > 0 ? { unsent } : {}) };
  }

  async #addIsolate(generation: Generation): Promise<readonly PluginManifest[]> {
    const id = ++this.#lastIsolate;
    const mark = newMark();
    const held = newHeldMemory();
    const worker = new Worker(WORKER, {
      type: "module",
      name: `isolate-${id}`,
      deno: { permissions: this.#options.permissions },
    });
    const report = new FirstReport(worker, this.#options.loadTimeoutMs);
    generation.isolates.set(id, {
      id,
      worker,
      mark: new MarkReader(mark),
      held: new HeldReader(held),
      report,
      startedAt: performance.now(),
    });
    const { socket, secret, version, maxFrameBytes, pluginConfig, env } = this.#options;
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => report.accept(data);
    const init: IsolateInit = {
      socket,
      secret,
      version,
      maxFrameBytes,
      pluginConfig,
      env,
      isolate: id,
      generation: generation.id,
      dirUrl: generation.dirUrl,
      files: generation.files,
      mark,
      held,
    };
    worker.postMessage(init, [port2]);
    try {
      const plugins = await report.plugins;
      worker.onerror = (event) => {
        event.preventDefault();
        void this.replace(id, event.message);
      };
      return plugins;
    } catch (error) {
      generation.isolates.delete(id);
      worker.terminate();
      throw error;
    } finally {
      port1.close();
    }
  }

  /** Tells the gateway which isolates take hooks: those that have loaded. */
  #reportPool({ id, plugins, isolates }: Generation): void {
    if (!plugins || !this.#generations.has(id)) return;
    const loaded = [...isolates.values()].filter((each) => each.report.loaded);
    this.#options.send({
      type: "pool",
      generation: id,
      plugins,
      isolates: loaded.map((each) => each.id),
    });
  }
}

/** Nothing for the first attempt, then ever longer. */
async function pause(failures: number): Promise<void> {
  if (failures <= 0) return;
  const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** failures, MAX_PAUSE_MS);
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
}

function loadFailure(generation: number, error: unknown): FromHost {
  const { file, line, column, message, others } = error instanceof LoadError
    ? error
    : new LoadError("plugins", error instanceof Error ? error.message : String(error));
  return {
    type: "reload_failed",
    generation,
    file,
    message,
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
    ...(others.length > 0 ? { others } : {}),
    ...(error instanceof LoadTimeout ? { blocked: true } : {}),
  };
}
