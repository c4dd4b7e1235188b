/**
 * A real gateway process for tests: `main.ts run` with its own configuration, plugins folder and JSON log, on free ports.
 *
 * @module
 */

import { fromFileUrl, join } from "@std/path";
import { HEAP_FLAG } from "../../gateway/sandbox.ts";
import { lines } from "./lines.ts";
import { until } from "./until.ts";

export const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** How `conduit` is started: from source, unless a test says otherwise. */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
}

export const FROM_SOURCE: Program = {
  command: Deno.execPath(),
  args: ["run", "-A", HEAP_FLAG, join(ROOT, "main.ts")],
};

/** From source, by a shell script that runs `"$@"` in its own place: `ulimit -n 256; exec "$@"`. */
export function byShell(script: string): Program {
  const { command, args } = FROM_SOURCE;
  return { command: "/bin/sh", args: ["-c", script, "sh", command, ...args] };
}

export type LogLine = Readonly<Record<string, unknown>> & {
  readonly level: string;
  readonly message: string;
};

export interface TestGatewayOptions {
  /** Merged over the defaults; `routes` is best given, `listen`, `admin` and `pluginsDir` are set. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Plugin files by name. */
  readonly plugins?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly command?: "run" | "dev";
  readonly program?: Program;
  /** Its environment is `env` and nothing else. */
  readonly clearEnv?: boolean;
  readonly cwd?: string;
  /** A folder that is ready, with a configuration of its own; it stays when the gateway is disposed. */
  readonly dir?: string;
  /** Do not wait until it is ready: the test looks at how the process ends. */
  readonly mayFail?: boolean;
  /** Which records stay in `logs`; all of them, unless a long run would fill the memory. */
  readonly keepsLog?: (line: LogLine) => boolean;
}

/** What every gateway of a test has, unless the test says otherwise. */
export const BASE_CONFIG = {
  listen: "127.0.0.1:0",
  admin: { listen: "127.0.0.1:0" },
  pluginsDir: "./plugins",
  pluginPoolSize: 2,
  log: { format: "json", level: "debug" },
  hookDispatch: Deno.env.get("CONDUIT_TEST_DISPATCH") ?? "per-hook",
} as const;

/** Starts a gateway and waits until it listens. Disposing it kills what still runs and removes its folder. */
export async function testGateway(options: TestGatewayOptions): Promise<TestGateway> {
  if (options.dir !== undefined) return await started(options.dir, options);
  const dir = await Deno.makeTempDir({ prefix: "conduit-test-" });
  await Deno.mkdir(join(dir, "plugins"));
  await Deno.mkdir(join(dir, "run"));
  const config = { ...BASE_CONFIG, ...options.config };
  await Deno.writeTextFile(join(dir, "conduit.config.json"), JSON.stringify(config));
  for (const [name, source] of Object.entries(options.plugins ?? {})) {
    await Deno.writeTextFile(join(dir, "plugins", name), source);
  }
  return await started(dir, options);
}

async function started(dir: string, options: TestGatewayOptions): Promise<TestGateway> {
  const gateway = new TestGateway(dir, options);
  if (options.mayFail) return gateway;
  try {
    await gateway.listening();
    return gateway;
  } catch (error) {
    await gateway[Symbol.asyncDispose]();
    throw error;
  }
}

export class TestGateway implements AsyncDisposable {
  readonly dir: string;
  /** Every record of its log so far. With `dev`, whose log is text, lines stand in `message`. */
  readonly logs: LogLine[] = [];
  readonly #keepsDir: boolean;
  readonly #process: Deno.ChildProcess;
  readonly #wakes = new Set<() => void>();
  readonly #reading: Promise<void>;
  readonly #readingErrors: Promise<void>;
  readonly #stdoutClosed = new AbortController();
  readonly #children = new Set<number>();
  readonly #keepsLog: (line: LogLine) => boolean;
  #stderr = "";
  #ended: Deno.CommandStatus | undefined;

