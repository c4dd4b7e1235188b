/**
 * What a storm rages over: a real gateway process in a session of its own, a real upstream process, a real Redis where there is one, and
 * the policy that no request may escape.
 *
 * @module
 */

import {
  byShell,
  isRunning,
  type LogLine,
  type TestGateway,
  testGateway,
} from "../support/gateway.ts";
import { type Usage, usageOf } from "../support/proc.ts";
import { NO_REDIS, RedisServer } from "../support/redis_server.ts";
import { Client, type Lane, Load } from "./load.ts";
import { StormUpstream } from "./upstream.ts";

const HANG_TIMEOUT_MS = 200;
const HARD_CEILING_MS = 2000;
const POOL_SIZE = 4;

/** What never may stand in the log, whatever rages. */
const FAULTS: readonly string[] = [
  "the gateway itself failed",
  "unhandled rejection in the gateway",
  "uncaught error in the gateway",
  "a response could not be written",
  "a plugin connection broke the protocol",
];

/** What every phase asks for all the time, and what the failure policy has for it when nothing happens to the plugin host. */
export const CALM: readonly Lane[] = [
  { path: "/closed/fast", clients: 4, allowed: ["200"] },
  { path: "/open/fast", clients: 2, allowed: ["200"] },
  { path: "/plain/fast", clients: 2, allowed: ["200"] },
];

/** Marks each request with what only it knows, and does what its path says. */
export const policy = (version: number) =>
  `let salt;
export default {
  onTimeout: "reject",
  readsBodies: false,
  onLoad(init) { salt = init.config.salt; },
  async beforeRequest(ctx) {
    const { path } = ctx.request;
    ctx.upstream.setHeader("x-policed", salt + "." + ctx.request.header("x-nonce"));
    ctx.response.setHeader("x-version", "${version}");
    if (path.startsWith("/hang/")) for (;;);
    if (path.startsWith("/nap/")) await new Promise((resolve) => setTimeout(resolve, 200));
    if (path.startsWith("/counted/")) await ctx.services.cache.increment("storm");
  },
  afterResponse(ctx) { ctx.response.setHeader("x-after", "${version}"); },
};`;

export interface StormOptions {
  /** Shell text before the gateway is run: `ulimit -n 256;`. */
  readonly limits?: string;
  /** Shell text behind it: `> /dev/full`. */
  readonly output?: string;
  readonly config?: Readonly<Record<string, unknown>>;
}

export class Storm implements AsyncDisposable {
  readonly gateway: TestGateway;
  readonly upstream: StormUpstream;
  readonly redis: RedisServer | undefined;
  readonly port: number;
  /** Access lines by status. */
  readonly accessLines: Record<string, number>;
  #version = 0;
  readonly #adminPort: number;

