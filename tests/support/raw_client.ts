/**
 * A client that says exactly what a test tells it to, and reads exactly what it is told.
 *
 * @module
 */

import { RawConn, type RawHead } from "./raw_upstream.ts";

export interface RawResponse {
  readonly status: number;
  /** The values of all fields of this name, joined by `, `; `undefined` if there is none. */
  header(name: string): string | undefined;
  /** One a field line. */
  headerValues(name: string): readonly string[];
  readonly body: Uint8Array;
  readonly text: string;
}

export async function rawClient(port: number): Promise<RawClient> {
  return new RawClient(await Deno.connect({ hostname: "127.0.0.1", port }));
}

/** Sends one request on a connection of its own and reads its answer. */
export async function rawRequest(port: number, request: string | Uint8Array): Promise<RawResponse> {
  using client = await rawClient(port);
  await client.send(request);
  return await client.response();
}

export class RawClient implements Disposable {
  readonly #conn: RawConn;

  constructor(socket: Deno.Conn) {
    this.#conn = new RawConn(socket, 0, []);
  }

  send(...parts: readonly (string | Uint8Array)[]): Promise<void> {
    return this.#conn.send(...parts);
  }

  /** The next head, interim ones too. */
  async head(): Promise<Omit<RawResponse, "body" | "text">> {
    return responseHead(await this.#conn.readHead());
  }

  /** The next final response. @param request.method says whether it has a body */
  async response({ method = "GET" } = {}): Promise<RawResponse> {
    for (;;) {
      const head = await this.#conn.readHead();
      const { status, header, headerValues } = responseHead(head);
      if (status < 200) continue;
      const isBodiless = method === "HEAD" || status === 204 || status === 304;
      const body = isBodiless ? new Uint8Array(0) : await this.#conn.readBody(head);
      return { status, header, headerValues, body, text: new TextDecoder().decode(body) };
    }
  }

  readExactly(lengthBytes: number): Promise<Uint8Array> {
    return this.#conn.readExactly(lengthBytes);
  }

  readUntil(end: string): Promise<string> {
    return this.#conn.readUntil(end);
  }

  /** Reads until the gateway ends or breaks the connection. */
  ended(): Promise<void> {
    return this.#conn.ended();
  }

  /** Everything read so far, as a byte string. */
  get received(): string {
    return this.#conn.received;
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

function responseHead(head: RawHead): Omit<RawResponse, "body" | "text"> {
  return {
    status: Number(head.target),
    header: (name) => head.header(name),
    headerValues: (name) =>
      head.headers.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value),
  };
}
