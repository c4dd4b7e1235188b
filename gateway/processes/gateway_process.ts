/**
 * One of several gateway processes, seen from the parent: started, told over stdin, and asked over its own admin listener,
 * which is a Unix socket in the parent's private folder.
 *
 * @module
 */

import { encodeJsonLine } from "../../protocol/json_lines.ts";
import type { ProcessCommand, ProcessInit } from "./member.ts";

/** How often a process that starts is asked whether it listens. */
const START_POLL_MS = 20;
/** A process that takes longer to say whether it is ready is not; other pages are then without it. */
const READY_TIMEOUT_MS = 1000;

export interface ProcessOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly init: ProcessInit;
  /** Its `admin.listen`. */
  readonly socketPath: string;
}

export class GatewayProcess {
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #process: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #client: Deno.HttpClient;
  #listens = false;
  #hasEnded = false;

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
      await new Promise((resolve) => setTimeout(resolve, START_POLL_MS));
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

  /** Lets it drain and end. */
  stop(): void {
    this.#write({ command: "stop" });
  }

  #write(line: ProcessInit | ProcessCommand): void {
    // A process that is gone cannot be written to; its end is reported by itself.
    this.#stdin.write(encodeJsonLine(line)).catch(() => {});
  }
}