  private constructor(
    parts: Pick<Storm, "gateway" | "upstream" | "redis" | "accessLines">,
    ports: readonly number[],
  ) {
    ({
      gateway: this.gateway,
      upstream: this.upstream,
      redis: this.redis,
      accessLines: this.accessLines,
    } = parts);
    [this.port = 0, this.#adminPort = 0] = ports;
  }

  static async start({ limits = "", output = "", config = {} }: StormOptions = {}): Promise<Storm> {
    await using stack = new AsyncDisposableStack();
    const salt = crypto.randomUUID();
    const upstream = stack.use(await StormUpstream.start(salt));
    const redis = NO_REDIS === undefined ? stack.use(await RedisServer.start()) : undefined;
    const ports = freePorts(2);
    const [steady, flappy] = [upstream.url("steady"), upstream.url("flappy")];
    const accessLines: Record<string, number> = {};
    const gateway = stack.use(
      await testGateway({
        mayFail: true, // its log may be out of reach: that it is ready is asked of its admin listener
        program: byShell(`${limits} exec setsid "$@" ${output}`),
        keepsLog: ({ status }) => {
          if (typeof status !== "number") return true;
          accessLines[status] = (accessLines[status] ?? 0) + 1;
          return false;
        },
        config: {
          listen: `127.0.0.1:${ports[0]}`,
          admin: { listen: `127.0.0.1:${ports[1]}` },
          log: { format: "json", level: "info" },
          pluginPoolSize: POOL_SIZE,
          hookTimeoutMs: HARD_CEILING_MS,
          hardCeilingMs: HARD_CEILING_MS,
          pluginConfig: { "001-policy": { salt } },
          services: { cache: redis ? { driver: "redis", url: redis.url } : { driver: "memory" } },
          routes: [
            { path: "/closed/*", upstream: steady },
            { path: "/open/*", upstream: steady, failPolicy: "open" },
            { path: "/plain/*", upstream: steady, plugins: false },
            { path: "/nap/*", upstream: steady },
            { path: "/counted/*", upstream: steady },
            { path: "/hang/*", upstream: steady, hookTimeoutMs: HANG_TIMEOUT_MS },
            { path: "/flappy/*", upstream: flappy, timeouts: { responseHeaderMs: 1000 } },
          ],
          ...config,
        },
        plugins: { "001-policy.ts": policy(0) },
      }),
    );
    const storm = new Storm({ gateway, upstream, redis, accessLines }, ports);
    await storm.untilReady();
    stack.move();
    return storm;
  }

  load(lanes: readonly Lane[] = CALM): Load {
    return new Load(this.port, lanes);
  }

  client(): Client {
    return new Client(this.port);
  }

  async untilReady(): Promise<void> {
    await this.gateway.until(async () => {
      const url = `http://127.0.0.1:${this.#adminPort}/readyz`;
      const response = await fetch(url).catch(() => undefined);
      await response?.body?.cancel();
      return response?.status === 200;
    }, { what: "/readyz", withinMs: 60_000 });
  }

  /** Saves the policy anew. @returns the version that answers will show */
  async savePolicy(): Promise<string> {
    await this.gateway.savePlugin("001-policy.ts", policy(++this.#version));
    return `${this.#version}`;
  }

  /** The plugin host that serves: the youngest. */
  async host(): Promise<number> {
    return (await this.gateway.hostPids()).at(-1) ?? 0;
  }

  /** Waits for a record that is written from now on, while `action` runs or after it. */
  async logged(message: string, action: () => void | Promise<void>): Promise<LogLine> {
    const from = this.gateway.logs.length;
    await action();
    return await this.gateway.waitForLog((line) => line.message === message, {
      what: JSON.stringify(message),
      withinMs: 60_000,
      from,
    });
  }

  /** Gateway and host; RSS is what it is just now, garbage too. */
  async usage(): Promise<{ readonly gateway: Usage; readonly host: Usage }> {
    return { gateway: await usageOf(this.gateway.pid), host: await usageOf(await this.host()) };
  }

  /** What stands in its log and never may, and anything on stderr. */
  faults(): string[] {
    const { logs, stderr } = this.gateway;
    const told = logs.map(({ message }) => message).filter((each) => FAULTS.includes(each));
    return stderr === "" ? told : [...told, stderr];
  }

  /** Ends the gateway as an operator does. @returns how, and what is left of its session */
  async end(): Promise<
    { readonly code: number; readonly inFlight: number | undefined; readonly orphans: number }
  > {
    const { gateway } = this;
    gateway.signal("SIGTERM");
    const { code } = await gateway.status;
    const draining = gateway.logs.find((line) => line.message === "draining");
    const inFlight = draining && Number(draining.inFlight);
    return { code, inFlight, orphans: (await sessionOf(gateway.pid)).length };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    for (const pid of await sessionOf(this.gateway.pid)) Deno.kill(pid, "SIGKILL");
    await this.redis?.[Symbol.asyncDispose]();
    await this.upstream[Symbol.asyncDispose]();
  }
}

/** The processes that run in a session, by its leader (proc_pid_stat(5): session is the sixth field). */
async function sessionOf(leader: number): Promise<number[]> {
  const pids = [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter(Boolean);
  const inIt = await Promise.all(pids.map(async (pid) => {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
    const [, , , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(session) === leader && await isRunning(pid);
  }));
  return pids.filter((_, index) => inIt[index]);
}

/** Ports that were free just now. */
function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map((each) => (each.addr as Deno.NetAddr).port);
  for (const each of listeners) each.close();
  return ports;
}
