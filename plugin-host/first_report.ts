/**
 * How a new isolate came up: with its plugins, with a reason why not, or not at all.
 *
 * @module
 */

import type { PluginManifest } from "../protocol/messages.ts";
import type { IsolateReport } from "./isolate_messages.ts";
import { LoadError } from "./loader.ts";

/** The isolate did not get through its start in time: its thread may be stuck, and only ending the process frees it. */
export class LoadTimeout extends LoadError {}

export const LOST_IN_LOADING =
  "an isolate ended while it loaded them; a plugin must call neither Deno.exit nor self.close";

/** What a new isolate reports: ready, or why not, or nothing in time. */
export class FirstReport {
  readonly #settled = Promise.withResolvers<readonly PluginManifest[]>();
  readonly plugins: Promise<readonly PluginManifest[]> = this.#settled.promise;
  readonly #timer: ReturnType<typeof setTimeout>;
  #loaded = false;
  #loading: string | undefined;

  constructor(worker: Worker, loadTimeoutMs: number) {
    this.#timer = setTimeout(() => this.#failLate(loadTimeoutMs), loadTimeoutMs);
    worker.onerror = (event) => {
      event.preventDefault();
      this.fail(new LoadError("plugins", `the isolate failed: ${event.message}`));
    };
  }

  /** It has its plugins, and can run hooks. */
  get loaded(): boolean {
    return this.#loaded;
  }

  accept(report: IsolateReport): void {
    if (report.kind === "loading") {
      this.#loading = report.file;
      return;
    }
    if (report.kind === "failed") {
      return this.fail(new LoadError(report.file, report.message, report));
    }
    clearTimeout(this.#timer);
    this.#loaded = true;
    this.#settled.resolve(report.plugins);
  }

  fail(error: Error): void {
    clearTimeout(this.#timer);
    this.#settled.reject(error);
  }

  #failLate(limitMs: number): void {
    const message = `the plugins did not load within ${limitMs} ms`;
    this.fail(
      this.#loading === undefined
        ? new LoadTimeout("plugins", message)
        : new LoadTimeout(this.#loading, `${message}; this one was still loading`),
    );
  }
}
