/**
 * The warm pool: a fixed number of isolates for each generation of plugins, all of one generation loaded from one
 * folder that no longer changes.
 *
 * @module
 */

import type { FromHost, PluginManifest } from "../protocol/messages.ts";
import type { IsolateInit, IsolateReport } from "./isolate_messages.ts";
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
}

interface Generation {
  readonly id: number;
  readonly dirUrl: string;
  readonly files: readonly string[];
  readonly isolates: Map<number, Isolate>;
  plugins: readonly PluginManifest[];
}

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
        plugins: [],
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
    generation.isolates.delete(isolate);
    this.#options.send({ type: "isolate_lost", isolate, reason, started: lost.mark.seal() });
    lost.worker.terminate();
    try {
      await this.#addIsolate(generation);
      if (this.#generations.has(generation.id)) this.#reportPool(generation);
    } catch (error) {
      this.#options.send(loadFailure(generation.id, error));
    }
  }

  /** Ends the isolates of a generation that nobody uses any more. */
  retire(id: number): void {
    const generation = this.#generations.get(id);
    this.#generations.delete(id);
    for (const isolate of generation?.isolates.values() ?? []) isolate.worker.terminate();
  }

  /** For each isolate the id of the last hook it has started, also while its thread is stuck. */
  started(): Record<string, number> {
    const started: Record<string, number> = {};
    for (const generation of this.#generations.values()) {
      for (const { id, mark } of generation.isolates.values()) started[id] = mark.read();
    }
    return started;
  }

  async #addIsolate(generation: Generation): Promise<readonly PluginManifest[]> {
    const id = ++this.#lastIsolate;
    const mark = newMark();
    const worker = new Worker(new URL(import.meta.resolve("./worker.ts")), {
      type: "module",
      name: `isolate-${id}`,
      deno: { permissions: this.#options.permissions },
    });
    generation.isolates.set(id, { id, worker, mark: new MarkReader(mark) });
    const { socket, secret, version, maxFrameBytes, pluginConfig, env } = this.#options;
    const report = firstReport(worker, this.#options.loadTimeoutMs);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => report.resolve(data);
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
    };
    worker.postMessage(init, [port2]);
    try {
      const { plugins } = await report.promise;
      worker.onerror = (event) => {
        event.preventDefault();
        void this.replace(id, event.message);
      };
      return plugins;
    } finally {
      port1.close();
    }
  }

  #reportPool({ id, plugins, isolates }: Generation): void {
    this.#options.send({ type: "pool", generation: id, plugins, isolates: [...isolates.keys()] });
  }
}

/** The isolate did not get through its start in time: its thread may be stuck, and only ending the process frees it. */
class LoadTimeout extends Error {}

/** What a new isolate reports: ready, or why not, or nothing in time. */
function firstReport(worker: Worker, loadTimeoutMs: number) {
  const { promise, resolve, reject } = Promise.withResolvers<
    Extract<IsolateReport, { kind: "ready" }>
  >();
  const timer = setTimeout(
    () => reject(new LoadTimeout(`the plugins did not load within ${loadTimeoutMs} ms`)),
    loadTimeoutMs,
  );
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new LoadError("plugins", `the isolate failed: ${event.message}`));
  };
  return {
    promise: promise.finally(() => clearTimeout(timer)),
    resolve(report: IsolateReport): void {
      if (report.kind === "ready") return resolve(report);
      reject(
        new LoadError(report.file, report.message, { line: report.line, column: report.column }),
      );
    },
  };
}

function loadFailure(generation: number, error: unknown): FromHost {
  const { file, line, column, message } = error instanceof LoadError
    ? error
    : new LoadError("plugins", error instanceof Error ? error.message : String(error));
  return {
    type: "reload_failed",
    generation,
    file,
    message,
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
    ...(error instanceof LoadTimeout ? { blocked: true } : {}),
  };
}
