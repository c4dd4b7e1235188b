/**
 * Starts the upstream of the storm (`upstream_process.ts`) and talks to it.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";

/** What `flappy` does: answer, refuse connections, never answer, close without an answer, close in the middle of one. */
export type FlappyMode = "up" | "down" | "stall" | "reset" | "cut";

export interface UpstreamCommand {
  readonly mode?: FlappyMode;
}

export interface UpstreamCounts {
  readonly requests: number;
  /** On routes that only policed requests may take. */
  readonly unpoliced: number;
  /** Requests that it has not finished answering. */
  readonly running: number;
}

type Ports = Readonly<Record<"steady" | "flappy", number>>;

export class StormUpstream implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: ReadableStreamDefaultReader<string>;
  #buffer = "";
  #ports: Ports = { steady: 0, flappy: 0 };
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(salt: string) {
    this.#process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", fromFileUrl(new URL("upstream_process.ts", import.meta.url)), salt],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#lines = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** @param salt what the policy's marks are made with */
  static async start(salt: string): Promise<StormUpstream> {
    const upstream = new StormUpstream(salt);
    upstream.#ports = await upstream.#line() as Ports;
    return upstream;
  }

  url(name: "steady" | "flappy"): string {
    return `http://127.0.0.1:${this.#ports[name]}`;
  }

  counts(): Promise<UpstreamCounts> {
    return this.#tell({});
  }

  /** Resolves when it is so. Connections from before are closed. */
  async flap(mode: FlappyMode): Promise<void> {
    await this.#tell({ mode });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close().catch(() => {});
    await this.#lines.cancel();
    await this.#process.status;
  }

  #tell(command: UpstreamCommand): Promise<UpstreamCounts> {
    const answered = this.#turn.then(async () => {
      await this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
      return await this.#line() as UpstreamCounts;
    });
    this.#turn = answered.catch(() => {});
    return answered;
  }

  async #line(): Promise<unknown> {
    for (;;) {
      const end = this.#buffer.indexOf("\n");
      if (end >= 0) {
        const line = this.#buffer.slice(0, end);
        this.#buffer = this.#buffer.slice(end + 1);
        return JSON.parse(line);
      }
      const { done, value } = await this.#lines.read();
      if (done) throw new Error("the storm's upstream has ended");
      this.#buffer += value;
    }
  }
}
