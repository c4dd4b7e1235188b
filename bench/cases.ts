/**
 * Our own cases: gateways with their plugins, each a process of its own.
 *
 * @module
 */

import { join } from "@std/path";
import { HEAP_FLAG } from "../gateway/sandbox.ts";
import { freePort, type Lab, ROOT, type Server } from "./lab.ts";

/** Something that `wrk` is pointed at: a gateway of ours or of others. */
export interface Subject {
  /** What `--only` takes. */
  readonly id: string;
  readonly title: string;
  readonly ours: boolean;
  /** How many policies it carries out, each with one header field in either direction. */
  readonly policies: number;
  /** @throws where it cannot be had here; the message says why and what to do */
  readonly start: (lab: Lab, upstream: Server) => Promise<Server>;
}

export interface GatewayOptions {
  /** Beside `listen`, `routes` and what keeps it quiet. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly plugins: number;
  /** Whether the plugins want bodies; they never read one that is there. */
  readonly readsBodies?: boolean;
}

export const SUBJECTS: readonly Subject[] = [
  {
    id: "direct",
    title: "straight to nginx",
    ours: false,
    policies: 0,
    start: (_lab, upstream) => Promise.resolve(upstream),
  },
  ours("plain", "no plugins", { plugins: 0 }),
  ours("per-hook", "8 hooks, per-hook", { plugins: 4 }),
  ours("per-phase", "8 hooks, per-phase", {
    plugins: 4,
    config: { hookDispatch: "per-phase" },
  }),
  ours("plain-2", "no plugins, 2 processes", { plugins: 0, config: { processes: 2 } }),
  ours("per-hook-2", "8 hooks, per-hook, 2 processes", {
    plugins: 4,
    config: { processes: 2 },
  }),
  ours("per-phase-2", "8 hooks, per-phase, 2 processes", {
    plugins: 4,
    config: { hookDispatch: "per-phase", processes: 2 },
  }),
];

function ours(id: string, title: string, options: GatewayOptions): Subject {
  return {
    id,
    title: `Conduit, ${title}`,
    ours: true,
    policies: options.plugins,
    start: (lab, upstream) => startGateway(lab, upstream, options),
  };
}

/** The command that runs a gateway, and the port it will listen on. */
export async function gatewayCommand(lab: Lab, upstream: string, options: GatewayOptions) {
  const port = freePort();
  const name = crypto.randomUUID();
  const pluginsDir = join(lab.dir, name);
  await Deno.mkdir(pluginsDir);
  // Without plugins the route is the one that passes those that are there by.
  for (let number = 1; number <= (options.plugins || 4); number++) {
    await lab.write(`${name}/00${number}-policy.ts`, pluginSource(number, options.readsBodies));
  }
  const route = { path: "/*", upstream, plugins: options.plugins > 0 ? undefined : false };
  const file = await lab.write(
    `${name}.json`,
    JSON.stringify({
      listen: `127.0.0.1:${port}`,
      admin: false,
      log: { level: "warn" },
      // On a full machine hooks wait: they get the time, and an answer without them would count as failed.
      hookTimeoutMs: 2000,
      hardCeilingMs: 4000,
      onHookTimeout: "reject",
      shutdownGraceMs: 1000,
      pluginsDir,
      ...options.config,
      routes: [route],
    }),
  );
  const args = ["run", "-A", HEAP_FLAG, join(ROOT, "main.ts"), "run", "--config", file];
  return { port, program: Deno.execPath(), args };
}

export async function startGateway(
  lab: Lab,
  upstream: Server,
  options: GatewayOptions,
): Promise<Server> {
  const { port, ...command } = await gatewayCommand(lab, upstream.origin, options);
  try {
    return await lab.serve(port, command);
  } catch (error) {
    throw new Error(`not built: ${reason(error)}`, { cause: error });
  }
}

/** Reads one field of the request, as it declares, and sets one in each phase. Every peer's policy does the same four times. */
function pluginSource(number: number, readsBodies = false): string {
  return `import type { GatewayContext, Plugin } from "conduit/plugin";

export default {
  readsBodies: ${readsBodies},
  readsHeaders: ["x-tenant"],
  beforeRequest(ctx: GatewayContext) {
    ctx.upstream.setHeader("x-policy-${number}", ctx.request.headers["x-tenant"] as string);
  },
  afterResponse(ctx: GatewayContext) {
    ctx.response.setHeader("x-policy-${number}", ctx.request.headers["x-tenant"] as string);
  },
} satisfies Plugin;
`;
}

/** Why something did not start: of what it printed the line that names an error, or the first one. */
export function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  // deno-lint-ignore no-control-regex
  const lines = text.replaceAll(/\x1b\[[0-9;]*m/g, "").trim().split("\n");
  return lines.find((line) => /^error:|\[emerg\]|\[ALERT\]/i.test(line)) ?? lines[0] ?? "";
}
