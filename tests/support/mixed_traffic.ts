/**
 * Requests with every end that there is, from several clients at once, and what these clients saw of it.
 *
 * @module
 */

import type { TestGateway } from "./gateway.ts";
import { rawExchange } from "./raw_conversation.ts";

/** What a client saw. */
export interface Seen {
  readonly id: string;
  /** `undefined` where it left, or was cut off before there was an answer. */
  readonly status: number | undefined;
  /** Of the body. */
  readonly bytes: number;
  readonly end: "whole" | "cut" | "left";
}

/** Does what `x-act` says, in the phase that it says it for. */
export const ACTOR = `const acts = {
  modify(ctx) { ctx.upstream.setHeader("x-a", "b"); ctx.user = "u"; },
  deny(ctx) { ctx.upstream.setHeader("x-a", "b"); ctx.upstream.setHeader("host", "x"); ctx.upstream.setPath("nowhere"); },
  reject(ctx) { ctx.reject(403, "no", { "te": "x" }); },
  misreject(ctx) { ctx.reject(99, "no"); },
  forward(ctx) { ctx.forward(ctx.request.header("x-to")); },
  stray(ctx) { ctx.forward("http://169.254.169.254/"); },
  fail() { throw new Error("out of luck"); },
  sleep() { return new Promise(() => {}); },
  async count(ctx) { await ctx.services.cache.increment("n"); },
};
const deadly = { block() { for (;;); }, exit() { Deno.exit(1); } };
const late = {
  latefail() { throw new Error("too late"); },
  latereject(ctx) { ctx.reject(418, "tea"); },
  body(ctx) { ctx.response.setBody("another body"); ctx.response.setHeader("connection", "x"); },
  empty(ctx) { ctx.response.setStatus(204); },
};
export default {
  readsBodies: false,
  beforeRequest: (ctx) => ({ ...acts, ...deadly })[ctx.request.header("x-act")]?.(ctx),
  afterResponse: (ctx) => late[ctx.request.header("x-act")]?.(ctx),
};`;

/** What `x-act` may be, without what is deadly. */
export const ACTS = [...ACTOR.matchAll(/^ {2}(?:async )?(\w+)\(/gm)].map(([, act]) =>
  act as string
);

export interface Upstream extends AsyncDisposable {
  readonly url: string;
  readonly ids: string[];
}

/** Answers as `x-answer` says: `held` not before the other side has gone, `drip` begins, `broken` breaks off, `large` comes in pieces. */
export function moodyUpstream(): Upstream {
  const ids: string[] = [];
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen() {},
    onError: () => new Response(),
  }, async (request) => {
    ids.push(request.headers.get("x-request-id") ?? "");
    const gone = new Promise<void>((resolve) =>
      request.signal.addEventListener("abort", () => resolve())
    );
    const begun = (rest: (stream: ReadableStreamDefaultController<Uint8Array>) => unknown) =>
      new Response(
        new ReadableStream({
          start: (stream) => stream.enqueue(new Uint8Array(1000)),
          pull: (stream) => void rest(stream),
        }, { highWaterMark: 0 }),
      );
    switch (request.headers.get("x-answer")) {
      case "held":
        await gone;
        return new Response();
      case "drip":
        return begun(() => gone);
      case "broken":
        return begun((stream) => stream.error(new Error("broken")));
      case "large":
        return new Response(new Uint8Array(1_000_000));
      default:
        return new Response(
          new Uint8Array(100 + (await request.arrayBuffer()).byteLength),
          { status: 201 },
        );
    }
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    ids,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

export type Way = (gateway: TestGateway, asked: Asked) => Promise<Omit<Seen, "id">>;
interface Asked {
  readonly id: string;
  readonly client: Deno.HttpClient;
  readonly upstream: string;
}

function plain(path: string, { headers, ...init }: RequestInit = {}): Way {
  return async (gateway, { id, client, upstream }) => {
    const sent = {
      "x-request-id": id,
      "x-to": `${upstream}/f`,
      ...headers as Record<string, string>,
    };
    const response = await fetch(gateway.url + path, {
      redirect: "manual",
      ...init,
      client,
      headers: sent,
    });
    return { status: response.status, ...await read(response) };
  };
}

async function read({ body }: Response): Promise<Pick<Seen, "bytes" | "end">> {
  let bytes = 0;
  try {
    for await (const piece of body ?? []) bytes += piece.length;
    return { bytes, end: "whole" };
  } catch {
    return { bytes, end: "cut" };
  }
}

const LEFT = { status: undefined, bytes: 0, end: "left" } as const;

/** Leaves once the gateway says that it is where it should be. */
function leaving(answer: "held" | "drip", path: string): Way {
  const where = answer === "held" ? /has not answered/ : /its answer is on its way/;
  return async (gateway, { id, client }) => {
    const leave = new AbortController();
    const headers = { "x-request-id": id, "x-answer": answer };
    const asked = fetch(gateway.url + path, { client, headers, signal: leave.signal });
    asked.catch(() => {});
    const hasEnded = await isOver(gateway, id, where);
    if (answer === "held" && !hasEnded) {
      leave.abort();
      return LEFT;
    }
    const response = await asked;
    if (hasEnded) return { status: response.status, ...await read(response) };
    const { value } = await response.body?.getReader().read() ?? {};
    leave.abort();
    return { ...LEFT, bytes: value?.length ?? 0 };
  };
}

/** Waits until the request is where `where` says. @returns whether it has ended before that */
function isOver(gateway: TestGateway, id: string, where: RegExp): Promise<boolean> {
  return gateway.until(async () => {
    const { requests: [story] } = await (await fetch(`${gateway.adminUrl}/trace/${id}`)).json();
    if (story?.status !== undefined) return { hasEnded: true };
    return story && where.test(story.decided) && { hasEnded: false };
  }, { what: `${id} to be under way` }).then(({ hasEnded }) => hasEnded);
}

/** Says that more will come, and goes. */
const uploading: Way = async (gateway, { id }) => {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: gateway.port });
  const head =
    `POST /plain/up HTTP/1.1\r\nhost: a\r\nx-request-id: ${id}\r\ncontent-length: 9999\r\n\r\nbegun`;
  await conn.write(new TextEncoder().encode(head));
  if (!await isOver(gateway, id, /has not answered/)) return LEFT;
  const buffer = new Uint8Array(65_536);
  return answered(new TextDecoder().decode(buffer.subarray(0, await conn.read(buffer) ?? 0)));
};

