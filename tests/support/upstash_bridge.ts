/**
 * A REST bridge over a real Redis that speaks what `@upstash/redis` speaks: POST `/`, `/pipeline` and `/multi-exec`, a bearer token,
 * answers in base64 where they are asked for. It can be told to fail in the ways a network does.
 *
 * @module
 */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { RedisServer, Reply } from "./redis_server.ts";

/**
 * - `serve`: answers
 * - `hang`: takes requests and answers none
 * - `fail`: 500 with a page of HTML
 * - `drop`: breaks the connection before it does anything
 * - `lose`: carries the request out, and breaks the connection before it answers
 */
export type BridgeMode = "serve" | "hang" | "fail" | "drop" | "lose";

export interface SeenRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
}

type Command = readonly (string | number)[];

export class UpstashBridge implements AsyncDisposable {
  readonly token: string;
  mode: BridgeMode = "serve";
  /** Every request so far. */
  readonly seen: SeenRequest[] = [];
  readonly #redis: RedisServer;
  readonly #server = createServer((request, response) => void this.#onRequest(request, response));
  #port = 0;

  private constructor(redis: RedisServer, token: string) {
    this.#redis = redis;
    this.token = token;
  }

  static async start(
    redis: RedisServer,
    { token = "bridge-token" }: { readonly token?: string } = {},
  ): Promise<UpstashBridge> {
    const bridge = new UpstashBridge(redis, token);
    await bridge.listen();
    return bridge;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listens, after `refuse` on the same port as before. */
  async listen(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject);
    this.#server.listen(this.#port, "127.0.0.1", resolve);
    await promise;
    this.#port = (this.#server.address() as { readonly port: number }).port;
  }

  /** Ends all connections, and refuses new ones until `listen`. */
  async refuse(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.refuse();
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const text of request.setEncoding("utf-8")) body += text;
    const { url: path = "/", headers } = request;
    this.seen.push({ path, headers, body });
    const answer = (status: number, json: unknown) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(json));
    };
    switch (this.mode) {
      case "hang":
        return;
      case "drop":
        return void request.socket.destroy();
      case "fail":
        response.writeHead(500, { "content-type": "text/html" });
        return void response.end("<h1>Internal Server Error</h1>");
    }
    if (headers.authorization !== `Bearer ${this.token}`) {
      return answer(401, { error: "Unauthorized" });
    }
    const inBase64 = headers["upstash-encoding"] === "base64";
    const { status, json } = await this.#carryOut(path, JSON.parse(body))
      .then((replies) => shown(replies, inBase64))
      .catch((error) => ({ status: 500, json: { error: `ERR ${error.message}` } }));
    if (this.mode === "lose") return void request.socket.destroy();
    answer(status, json);
  }

  /** One reply, or a list of one for each command. */
  async #carryOut(path: string, body: unknown): Promise<Reply | { readonly list: Reply[] }> {
    switch (path) {
      case "/pipeline":
        return { list: await this.#redis.commands(body as Command[]) };
      case "/multi-exec": {
        const replies = await this.#redis.commands([["MULTI"], ...body as Command[], ["EXEC"]]);
        const last = replies.at(-1) ?? null;
        return Array.isArray(last) ? { list: last } : last;
      }
      case "/":
        return (await this.#redis.commands([body as Command]))[0] ?? null;
      default:
        return new Error(`ERR no such path ${path}`);
    }
  }
}

function shown(replies: Reply | { readonly list: Reply[] }, inBase64: boolean) {
  const one = (reply: Reply) =>
    reply instanceof Error
      ? { error: reply.message }
      : { result: inBase64 ? encoded(reply) : reply };
  if (typeof replies === "object" && replies !== null && "list" in replies) {
    return { status: 200, json: replies.list.map(one) };
  }
  return { status: replies instanceof Error ? 400 : 200, json: one(replies) };
}

/** Strings in base64, but for a status. */
function encoded(reply: Reply): unknown {
  if (Array.isArray(reply)) return reply.map(encoded);
  return typeof reply === "string" && reply !== "OK"
    ? new TextEncoder().encode(reply).toBase64()
    : reply;
}
