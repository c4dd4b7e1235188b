/**
 * A real `conduit host` process for tests.
 *
 * @module
 */

import { join } from "@std/path";
import { type LogLine, parseLine, type Program, ROOT, type TestGateway } from "./gateway.ts";
import { lines } from "./lines.ts";
import { descendants } from "./proc.ts";

export class HostServiceProcess implements AsyncDisposable {
  readonly logs: LogLine[] = [];
  readonly #process: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #hosts: readonly number[] = [];
  #stderr = "";

  /** @param options.root where `main.ts` lies; @param options.dir has the configuration and `run/` */
  constructor(
    { dir, root = ROOT, env = {}, program, clearEnv = false }: {
      readonly dir: string;
      readonly root?: string;
      readonly program?: Program;
      /** Its environment is `env` and nothing else. */
      readonly clearEnv?: boolean;
      readonly env?: Readonly<Record<string, string>>;
    },
  ) {
    const { command, args } = program ??
      { command: Deno.execPath(), args: ["run", "-A", join(root, "main.ts")] };
    this.#process = new Deno.Command(command, {
      args: [...args, "host", "--config", join(dir, "conduit.config.json")],
      clearEnv,
      env: { XDG_RUNTIME_DIR: join(dir, "run"), ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = this.#read();
  }

  get pid(): number {
    return this.#process.pid;
  }

  get status(): Promise<Deno.CommandStatus> {
    return this.#process.status;
  }

  get stderr(): string {
    return this.#stderr;
  }

  says(message: string): LogLine | undefined {
    return this.logs.find((line) => line.message === message);
  }

  /** The hosts that it has started, which a test that fails must not leave behind. */
  async hosts(): Promise<readonly number[]> {
    return this.#hosts = await descendants(this.pid);
  }

  signal(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hosts();
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // ended, as it should have
    }
    await this.#process.status;
    await this.#reading;
  }

  async #read(): Promise<void> {
    const errors = (async () => {
      for await (const line of lines(this.#process.stderr)) this.#stderr += `${line}\n`;
    })();
    for await (const line of lines(this.#process.stdout)) this.logs.push(parseLine(line));
    await errors;
  }
}

/** For a gateway that runs: one with its configuration. */
export function hostServiceOf(
  gateway: TestGateway,
  env: Readonly<Record<string, string>> = {},
): HostServiceProcess {
  return new HostServiceProcess({ dir: gateway.dir, env });
}
