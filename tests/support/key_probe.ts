/**
 * A gateway whose every configuration key can be seen at work: a plugin that does what its path says, and an upstream that is slow
 * where it is to be.
 *
 * @module
 */

import { type EchoUpstream, echoUpstream } from "./echo_upstream.ts";
import type { TestGateway } from "./gateway.ts";
import { pause } from "../../gateway/waiting.ts";

/** Each path ends in the word for what the plugin is to do. `told` is what it answers in the upstream's place. */
const PROBE = `let config, env;
const at = "plugins";
const tell = (ctx, value) => ctx.reject(200, JSON.stringify(value ?? null));
const actions = {
  where: (ctx) => tell(ctx, at),
  config: (ctx) => tell(ctx, config),
  env: (ctx) => tell(ctx, Object.keys(env)),
  net: async (ctx) => {
    const { state } = await Deno.permissions.query({ name: "net", host: "127.0.0.1:9" });
    tell(ctx, state);
  },
  body: (ctx) => tell(ctx, ctx.request.body.kind),
  address: (ctx) => tell(ctx, ctx.request.remoteAddr),
  mine: (ctx) => tell(ctx, ctx.request.headers["x-mine"]),
  slow: async (ctx) => {
    await new Promise((resolve) => setTimeout(resolve, 400));
    ctx.response.setHeader("x-slow", "yes");
  },
  throw: () => { throw new Error("as asked"); },
  forward: (ctx) => ctx.forward(ctx.request.headers["x-to"]),
  log: (ctx) => { for (let n = 0; n < 50; n++) ctx.log.info("probe", { n, text: "x".repeat(100) }); },
  cache: async (ctx) => {
    const { cache } = ctx.services;
    const key = ctx.request.query;
    try { tell(ctx, await cache.increment(key)); } catch (error) {
      if (!/cache/.test(error.message)) throw error;
      tell(ctx, error.message);
    }
  },
};
export default {
  onLoad(init) { config = init.config; env = init.env; },
  beforeRequest(ctx) { return actions[ctx.request.path.split("/").at(-1)]?.(ctx); },
};`;

export const PLUGINS = {
  "001-probe.ts": PROBE,
  // A phase of two hooks: only such a one can be asked for in one message.
  "002-second.ts":
    `export default { beforeRequest(ctx) { ctx.upstream.setHeader("x-second", "yes"); } };`,
};
export const OTHER_PLUGINS = { "001-probe.ts": PROBE.replace('"plugins"', '"other"') };

/** Hooks have time; a host that is frozen is given up all the same. */
export const SETTINGS = { hookTimeoutMs: 1500, hardCeilingMs: 1500, pluginPoolSize: 1 } as const;

/** `/late` is answered after 400 ms, `/half` stands still for as long in the middle of its answer. */
export function keyUpstream(name: string): EchoUpstream {
  return echoUpstream({
    name,
    respond: async ({ target }) => {
      if (target.endsWith("/late")) await pause(400);
      if (!target.endsWith("/half")) return undefined;
      return new Response(ReadableStream.from((async function* () {
        yield new TextEncoder().encode("first,");
        await pause(400);
        yield new TextEncoder().encode("second");
      })()));
    },
  });
}

export interface Seen {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** What the plugin told, or the upstream. */
  readonly json: Readonly<Record<string, unknown>>;
  readonly told: unknown;
}

/** An answer that has been read, as far as it came. */
export async function look(gateway: TestGateway, path: string, init?: RequestInit): Promise<Seen> {
  const { status, headers, body } = await gateway.fetch(path, init);
  let text = "";
  try {
    for await (const piece of body?.pipeThrough(new TextDecoderStream()) ?? []) text += piece;
  } catch {
    text += "…"; // cut
  }
  const json = text.startsWith("{") ? JSON.parse(text) : {};
  const message = status === 200 ? json.error?.message : undefined;
  return { status, headers, text, json, told: message && JSON.parse(message) };
}

/** How a key shows: what `see` gives with `from`, and what with `to`. */
export interface Effect {
  readonly from?: Readonly<Record<string, unknown>>;
  readonly to: Readonly<Record<string, unknown>>;
  readonly see: () => Promise<unknown>;
  readonly gives: readonly [unknown, unknown];
}

/** By key. */
export type KeyEffects = Readonly<Record<string, Effect>>;

/** What `see` and the settings of a row may need. */
export interface KeySetting {
  readonly gateway: TestGateway;
  readonly upstream: EchoUpstream;
  readonly other: EchoUpstream;
  readonly store: RestStore;
}

// deno-lint-ignore no-explicit-any -- a test reads what it knows to be there
export async function adminPage({ adminUrl }: TestGateway, path: string): Promise<any> {
  return await fetch(adminUrl + path).then((answer) => answer.json());
}

/** What Upstash is asked by, and the last request. It knows no key, and does not answer who has the token `mute`. */
export interface RestStore extends AsyncDisposable {
  readonly port: number;
  readonly last: () => { readonly host: string; readonly token: string; readonly body: string };
}

export function restStore(): RestStore {
  let last = { host: "", token: "", body: "" };
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { headers } = request;
    const token = headers.get("authorization")?.replace("Bearer ", "") ?? "";
    last = { host: headers.get("host") ?? "", token, body: await request.text() };
    if (token === "mute") await ended;
    return Response.json([{ result: null }, { result: 1 }]);
  });
  return {
    port: server.addr.port,
    last: () => last,
    async [Symbol.asyncDispose]() {
      end();
      await server.shutdown();
    },
  };
}
