/**
 * One of several gateway processes, seen from the parent: started, told over stdin, and asked over its own admin listener,
 * which is a Unix socket in the parent's private folder.
 *
 * @module
 */

import { encodeJsonLine } from "../../protocol/json_lines.ts";
import type { Config } from "../config.ts";
import { pause } from "../waiting.ts";
import {
  type ProcessCommand,
  type ProcessInit,
  RELOAD_PAGE,
  type ReloadOutcome,
} from "./member.ts";

/** How often a process that starts is asked whether it listens, and one that reloads what became of it. */
const ASK_EVERY_MS = 20;
/** A plugin host that does not come up ends a reload before this. */
const RELOAD_LIMIT_MS = 30_000;
/** A process that takes longer to say whether it is ready is not; other pages are then without it. */
const READY_TIMEOUT_MS = 1000;

export interface ProcessOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly init: ProcessInit;
  /** Its `admin.listen`. */
  readonly socketPath: string;
}

/** A process hangs, or takes too long. */
export class ReloadLate extends Error {
  override readonly name = "ReloadLate";

  constructor(pid: number) {
    super(`process ${pid}: it did not reload within ${RELOAD_LIMIT_MS} ms`);
  }
}

export class GatewayProcess {
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #process: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #client: Deno.HttpClient;
  #listens = false;
  #hasEnded = false;
  #lastReload = 0;

  /** @throws {Error} when the program cannot be started */
  constructor({ command, args, init, socketPath }: ProcessOptions) {
    // Its log and its last words go where the parent's go.
    this.#process = new Deno.Command(command, { args: [...args], stdin: "piped" }).spawn();
    this.#stdin = this.#process.stdin.getWriter();
    this.#client = Deno.createHttpClient({ proxy: { transport: "unix", path: socketPath } });
    this.ended = this.#process.status.then((status) => {
      this.#hasEnded = true;
      this.#stdin.abort().catch(() => {});
      this.#client.close();
      return status;
    });
    this.#write(init);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Whether it takes connections. */
  get listens(): boolean {
    return this.#listens && !this.#hasEnded;
  }

  /** Resolves when it listens, or has ended. */
  async started(): Promise<void> {
    while (!this.#hasEnded) {
      // Its admin listener is the last that it opens.
      if (await this.ask("/readyz") !== undefined) {
        this.#listens = true;
        return;
      }
      await pause(ASK_EVERY_MS);
    }
  }

  /** Why it is not ready, or `undefined`. */
  async notReady(): Promise<string | undefined> {
    const answer = await this.ask<{ readonly reason?: string }>("/readyz");
    return answer ? answer.reason : "no answer";
  }

  /** What its admin listener answers, as JSON; `undefined` without an answer. */
  async ask<T>(path: string): Promise<T | undefined> {
    try {
      const response = await fetch(`http://localhost${path}`, {
        client: this.#client,
        signal: AbortSignal.timeout(READY_TIMEOUT_MS),
      });
      return await response.json();
    } catch {
      return undefined; // it does not listen yet, or no more, or hangs
    }
  }

  /**
   * @returns why it goes on with the configuration that it had, or `undefined`
   * @throws {ReloadLate} where it may yet come to have the other one
   */
  async reload(config: Config): Promise<string | undefined> {
    const until = performance.now() + RELOAD_LIMIT_MS;
    const id = this.sendConfig(config);
    while (!this.#hasEnded) {
      const outcome = await this.ask<ReloadOutcome>(RELOAD_PAGE);
      if (outcome?.id === id) return outcome.reason;
      if (performance.now() > until) throw new ReloadLate(this.pid);
      await pause(ASK_EVERY_MS);
    }
    return undefined; // what replaces it has the new configuration from its start
  }

  /** @returns by which its outcome is known */
  sendConfig(config: Config): number {
    const id = ++this.#lastReload;
    this.#write({ command: "reload", id, config });
    return id;
  }

  kill(): void {
    this.#process.kill("SIGKILL");
  }

  /** Lets it drain and end. */
  stop(): void {
    this.#write({ command: "stop" });
  }

  #write(line: ProcessInit | ProcessCommand): void {
    // A process that is gone cannot be written to; its end is reported by itself.
    this.#stdin.write(encodeJsonLine(line)).catch(() => {});
  }
}
