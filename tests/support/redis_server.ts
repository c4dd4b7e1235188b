/**
 * A real Redis for tests: a `redis-server` of its own on a free port, without persistence, which can be killed, started again on the same
 * port, and paused.
 *
 * ```ts
 * Deno.test({ name: `sessions live in Redis${NO_REDIS ?? ""}`, ignore: NO_REDIS !== undefined, fn: … });
 * await using redis = await RedisServer.start({ password: "secret" });
 * ```
 *
 * @module
 */

import { freePort } from "./sockets.ts";

/** Why tests with a Redis are ignored here, for the end of their names; undefined where they run. `.ci/run` installs one. */
export const NO_REDIS: string | undefined = await isInstalled()
  ? undefined
  : " (ignored: no redis-server on this machine)";

/** What Redis answers (RESP 2). */
export type Reply = string | number | null | Error | readonly Reply[];

export interface RedisOptions {
  readonly password?: string;
  /** Where it listens beside 127.0.0.1. */
  readonly address?: string;
}

export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #password: string | undefined;
  readonly #addresses: readonly string[];
  readonly #dir: string;
  #process: Deno.ChildProcess | undefined;

  private constructor(port: number, { password, address, dir }: RedisOptions & { dir: string }) {
    this.port = port;
    this.#password = password;
    this.#addresses = ["127.0.0.1", ...(address === undefined ? [] : [address])];
    this.#dir = dir;
  }

  /** Resolves when it answers. */
  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    for (let attempt = 1;; attempt++) {
      const dir = await Deno.makeTempDir({ prefix: "conduit-redis-" });
      const server = new RedisServer(freePort(), { ...options, dir });
      try {
        await server.restart();
        return server;
      } catch (error) {
        await server[Symbol.asyncDispose]();
        if (attempt === 3) throw error; // somebody else took the port between looking and listening
      }
    }
  }

  /** `redis://127.0.0.1:PORT`, with the password if it has one. */
  get url(): string {
    const user = this.#password === undefined ? "" : `:${encodeURIComponent(this.#password)}@`;
    return `redis://${user}127.0.0.1:${this.port}`;
  }

  get pid(): number {
    if (!this.#process) throw new Error("redis-server does not run");
    return this.#process.pid;
  }

  /** Ends it at once, with everything in it. */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.status;
    this.#process = undefined;
  }

  /** Starts it on the same port, empty; kills it before if it runs. */
  async restart(): Promise<void> {
    await this.kill();
    const password = this.#password === undefined ? [] : ["--requirepass", this.#password];
    const process = new Deno.Command("redis-server", {
      args: ["--port", `${this.port}`, "--bind", ...this.#addresses, "--dir", this.#dir]
        .concat(["--save", "", "--appendonly", "no", "--logfile", "log"], password),
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#process = process;
    let ended = false;
    void process.status.then(() => ended = true);
    const limit = Date.now() + 20_000;
    while (!await this.command("PING").then((reply) => reply === "PONG", () => false)) {
      if (ended || Date.now() > limit) {
        const log = await Deno.readTextFile(`${this.#dir}/log`).catch(() => "");
        throw new Error(`redis-server on port ${this.port} did not start: ${log}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** From now on it takes connections and commands, and answers none. */
  pause(): void {
    Deno.kill(this.pid, "SIGSTOP");
  }

  resume(): void {
    Deno.kill(this.pid, "SIGCONT");
  }

  /** Runs one command. Rejects with the text of an error reply. */
  async command(...args: readonly (string | number)[]): Promise<Reply> {
    const [reply = null] = await this.commands([args]);
    if (reply instanceof Error) throw reply;
    return reply;
  }

  /** Runs commands one after another on a connection of their own, with the password given; error replies are among the replies. */
  async commands(commands: readonly (readonly (string | number)[])[]): Promise<Reply[]> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
    try {
      const login = this.#password === undefined ? [] : [["AUTH", this.#password]];
      const all = [...login, ...commands];
      const replies = new Replies(conn);
      await writeAll(conn, encoder.encode(all.map((args) => encode(args.map(String))).join("")));
      const read: Reply[] = [];
      for (let index = 0; index < all.length; index++) read.push(await replies.next());
      return read.slice(login.length);
    } finally {
      conn.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#dir, { recursive: true }).catch(() => {});
  }
}

const encoder = new TextEncoder();

function encode(args: readonly string[]): string {
  const strings = args.map((arg) => `$${encoder.encode(arg).length}\r\n${arg}\r\n`);
  return `*${args.length}\r\n${strings.join("")}`;
}

/** Replies as they come in. */
class Replies {
  readonly #conn: Deno.Conn;
  #bytes: Uint8Array = new Uint8Array();

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  async next(): Promise<Reply> {
    const head = await this.#line();
    const rest = head.slice(1);
    switch (head[0]) {
      case "+":
        return rest;
      case "-":
        return new Error(rest);
      case ":":
        return Number(rest);
      case "$":
        return rest === "-1" ? null : await this.#string(Number(rest));
      case "*": {
        if (rest === "-1") return null;
        const replies: Reply[] = [];
        for (let index = 0; index < Number(rest); index++) replies.push(await this.next());
        return replies;
      }
      default:
        throw new Error(`redis-server answered ${JSON.stringify(head)}`);
    }
  }

  async #line(): Promise<string> {
    let end: number;
    while ((end = this.#bytes.indexOf(10)) < 0) await this.#more();
    return this.#take(end + 1).slice(0, -2);
  }

  async #string(bytes: number): Promise<string> {
    while (this.#bytes.length < bytes + 2) await this.#more();
    const text = this.#take(bytes);
    this.#take(2);
    return text;
  }

  #take(bytes: number): string {
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(
      this.#bytes.subarray(0, bytes),
    );
    this.#bytes = this.#bytes.subarray(bytes);
    return text;
  }

  async #more(): Promise<void> {
    const buffer = new Uint8Array(65536);
    const length = await this.#conn.read(buffer);
    if (length === null) throw new Error("redis-server closed the connection");
    const joined = new Uint8Array(this.#bytes.length + length);
    joined.set(this.#bytes);
    joined.set(buffer.subarray(0, length), this.#bytes.length);
    this.#bytes = joined;
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += await conn.write(bytes.subarray(written));
  }
}

/** A port that was free just now. */

async function isInstalled(): Promise<boolean> {
  try {
    const { success } = await new Deno.Command("redis-server", {
      args: ["--version"],
      stdout: "null",
      stderr: "null",
    }).output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
