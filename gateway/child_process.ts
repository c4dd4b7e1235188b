/**
 * A child process that takes JSON lines on stdin, and whose own output goes to the log.
 *
 * @module
 */

import type { HostInit, LoadCommand } from "../protocol/host_stdin.ts";
import { encodeJsonLine } from "../protocol/json_lines.ts";
import { errorText } from "./errors.ts";
import type { Log } from "./log.ts";
import type { PluginFiles } from "./plugin_files.ts";
import type { HostCommand } from "./sandbox.ts";

const MAX_OUTPUT_LINE = 8192;

export class ChildProcess {
  /** Resolves with the signal or the exit code that ended it. */
  readonly ended: Promise<string>;
  readonly #process: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;

  /** @throws {Error} when the program cannot be started */
  constructor({ command, args, env }: HostCommand, log: Log) {
    this.#process = new Deno.Command(command, {
      args: [...args],
      env,
      clearEnv: true,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#process.stdin.getWriter();
    void relay(this.#process.stdout, { name: "stdout", log });
    void relay(this.#process.stderr, { name: "stderr", log });
    this.ended = this.#process.status.then(({ code, signal }) => {
      this.#stdin.abort().catch(() => {});
      return signal ?? `exit code ${code}`;
    });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Lets the host load one copy of the plugin files as a generation. */
  load(generation: number, { dirUrl }: Pick<PluginFiles, "dirUrl">): void {
    this.write({ load: { generation, dirUrl } });
  }

  write(line: HostInit | LoadCommand): void {
    // A process that is gone cannot be written to; its end is reported by itself.
    this.#stdin.write(encodeJsonLine(line)).catch(() => {});
  }

  kill(): void {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
  }
}

/** What plugins print goes to the log, line by line. */
async function relay(
  stream: ReadableStream<Uint8Array>,
  { name, log }: { readonly name: "stdout" | "stderr"; readonly log: Log },
): Promise<void> {
  let rest = "";
  const print = (text: string) => {
    const line = text.slice(0, MAX_OUTPUT_LINE);
    if (line !== "") log.info("plugin host output", { stream: name, line });
  };
  try {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = (lines.pop() ?? "").slice(0, MAX_OUTPUT_LINE);
      lines.forEach(print);
    }
    print(rest);
  } catch (error) {
    log.warn("the plugin host's output cannot be read", { error: errorText(error) });
  }
}
