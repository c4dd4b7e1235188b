/**
 * One run's processes and files: everything lies in a folder under the temporary directory, runs on free ports of 127.0.0.1
 * without privileges, and is gone when the run ends.
 *
 * @module
 */

import { fromFileUrl, join } from "@std/path";
import { TENANT } from "./wrk.ts";

export const ROOT = fromFileUrl(new URL("../", import.meta.url));

/** The answer of the upstream: 200 bytes of JSON. */
export const BODY = JSON.stringify({ id: 1, text: "x".repeat(182) });

/** Sizes of the files that the upstream serves under `/body/`. */
export const BODY_SIZES = [0, 1024, 16_384, 65_536] as const;

/** Until a program that was started has to answer. */
const START_MS = 15_000;

export interface Server {
  readonly pid: number;
  /** `http://127.0.0.1:PORT`, without a slash at its end. */
  readonly origin: string;
}

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export class Lab implements AsyncDisposable {
  readonly dir: string;
  readonly #children = new Map<number, { process: Deno.ChildProcess; log: string }>();

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async open(): Promise<Lab> {
    return new Lab(await Deno.makeTempDir({ prefix: "conduit-bench-" }));
  }

  async write(name: string, text: string): Promise<string> {
    const file = join(this.dir, name);
    await Deno.writeTextFile(file, text);
    return file;
  }

  /** Starts a program with as many open files as it may have, its output in a log file. */
  spawn({ program, args, env }: Command): number {
    const log = join(this.dir, `${this.#children.size}.log`);
    const process = new Deno.Command("/bin/sh", {
      args: ["-c", 'ulimit -n "$(ulimit -Hn)"; exec "$0" "$@" >"$LOG" 2>&1', program, ...args],
      env: { ...env, LOG: log, XDG_RUNTIME_DIR: this.dir },
      stdin: "null",
    }).spawn();
    this.#children.set(process.pid, { process, log });
    return process.pid;
  }

  /** Starts a program that listens on `port` and waits for its first good answer. */
  async serve(port: number, command: Command): Promise<Server> {
    const pid = this.spawn(command);
    const origin = `http://127.0.0.1:${port}`;
    const limit = Date.now() + START_MS;
    const child = this.#children.get(pid);
    let ended = false;
    void child?.process.status.then(() => ended = true);
    for (;;) {
      if (await answersWell(origin)) return { pid, origin };
      if (ended || Date.now() > limit) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const log = await this.log(pid);
    await this.stop(pid);
    throw new Error(log.trim() || `${command.program} did not answer within ${START_MS} ms`);
  }

  /** What a program has printed. */
  async log(pid: number): Promise<string> {
    const file = this.#children.get(pid)?.log;
    return file === undefined ? "" : await Deno.readTextFile(file).catch(() => "");
  }

  async stop(pid: number): Promise<void> {
    const process = this.#children.get(pid)?.process;
    this.#children.delete(pid);
    try {
      process?.kill("SIGTERM");
    } catch {
      // It has ended by itself.
    }
    await process?.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#children.keys()].map((pid) => this.stop(pid)));
    await Deno.remove(this.dir, { recursive: true });
  }
}

/**
 * The upstream of all cases: nginx with one worker, kept-alive connections and no access log. `/check` tells in
 * `x-saw` which fields of the policies it got; everything else is answered with `BODY`.
 */
export async function startUpstream(lab: Lab): Promise<Server> {
  const port = freePort();
  await Deno.mkdir(join(lab.dir, "body"), { recursive: true });
  for (const size of BODY_SIZES) await lab.write(`body/${size}`, "x".repeat(size));
  const saw = [1, 2, 3, 4].map((number) => `$http_x_policy_${number}`).join(",");
  const file = await lab.write(
    "upstream.conf",
    nginxConf(
      lab,
      `
      open_file_cache max=16;
      server {
        listen 127.0.0.1:${port};
        default_type application/json;
        location / { return 200 '${BODY}'; }
        location = /check { add_header x-saw "${saw}"; return 200 '${BODY}'; }
        location /body/ { root ${lab.dir}; }
      }`,
    ),
  );
  const program = await which("nginx") ?? "nginx";
  return await lab.serve(port, { program, args: nginxArgs(lab, file) });
}

/** A configuration for an nginx that needs no privileges. */
export function nginxConf(lab: Lab, http: string, { main = "" } = {}): string {
  const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${lab.dir}/nginx-${name};`).join(" ");
  // As root its worker would be another user, who cannot read the lab's folder.
  const user = Deno.uid() === 0 ? "user root;" : "";
  return `${main} ${user} daemon off; worker_processes 1; pid ${lab.dir}/${crypto.randomUUID()}.pid;
    events { worker_connections 8192; }
    http { access_log off; keepalive_requests 1000000000; ${folders} ${http} }`;
}

export const nginxArgs = (lab: Lab, file: string): string[] => [
  "-e",
  join(lab.dir, "nginx-error.log"),
  "-c",
  file,
];

/**
 * Sees that a case does what it is measured for: the upstream's body, and with a policy its fields on both sides.
 *
 * @throws where it does not
 */
export async function checkAnswer(
  origin: string,
  { policies }: { readonly policies: number },
): Promise<void> {
  const response = await fetch(`${origin}/check`, { headers: TENANT });
  const body = await response.text();
  if (response.status !== 200 || body !== BODY) {
    throw new Error(`it answers ${response.status} with ${JSON.stringify(body.slice(0, 200))}`);
  }
  const expected = (number: number) => number <= policies ? TENANT["x-tenant"] : "";
  const numbers = [1, 2, 3, 4];
  const set = numbers.map((number) => response.headers.get(`x-policy-${number}`) ?? "");
  const told = numbers.map(expected).join(",");
  if (set.join(",") !== told) {
    throw new Error(`its answer has the policies' fields ${set.join(",")}, not ${told}`);
  }
  const saw = response.headers.get("x-saw");
  if (saw !== told) throw new Error(`the upstream got the policies' fields ${saw}, not ${told}`);
}

export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Whether `GET /` is answered 200. */
export async function answersWell(origin: string): Promise<boolean> {
  const response = await fetch(`${origin}/`, { headers: TENANT }).catch(() => undefined);
  await response?.body?.cancel();
  return response?.ok ?? false;
}

/** Resident memory of one process. Linux only. */
export async function rssBytes(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1]) * 1024;
}

/** The path of a program, looked up as a shell would and in the folders of system programs. */
export async function which(program: string): Promise<string | undefined> {
  const folders = `${Deno.env.get("PATH") ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`.split(":");
  for (const file of folders.filter(Boolean).map((folder) => join(folder, program))) {
    const found = await Deno.stat(file).catch(() => undefined);
    if (found?.isFile) return file;
  }
  return undefined;
}