function answered(received: string): Omit<Seen, "id"> {
  const [, status, body = ""] = /^HTTP\/1.1 (\d+) [\s\S]*?\r\n\r\n([\s\S]*)$/.exec(received) ?? [];
  return { status: Number(status), bytes: body.length, end: "whole" };
}

function raw(head: string): Way {
  return async (gateway, { id }) => {
    const received = await rawExchange(
      gateway.port,
      `${head}\r\nhost: a\r\nx-request-id: ${id}\r\n\r\n`,
      { answers: 1, quietMs: 1 },
    );
    return answered(received);
  };
}

/** Every way that a request can go, over the routes of `tests/e2e/one_story_test.ts`. */
export const WAYS: readonly Way[] = [
  ...["/a/x", "/read/x", "/bold/x"].flatMap((path) => [
    ...ACTS.map((act) => plain(path, { headers: { "x-act": act } })),
    plain(path),
    plain(path, { method: "POST", body: "question" }),
    plain(path, { headers: { "x-answer": "broken" } }),
    leaving("held", path),
  ]),
  plain("/a/x", { headers: { "x-answer": "large" } }),
  leaving("drip", "/a/x"),
  leaving("drip", "/plain/x"),
  uploading,
  ...["/plain/x", "/dead/x", "/turns/x", "/nowhere", "/plain/x?q=1"].map((path) => plain(path)),
  plain("/a/x", { method: "HEAD" }),
  plain("/plain/x", { headers: { "x-answer": "held" } }),
  plain("/get/x", { method: "POST", body: "x" }),
  plain("/a/x", {
    method: "OPTIONS",
    headers: { "origin": "https://a.test", "access-control-request-method": "GET" },
  }),
  plain("/a/x", { headers: { origin: "https://a.test" } }),
  raw("POST /a/x HTTP/1.1\r\ncontent-length: 99999"),
  raw("GET /a/%zz HTTP/1.1"),
  raw("GET /a/..%2fb HTTP/1.1"),
  raw("MADE-UP /plain/x HTTP/1.1"),
  raw("TRACE /a/x HTTP/1.1"),
  raw("OPTIONS * HTTP/1.1"),
  raw("GET /a/x HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket"),
];

/** Those that cost an isolate, or its host. */
export const DEADLY_WAYS: readonly Way[] = ["/a/x", "/bold/x"].flatMap((path) =>
  ["block", "exit"].map((act) => plain(path, { headers: { "x-act": act } }))
);

/** Requests go each of these ways, `rounds` times, in any order, from so many clients at once; that number begins their ids. */
export async function mixedTraffic(
  gateway: TestGateway,
  { ways, rounds, clients, upstream }: {
    readonly ways: readonly Way[];
    readonly rounds: number;
    readonly clients: number;
    readonly upstream: string;
  },
): Promise<Seen[]> {
  const left = Array.from({ length: rounds }, () => ways).flat().map((way) => ({
    way,
    at: Math.random(),
  })).sort((a, b) => a.at - b.at);
  const seen: Seen[] = [];
  const one = async (name: number) => {
    using client = Deno.createHttpClient({});
    for (let at = 0, next = left.pop(); next; at++, next = left.pop()) {
      const id = `${clients}-${name}-${at}`;
      seen.push({ id, ...await next.way(gateway, { id, client, upstream }) });
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, name) => one(name)));
  return seen;
}
