/**
 * One place among several gateway processes: what dies in it is started again, after a pause.
 *
 * @module
 */

import { Backoff } from "../backoff.ts";
import type { Config } from "../config.ts";
import { errorText } from "../errors.ts";
import type { Log } from "../log.ts";
import { LATE, within } from "../waiting.ts";
import type { GatewayProcess } from "./gateway_process.ts";

/** How long a process that drains may take beyond `shutdownGraceMs`: to cut what is left, end its host and write its log. */
const STOP_LIMIT_MS = 5000;

export class KeptProcess {
  readonly #log: Log;
  readonly #spawn: () => GatewayProcess;
  readonly #backoff = new Backoff();
  #process: GatewayProcess | undefined;
  #stopping = false;

  constructor(spawn: () => GatewayProcess, log: Log) {
    this.#spawn = spawn;
    this.#log = log;
  }

  /**
   * Starts a process. The last one has ended.
   *
   * @returns how it ended, if it did before it listened
   * @throws {Error} when the program cannot be started
   */
  async start(): Promise<Deno.CommandStatus | undefined> {
    this.#process = undefined;
    if (this.#stopping) return undefined;
    const process = this.#process = this.#spawn();
    await process.started();
    if (!process.listens) return await process.ended;
    this.#backoff.up();
    return undefined;
  }

  /** From now on, also if it has ended by now: a process that ends is replaced. */
  keep(): void {
    const process = this.#process;
    void process?.ended.then(({ signal, code }) => {
      if (this.#stopping) return;
      this.#log.error("a gateway process ended", {
        pid: process.pid,
        reason: signal ?? `exit code ${code}`,
      });
      this.#backoff.down();
      this.#restartLater();
    });
  }

  /** The process, while it takes connections. */
  get serving(): GatewayProcess | undefined {
    return this.#process?.listens ? this.#process : undefined;
  }

  /**
   * Puts a configuration to work, which what is started from now on has already.
   *
   * @throws {Error} where the process goes on with what it had
   */
  async reload(config: Config): Promise<void> {
    const process = this.#process;
    if (!process?.listens) await process?.started();
    if (!process?.listens) return;
    const reason = await process.reload(config);
    if (reason !== undefined) throw new Error(`process ${process.pid}: ${reason}`);
  }

  /** The same, and nobody waits for it: to a process that hangs, for when it goes on. */
  sendConfig(config: Config): void {
    this.#process?.sendConfig(config);
  }

  /** `undefined` while it takes no connections; otherwise whether it is ready, or why not. */
  async readiness(): Promise<{ readonly reason: string | undefined } | undefined> {
    const process = this.serving;
    if (!process) return undefined;
    const reason = await process.notReady();
    if (!process.listens) return undefined;
    return { reason: reason && `process ${process.pid}: ${reason}` };
  }

  /** Lets it drain, and kills it where that takes longer than it may; resolves when it has ended. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#backoff.cancel();
    const process = this.#process;
    if (!process) return;
    process.stop();
    if (await within(graceMs + STOP_LIMIT_MS, process.ended) !== LATE) return;
    this.#log.error("a gateway process does not end; it is killed", { pid: process.pid });
    process.kill();
    await process.ended;
  }

  #restartLater(): void {
    const delayMs = this.#backoff.retry(() => void this.#restart());
    this.#log.info("a gateway process is started again", { delayMs });
  }

  async #restart(): Promise<void> {
    try {
      const started = this.start();
      this.keep();
      if (await started) return; // ended again
      this.#log.info("a gateway process is back", { pid: this.#process?.pid });
    } catch (error) {
      this.#log.error("a gateway process cannot be started", { reason: errorText(error) });
      this.#restartLater();
    }
  }
}
