/**
 * Where the time of a hook goes: `deno run bench/breakdown.ts` takes a request with four plugins on both phases (eight hooks, asked
 * for per phase) through the code of both processes, in one thread and without sockets, and prints what each step takes, in
 * microseconds a request. What is not in it is in the difference to `deno task bench`: system calls, waking threads, HTTP.
 *
 * @module
 */

import { Body } from "../gateway/body_store.ts";
import type { Route } from "../gateway/config.ts";
import { Exchange, type UpstreamAnswer } from "../gateway/exchange.ts";
import { requestHeaderMap, responseHeaderMap } from "../gateway/headers.ts";
import { runHook } from "../plugin-host/hook_runner.ts";
import type { Plugin } from "../plugin-host/mod.ts";
import { encodeFrame, FrameDecoder } from "../protocol/frame.ts";
import { decodeFromIsolate, decodeToIsolate } from "../protocol/messages.ts";
import { permittedPatch } from "../protocol/mutation_rules.ts";
import { apply } from "../protocol/patch.ts";
import type { HookName } from "../protocol/snapshot.ts";
import { REQUEST_FIELDS, RESPONSE_FIELDS } from "./micro/inputs.ts";

const REQUESTS = 20_000;
const NAMES = ["001-a", "002-b", "003-c", "004-d"] as const;
const PLUGIN: Plugin = {
  readsBodies: false,
  beforeRequest(ctx) {
    ctx.upstream.setHeader("x-checked", ctx.request.method);
  },
  afterResponse(ctx) {
    ctx.response.setHeader("x-served", String(ctx.response.status));
  },
};
const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const NEEDS = {
  services: () => {
    throw new TypeError("the plugin of this benchmark asks for no services");
  },
  lateLog() {},
};
const ANSWER: UpstreamAnswer = {
  status: 200,
  headers: responseHeaderMap(RESPONSE_FIELDS),
  body: new Body(new Uint8Array(200), 200),
};

const spentMs = new Map<string, number>();
const [toIsolate, toGateway] = [new FrameDecoder(), new FrameDecoder()];
let lapAt = 0;

/** Adds what has passed since the last lap to a step. */
function lap(step: string): void {
  spentMs.set(step, (spentMs.get(step) ?? 0) + performance.now() - lapAt);
  lapAt = performance.now();
}

async function request(): Promise<void> {
  const exchange = new Exchange({
    traceId: TRACE_ID,
    trace: { traceparent: `00-${TRACE_ID}-b7ad6b7169203331-01` },
    route: {} as Route, // nothing of it is asked for here
    prefix: "",
    request: {
      method: "GET",
      path: "/user-service/users/42",
      query: "page=2",
      headers: requestHeaderMap(new Headers(REQUEST_FIELDS), { strip: () => false }),
      remoteAddr: "203.0.113.7",
      host: "api.example.com",
      route: "/user-service/*",
    },
    requestBody: new Body(null),
    ownsCors: true,
    signal: AbortSignal.any([]),
  });
  lapAt = performance.now();
  await phase(exchange, "beforeRequest");
  await phase(exchange, "afterResponse", ANSWER);
}

async function phase(exchange: Exchange, hook: HookName, answer?: UpstreamAnswer): Promise<void> {
  const frame = encodeFrame({
    type: "hook",
    id: 1,
    hook,
    plugin: "*",
    chain: NAMES.map((plugin) => ({ plugin, readsBodies: false, stopsOnError: true })),
    ownsCors: true,
    traceId: TRACE_ID,
    timeoutMs: 100,
    ctx: exchange.context({ bodies: false }, answer),
  });
  lap("gateway: snapshot and encode");
  const [parsed = {}] = toIsolate.push(frame);
  const asked = decodeToIsolate(parsed);
  if (asked.type !== "hook") throw new TypeError("another message came out than went in");
  lap("isolate: parse and check");
  let { draft } = asked.ctx;
  const written: Uint8Array[] = [];
  for (const plugin of NAMES) {
    const result = await runHook(PLUGIN, { ...asked, plugin, ctx: { ...asked.ctx, draft } }, NEEDS);
    lap("isolate: run hooks and diff");
    const patch = "patch" in result ? result.patch ?? {} : {};
    draft = apply(draft, permittedPatch(patch, { ownsCors: true, denials: [] }));
    lap("isolate: apply for the next hook");
    written.push(encodeFrame(result));
    lap("isolate: encode results");
  }
  for (const bytes of written) {
    for (const each of toGateway.push(bytes)) {
      const result = decodeFromIsolate(each);
      lap("gateway: parse and check");
      if ("patch" in result && result.patch) exchange.accept(result.patch);
      lap("gateway: judge and apply");
    }
  }
}

for (let round = 0; round < 2; round++) { // the first one warms up
  spentMs.clear();
  for (let number = 0; number < REQUESTS; number++) await request();
}
let sum = 0;
console.log("| Step | µs a request |\n|---|---:|");
for (const [step, ms] of spentMs) {
  const us = ms * 1000 / REQUESTS;
  sum += us;
  console.log(`| ${step} | ${us.toFixed(1)} |`);
}
console.log(`| together | ${sum.toFixed(1)} |`);