  constructor(dir: string, options: TestGatewayOptions) {
    this.dir = dir;
    this.#keepsDir = options.dir !== undefined;
    const { program = FROM_SOURCE, clearEnv = false, cwd, keepsLog = () => true } = options;
    this.#keepsLog = keepsLog;
    this.#process = new Deno.Command(program.command, {
      args: [
        ...program.args,
        options.command ?? "run",
        "--config",
        join(dir, "conduit.config.json"),
      ],
      env: { XDG_RUNTIME_DIR: join(dir, "run"), ...options.env },
      clearEnv,
      ...(cwd ? { cwd } : {}),
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    void this.#process.status.then((status) => {
      this.#ended = status;
      this.#wake();
    });
    this.#readingErrors = this.#readErrors(this.#process.stderr);
    this.#reading = this.#readLog(this.#process.stdout);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** What it wrote to stderr. */
  get stderr(): string {
    return this.#stderr;
  }

  get status(): Promise<Deno.CommandStatus> {
    return this.#process.status;
  }

  get port(): number {
    return this.#address("address").port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get adminUrl(): string {
    return `http://127.0.0.1:${this.#address("admin").port}`;
  }

  async listening(): Promise<void> {
    await this.waitForLog((line) => line.message === "ready" || / ready /.test(line.message), {
      what: "the gateway to be ready",
    });
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, { redirect: "manual", ...init });
  }

  /** Writes a plugin file as an editor does that truncates and writes. */
  async savePlugin(name: string, source: string): Promise<void> {
    await Deno.writeTextFile(join(this.dir, "plugins", name), source);
  }

  /** Asks until `check` gives a truthy value, and returns that. */
  until<T>(
    check: () => T | Promise<T>,
    { what, withinMs = 10_000 }: { what: string; withinMs?: number },
  ): Promise<T> {
    return until(check, what, { withinMs, tell: () => this.describe() });
  }

  /** The first record, past or future, that `matches`; `from` skips records that were there before. */
  async waitForLog(
    matches: (line: LogLine) => boolean,
    { what = "a log record", withinMs = 20_000, from = 0 }: {
      what?: string;
      withinMs?: number;
      from?: number;
    } = {},
  ): Promise<LogLine> {
    const limit = Date.now() + withinMs;
    for (;;) {
      const found = this.logs.slice(from).find(matches);
      if (found) return found;
      if (this.#ended) {
        throw new Error(
          `the gateway ended (${JSON.stringify(this.#ended)}) before ${what}; ${this.describe()}`,
        );
      }
      if (Date.now() > limit) {
        throw new Error(`waited ${withinMs} ms for ${what}; ${this.describe()}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(1, limit - Date.now()));
        this.#wakes.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** The process ids of its plugin hosts, oldest first: its children. */
  async hostPids(): Promise<number[]> {
    const text = await Deno.readTextFile(`/proc/${this.pid}/task/${this.pid}/children`).catch(() =>
      ""
    );
    const pids = text.split(" ").filter(Boolean).map(Number);
    for (const pid of pids) this.#children.add(pid);
    return pids;
  }

  signal(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Reads its log no further, as `| head -1` does: what it writes from now on is refused. */
  async closeStdout(): Promise<void> {
    this.#stdoutClosed.abort();
    await this.#reading;
  }

  /** Everything it said, for a failing assertion. */
  describe(): string {
    return `stderr: ${this.#stderr}\nlog: ${
      this.logs.slice(-40).map((line) => JSON.stringify(line)).join("\n")
    }`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hostPids();
    if (!this.#ended) this.#process.kill("SIGKILL");
    await this.#process.status;
    for (const pid of this.#children) {
      try {
        Deno.kill(pid, "SIGKILL"); // a test that failed half-way may leave one
      } catch {
        // gone, as it should be
      }
    }
    await this.#reading;
    await this.#readingErrors;
    if (!this.#keepsDir) await Deno.remove(this.dir, { recursive: true }).catch(() => {});
  }

  #address(field: "address" | "admin"): URL & { port: number } {
    const line = this.logs.find((each) => typeof each[field] === "string");
    if (!line) throw new Error(`the gateway does not listen; ${this.describe()}`);
    const port = Number(String(line[field]).split(":").pop());
    return Object.assign(new URL("http://127.0.0.1/"), { port }) as URL & { port: number };
  }

  async #readLog(stream: ReadableStream<Uint8Array>): Promise<void> {
    try {
      for await (const line of lines(stream, this.#stdoutClosed.signal)) {
        const record = parseLine(line);
        if (this.#keepsLog(record)) this.logs.push(record);
        this.#wake();
      }
    } catch (error) {
      if (!this.#stdoutClosed.signal.aborted) throw error;
    }
  }

  async #readErrors(stream: ReadableStream<Uint8Array>): Promise<void> {
    for await (const line of lines(stream)) this.#stderr += `${line}\n`;
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
    this.#wakes.clear();
  }
}

/** A record as JSON, or whatever else the line is: text, or the beginning of a record by a process that was killed. */
export function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line);
  } catch {
    const fields = Object.fromEntries(
      [...line.matchAll(/(\w+)=(\S+)/g)].map(([, key, value]) => [key, value]),
    );
    return { ...fields, level: "text", message: line };
  }
}

/** Whether a process runs (a zombie does not). */
export async function isRunning(pid: number): Promise<boolean> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
  return stat !== "" && !/\) [ZX] /.test(stat);
}
