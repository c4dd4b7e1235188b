/**
 * A plugin that does what a request tells it: a list of calls on `ctx`, with ordinary and odd values. So thousands of programs run
 * without a reload, in a gateway as in `conduit/testing`.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";

/** A call (`upstream.setHeader`, `reject`, `wait`, …) and its arguments: JSON, or `{ odd: name }` of `ODD_VALUES`. */
export type Step = readonly [call: string, ...args: readonly unknown[]];

type Call = (...args: readonly unknown[]) => unknown;

/** What one plugin does on one request. */
export interface HookProgram {
  readonly beforeRequest: readonly Step[];
  readonly afterResponse: readonly Step[];
}

/** What JSON cannot carry, and what plugins hand over in its place when something went wrong. */
export const ODD_VALUES: { readonly [name: string]: () => unknown } = {
  undefined: () => undefined,
  nan: () => NaN,
  infinity: () => -Infinity,
  minusZero: () => -0,
  bigint: () => 10n,
  symbol: () => Symbol("s"),
  function: () => () => 1,
  date: () => new Date(0),
  badDate: () => new Date(NaN),
  map: () => new Map([["a", 1]]),
  regExp: () => /a/g,
  cycle: () => {
    const cycle: Record<string, unknown> = {};
    return cycle.self = cycle;
  },
  url: () => new URL("http://a.test/b?c#d"),
  query: () => new URLSearchParams("a=1&b=%20"),
  bytes: () => new Uint8Array([104, 105, 255]),
  buffer: () => new ArrayBuffer(2),
  promise: () => Promise.resolve("late"),
  answer: () => new Response("no", { status: 403 }),
  // Its own would name places.
  error: () => Object.assign(new RangeError("out of range"), { stack: "RangeError" }),
  trap: () =>
    new Proxy({}, {
      get() {
        throw new Error("trapped");
      },
    }),
  toJson: () => ({ toJSON: () => ({ a: 1 }) }),
  toNoJson: () => ({ toJSON: () => undefined }),
  box: () => new String("boxed"),
  toText: () => ({ toString: () => "text" }),
  toNoText: () => Object.create(null),
  instance: () =>
    new class Instance {
      a = 1;
    }(),
  lone: () => "a\ud800b",
  deep: () => JSON.parse("[".repeat(300) + "]".repeat(300)),
  proto: () => JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}'),
  sparse: () => [1, , 3],
  hollow: () => ({ a: undefined, b: [undefined] }),
  long: () => "x".repeat(5000),
  notANumber: () => ({ a: [NaN] }),
};

/**
 * Runs the program at `index` of those that `x-programs` brings, percent-encoded JSON.
 *
 * @param declared what else the plugin says of itself
 */
export function programPlugin(index: number, declared: Partial<Plugin> = {}): Plugin {
  const hook = (name: keyof HookProgram) => (ctx: GatewayContext) => {
    const programs = JSON.parse(decodeURIComponent(ctx.request.header("x-programs") ?? ""));
    return run(ctx, programs[index][name]) as void;
  };
  return {
    ...declared,
    beforeRequest: hook("beforeRequest"),
    afterResponse: hook("afterResponse"),
    onError(_error, ctx) {
      ctx.log.warn("it failed");
      ctx.response.setHeader("x-failed", "of no effect");
    },
  };
}

function run(ctx: GatewayContext, steps: readonly Step[]): unknown {
  for (const [at, [call, ...args]] of steps.entries()) {
    const [first, ...more] = args.map(decoded);
    const rest = steps.slice(at + 1);
    const [part = "", method = ""] = call.split(".");
    if (call === "return") return first;
    if (call === "throw") throw first;
    if (call === "wait") return Promise.resolve(first).then(() => run(ctx, rest));
    if (call === "try") caught(() => run(ctx, first as readonly Step[]));
    else if (call === "see") ctx.response.setHeader(`x-seen-${first}`, seen(ctx));
    else if (call === "user") ctx.user = first as string;
    else if (call === "state") ctx.state[first as string] = more[0] as string;
    else {
      const object = (method ? Reflect.get(ctx, part) : ctx) as Record<string, Call>;
      object[method || part]?.(first, ...more);
    }
  }
}

/** What waits in there is not waited for, as where an `await` is missing. */
function caught(act: () => unknown): void {
  try {
    Promise.resolve(act()).catch(() => {});
  } catch {
    // It is about what stands all the same.
  }
}

function decoded(arg: unknown): unknown {
  const isOdd = typeof arg === "object" && arg !== null && "odd" in arg;
  return isOdd ? ODD_VALUES[arg.odd as string]?.() : arg;
}

/** What `fetch` sends by itself. */
const OF_FETCH = /^(user-agent|accept-(encoding|language))$/;

/** The number of a reference is the gateway's to choose. */
function bodySeen(message: Pick<GatewayContext["request"], "body" | "text">): unknown[] {
  const { kind } = message.body;
  const sizeBytes = kind === "none" ? 0 : message.body.sizeBytes;
  return [kind, sizeBytes, ...kind === "inline" ? [message.text().slice(0, 100)] : []];
}

/** All that a hook is shown, as the value of a field. */
function seen({ request, response, user, state }: GatewayContext): string {
  const told = [
    [request.method, request.path, request.query, [...request.searchParams()], request.route],
    [request.header("X-Field"), request.headerValues("x-list"), ...bodySeen(request)],
    Object.keys(request.headers).filter((name) => !OF_FETCH.test(name)).sort(),
    [
      response.status,
      Object.entries(response.headers).filter(([name]) => name !== "date").sort(),
      ...bodySeen(response),
    ],
    [user, Object.entries(state).sort()],
  ];
  return encodeURIComponent(JSON.stringify(told).toWellFormed());
}
