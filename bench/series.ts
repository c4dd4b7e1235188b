/**
 * How cost grows: with the number of plugins, the size of the body, the number of header fields and the concurrency. Each point
 * is measured beside the same request straight to nginx, in interleaved rounds.
 *
 * @module
 */

import { type GatewayOptions, reason, startGateway } from "./cases.ts";
import { BODY_SIZES, type Lab, type Server } from "./lab.ts";
import type { LeftOut, Sample, Series, SeriesLine } from "./results.ts";
import { type Effort, LOADED_CONNECTIONS } from "./throughput.ts";
import { TENANT, wrk } from "./wrk.ts";

interface Line {
  readonly title: string;
  /** The gateway that this line measures at `x`. */
  readonly options: (x: number) => GatewayOptions;
}

interface Plan {
  readonly id: string;
  readonly title: string;
  readonly xLabel: string;
  readonly xs: readonly number[];
  readonly lines: readonly Line[];
  /** What the request at `x` is, where that is not the usual one. */
  readonly request?: (x: number) => Request;
}

interface Request {
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of 32 for throughput and 1 for latency. */
  readonly connections?: number;
}

const PER_HOOK = { config: { hookDispatch: "per-hook" } } as const;
const PER_PHASE = { config: { hookDispatch: "per-phase" } } as const;
const NO_PLUGINS: Line = { title: "no plugins", options: () => ({ plugins: 0 }) };
const FOUR_PER_HOOK: Line = {
  title: "8 hooks, per-hook",
  options: () => ({ ...PER_HOOK, plugins: 4 }),
};
const FOUR_PER_PHASE: Line = {
  title: "8 hooks, per-phase",
  options: () => ({ ...PER_PHASE, plugins: 4 }),
};

const PLANS: readonly Plan[] = [
  {
    id: "plugins",
    title: "Number of plugins, two hooks each",
    xLabel: "plugins",
    xs: [0, 1, 2, 4, 8],
    lines: [
      { title: "per-hook", options: (plugins) => ({ ...PER_HOOK, plugins }) },
      { title: "per-phase", options: (plugins) => ({ ...PER_PHASE, plugins }) },
    ],
  },
  {
    id: "body",
    title: "Size of the answer's body, 8 hooks",
    xLabel: "bytes",
    xs: BODY_SIZES,
    lines: [
      {
        title: "per-hook, bodies captured",
        options: () => ({ ...PER_HOOK, plugins: 4, readsBodies: true }),
      },
      { ...FOUR_PER_HOOK, title: "per-hook, readsBodies: false" },
      {
        title: "per-phase, bodies captured",
        options: () => ({ ...PER_PHASE, plugins: 4, readsBodies: true }),
      },
      { ...FOUR_PER_PHASE, title: "per-phase, readsBodies: false" },
    ],
    request: (size) => ({ path: `/body/${size}` }),
  },
  {
    id: "headers",
    title: "Header fields of the request",
    xLabel: "fields",
    xs: [5, 20, 60],
    lines: [NO_PLUGINS, FOUR_PER_HOOK, FOUR_PER_PHASE],
    request: (count) => ({ headers: fields(count - 1 - Object.keys(TENANT).length) }),
  },
  {
    id: "concurrency",
    title: "Connections at the same time",
    xLabel: "connections",
    xs: [1, 8, 32, 128],
    lines: [NO_PLUGINS, FOUR_PER_HOOK, FOUR_PER_PHASE],
    request: (connections) => ({ connections }),
  },
];

export async function series(
  lab: Lab,
  upstream: Server,
  effort: Effort,
): Promise<{ readonly series: readonly Series[] }> {
  const measured: Series[] = [];
  for (const plan of PLANS) measured.push(await measure(lab, upstream, { plan, effort }));
  return { series: measured };
}

async function measure(
  lab: Lab,
  upstream: Server,
  { plan, effort }: { readonly plan: Plan; readonly effort: Effort },
): Promise<Series> {
  const gateways = new Map<string, Server>();
  const leftOut: LeftOut[] = [];
  const lines: { title: string; points: Point[] }[] = [];
  for (const { title, options } of plan.lines) {
    try {
      const points: Point[] = [];
      for (const x of plan.xs) {
        const key = JSON.stringify(options(x));
        const gateway = gateways.get(key) ?? await startGateway(lab, upstream, options(x));
        gateways.set(key, gateway);
        points.push({ x: `${x}`, gateway, loaded: [], single: [], base: [] });
      }
      lines.push({ title, points });
    } catch (error) {
      leftOut.push({ title, reason: reason(error) });
    }
  }
  for (let round = 1; round <= effort.rounds; round++) {
    for (const [index, x] of plan.xs.entries()) {
      effort.say(`round ${round} of ${effort.rounds}: ${plan.title}: ${x}`);
      const points = lines.flatMap((line) => line.points[index] ?? []);
      await measurePoints(points, upstream, { request: plan.request?.(x) ?? {}, effort });
    }
  }
  for (const { pid } of gateways.values()) await lab.stop(pid);
  const { id, title, xLabel } = plan;
  const written = lines.map((line): SeriesLine => ({
    title: line.title,
    points: line.points.map(({ gateway: _, ...point }) => point),
  }));
  return { id, title, xLabel, lines: written, leftOut };
}

interface Point {
  readonly x: string;
  readonly gateway: Server;
  readonly loaded: Sample[];
  readonly single: Sample[];
  readonly base: Sample[];
}

/** One round of the points at one `x`. */
async function measurePoints(
  points: readonly Point[],
  upstream: Server,
  { request, effort }: { readonly request: Request; readonly effort: Effort },
): Promise<void> {
  const { path = "/", headers = {}, connections } = request;
  const load = { headers, seconds: effort.seconds };
  const one = { ...load, connections: connections ?? 1 };
  const base = await wrk(upstream.origin + path, one);
  for (const { gateway, ...samples } of points) {
    const url = gateway.origin + path;
    const single = await wrk(url, one);
    samples.base.push(base);
    samples.single.push(single);
    samples.loaded.push(
      connections === undefined
        ? await wrk(url, { ...load, connections: LOADED_CONNECTIONS })
        : single,
    );
  }
}

function fields(count: number): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`x-field-${index}`, `a-usual-value-of-${index}`]),
  );
}
