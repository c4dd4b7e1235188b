/**
 * The watch over the plugins folder, which makes a new private copy when the contents have changed.
 *
 * @module
 */

import type { Log } from "./log.ts";
import {
  copyPlugins,
  type PluginFiles,
  pluginsDirError,
  walk,
  whileItChanges,
} from "./plugin_files.ts";
import { pause, within } from "./waiting.ts";

/** Events that follow each other closer than this are one change. */
const DEBOUNCE_MS = 40;
/** The folder is looked at this often also without an event: a replaced folder or a network mount may send none. */
const POLL_MS = 500;
/** Whoever saves without a pause gets what is there after this long. */
const MAX_SETTLE_MS = 500;

/** Watches `pluginsDir` until `signal` aborts, and hands every new state of it to `onChange`. */
export async function watchPlugins(
  pluginsDir: string,
  options: {
    readonly root: string;
    readonly current: PluginFiles;
    readonly signal: AbortSignal;
    readonly log: Log;
    readonly onChange: (files: PluginFiles) => void;
  },
): Promise<void> {
  const { signal, log } = options;
  const changes = new Changes(pluginsDir, signal);
  let hash = options.current.hash;
  let look: string | undefined; // not yet looked at: whatever changed since the first copy is found in the first round
  let problem = "";
  while (!signal.aborted) {
    try {
      const now = await settled(pluginsDir, look);
      if (now !== look) {
        const files = await copyPlugins(pluginsDir, options.root);
        look = now;
        if (files.hash !== hash) options.onChange(files);
        hash = files.hash;
      }
      problem = "";
    } catch (error) {
      if (signal.aborted) return; // what it copies into goes at the end
      // The folder may be away for a moment while it is replaced. What is loaded goes on serving.
      const { message } = pluginsDirError(pluginsDir, error);
      if (problem !== message) log.error("cannot read the plugins folder", { error: message });
      problem = message;
    }
    await changes.next();
  }
}

/** Wakes up at events below a folder, and now and then without one. */
class Changes {
  readonly #signal: AbortSignal;
  #seen = false;
  #wake = () => {};

  constructor(dir: string, signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    void this.#listen(dir);
  }

  /** Resolves after an event since the last call, after `POLL_MS`, or when the signal aborts. */
  async next(): Promise<void> {
    if (!this.#seen && !this.#signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await within(POLL_MS, promise);
    }
    this.#seen = false;
  }

  async #listen(dir: string): Promise<void> {
    try {
      using watcher = Deno.watchFs(dir, { recursive: true });
      this.#signal.addEventListener("abort", () => watcher.return?.(), { once: true });
      for await (const _event of watcher) {
        this.#seen = true;
        this.#wake();
      }
    } catch {
      // No watch to be had (limits, an absent folder): looking every `POLL_MS` serves.
    }
  }
}

/** What the folder looks like once it has stopped changing, or does not within `MAX_SETTLE_MS`. */
async function settled(dir: string, before: string | undefined): Promise<string> {
  const until = performance.now() + MAX_SETTLE_MS;
  const look = () => whileItChanges(dir, () => statFolder(dir));
  let now = await look();
  while (now !== before && performance.now() < until) {
    before = now;
    await pause(DEBOUNCE_MS);
    now = await look();
  }
  return now;
}

/** A cheap fingerprint: names, sizes and times. Two equal ones mean that nothing needs to be read. */
async function statFolder(dir: string): Promise<string> {
  const lines: string[] = [];
  for await (const path of walk(dir)) {
    const info = await Deno.stat(path);
    lines.push(
      `${path} ${info.size} ${info.mtime?.getTime()} ${info.ctime?.getTime()} ${info.ino}`,
    );
  }
  return lines.sort().join("\n");
}
