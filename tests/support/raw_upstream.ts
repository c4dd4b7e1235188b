/**
 * An upstream that says exactly what a test tells it to, and records exactly what it was told.
 *
 * ```ts
 * await using upstream = rawUpstream(async (conn) => {
 *   await conn.readRequest();
 *   await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
 * });
 * ```
 *
 * The handler runs once for each connection, which is closed when it returns. What it throws (a failed assertion)
 * is thrown again when the upstream is disposed, except for the errors of a socket that the other side has closed.
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** A request head as it came: names in their own case, values as byte strings. */
export interface RawHead {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The values of all fields of this name, joined by `, `; `undefined` if there is none. */
  header(name: string): string | undefined;
}

export interface RawRequest extends RawHead {
  /** Decoded according to its framing. */
  readonly body: Uint8Array;
}

export interface RawUpstream extends AsyncDisposable {
  readonly port: number;
  readonly origin: {
    readonly protocol: "http:" | "https:";
    readonly hostname: string;
    readonly port: number;
  };
  readonly url: string;
  /** In the order in which they were accepted. */
  readonly connections: readonly RawConn[];
  /** All requests that were read with `readRequest`, over all connections. */
  readonly requests: readonly RawRequest[];
}

export interface RawUpstreamOptions {
  /** Speaks TLS with this certificate and key (PEM). */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly hostname?: string;
  /** Any free one unless given. */
  readonly port?: number;
}

export function rawUpstream(
  handler: (conn: RawConn) => Promise<void> | void,
  { tls, hostname = "127.0.0.1", port: wanted = 0 }: RawUpstreamOptions = {},
): RawUpstream {
  const listener = tls
    ? Deno.listenTls({ hostname, port: wanted, ...tls })
    : Deno.listen({ hostname, port: wanted });
  const { port } = listener.addr as Deno.NetAddr;
  const connections: RawConn[] = [];
  const requests: RawRequest[] = [];
  const failures: unknown[] = [];
  const running = new Set<Promise<void>>();

  const serve = async (conn: RawConn) => {
    try {
      await handler(conn);
    } catch (error) {
      if (!isSocketError(error)) failures.push(error);
    } finally {
      conn.close();
    }
  };
  const accepting = (async () => {
    for await (const socket of listener) {
      const conn = new RawConn(socket, connections.length, requests);
      connections.push(conn);
      const run = serve(conn).finally(() => running.delete(run));
      running.add(run);
    }
  })();

  return {
    port,
    origin: { protocol: tls ? "https:" : "http:", hostname, port },
    url: `${tls ? "https" : "http"}://${hostname}:${port}`,
    connections,
    requests,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const conn of connections) conn.close();
      await accepting;
      await Promise.all(running);
      if (failures.length > 0) throw failures[0];
    },
  };
}

/** The upstream's end of one connection. */
export class RawConn {
  /** 0 for the first connection that was accepted. */
  readonly index: number;
  readonly #socket: Deno.Conn;
  readonly #requests: RawRequest[];
  #recorded: Uint8Array[] = [];
  #unread = Buffer.alloc(0);
  #sentBytes = 0;
  readonly #left = Promise.withResolvers<void>();
  #closed = false;

  constructor(socket: Deno.Conn, index: number, requests: RawRequest[]) {
    this.#socket = socket;
    this.index = index;
    this.#requests = requests;
  }

  /** Every byte that was read from this connection so far, as a byte string. */
  get received(): string {
    return Buffer.concat(this.#recorded).toString("latin1");
  }

  /** How many bytes the socket has taken from `send` so far. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Reads one head and its body; throws at the end of the connection. */
  async readRequest(): Promise<RawRequest> {
    const head = await this.readHead();
    const request = { ...head, body: await this.readBody(head) };
    this.#requests.push(request);
    return request;
  }

  async readHead(): Promise<RawHead> {
    const text = (await this.readUntil("\r\n\r\n")).slice(0, -4);
    const [line = "", ...lines] = text.split("\r\n");
    const [method = "", target = "", version = ""] = line.split(" ");
    const headers = lines.map((field): [string, string] => {
      const colon = field.indexOf(": ");
      return [field.slice(0, colon), field.slice(colon + 2)];
    });
    const header = (name: string) => {
      const values = headers.filter(([n]) => n.toLowerCase() === name).map(([, value]) => value);
      return values.length === 0 ? undefined : values.join(", ");
    };
    return { method, target, version, headers, header };
  }

  async readBody(head: RawHead): Promise<Uint8Array> {
    if (head.header("transfer-encoding") === undefined) {
      return this.readExactly(Number(head.header("content-length") ?? 0));
    }
    const pieces: Uint8Array[] = [];
    for (;;) {
      const size = parseInt(await this.readUntil("\r\n"), 16);
      pieces.push(await this.readExactly(size));
      await this.readExactly(2);
      if (size === 0) return new Uint8Array(Buffer.concat(pieces));
    }
  }

  /** Reads up to and including `end`, as a byte string. */
  async readUntil(end: string): Promise<string> {
    let at;
    while ((at = this.#unread.indexOf(end, 0, "latin1")) === -1) await this.#more();
    return Buffer.from(await this.readExactly(at + end.length)).toString("latin1");
  }

  async readExactly(lengthBytes: number): Promise<Uint8Array> {
    while (this.#unread.length < lengthBytes) await this.#more();
    const taken = new Uint8Array(this.#unread.subarray(0, lengthBytes));
    this.#unread = this.#unread.subarray(lengthBytes);
    return taken;
  }

  /** Resolves when a read of the handler has found that the other side ended or broke the connection. */
  get left(): Promise<void> {
    return this.#left.promise;
  }

  /** For handlers: reads (and records) until the other side ends or breaks the connection. */
  async ended(): Promise<void> {
    try {
      for (;;) await this.#more();
    } catch (error) {
      if (!isSocketError(error)) throw error;
    }
  }

  /** Sends strings (one byte for each code unit) and bytes, each argument in a write of its own. */
  async send(...parts: readonly (string | Uint8Array)[]): Promise<void> {
    for (const part of parts) {
      const bytes = typeof part === "string" ? Buffer.from(part, "latin1") : part;
      for (let at = 0; at < bytes.length;) {
        const size = await this.#socket.write(bytes.subarray(at));
        at += size;
        this.#sentBytes += size;
      }
    }
  }

  /** Ends the sending side only. */
  async endSending(): Promise<void> {
    await this.#socket.closeWrite();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#socket.close();
    } catch {
      // The handshake failed, or the other side was quicker.
    }
  }

  async #more(): Promise<void> {
    const chunk = new Uint8Array(65_536);
    let size: number | null = null;
    try {
      size = await this.#socket.read(chunk);
    } finally {
      if (size === null) this.#left.resolve();
    }
    if (size === null) throw new Deno.errors.UnexpectedEof("the other side ended the connection");
    this.#recorded.push(chunk.slice(0, size));
    this.#unread = Buffer.concat([this.#unread, chunk.subarray(0, size)]);
  }
}

function isSocketError(error: unknown): boolean {
  const kinds = [
    Deno.errors.UnexpectedEof,
    Deno.errors.ConnectionReset,
    Deno.errors.ConnectionAborted,
    Deno.errors.BrokenPipe,
    Deno.errors.NotConnected,
    Deno.errors.BadResource,
    Deno.errors.Interrupted,
    Deno.errors.InvalidData,
  ];
  return kinds.some((kind) => error instanceof kind);
}
