/**
 * One HTTP/1.1 round trip (RFC 9112): over a pooled connection or a new one, with the answer's body streamed.
 *
 * Why not `fetch`: it decodes bodies, follows names to addresses nobody checked, and is slower.
 *
 * @module
 */

import { type BodyDecoder, bodyDecoder } from "./body.ts";
import { dial, type DialOptions, throwIfAborted } from "./connect.ts";
import type { Connection } from "./connection.ts";
import { type Origin, originKey, type UpstreamRequest, type UpstreamResponse } from "./origin.ts";
import { Pool } from "./pool.ts";
import { HeadParser, Malformed, type ResponseHead } from "./reader.ts";
import { Upload } from "./writer.ts";

const MAX_INTERIM_RESPONSES = 16;
const DEFAULT_MAX_IDLE_PER_ORIGIN = 128;
const DEFAULT_IDLE_TIMEOUT_MS = 30_000;

export interface UpstreamClientOptions extends DialOptions {
  /** Connections kept for reuse, for each origin; default 128. */
  readonly maxIdlePerOrigin?: number;
  /** How long a connection waits for its next request; default 30,000. */
  readonly idleTimeoutMs?: number;
}

export class UpstreamClient {
  readonly #options: DialOptions;
  readonly #pool: Pool;

  constructor(options: UpstreamClientOptions = {}) {
    this.#options = options;
    this.#pool = new Pool({
      maxIdlePerOrigin: options.maxIdlePerOrigin ?? DEFAULT_MAX_IDLE_PER_ORIGIN,
      idleTimeoutMs: options.idleTimeoutMs ?? DEFAULT_IDLE_TIMEOUT_MS,
    });
  }

  /**
   * Sends `request` and returns when the response head is here. A request body stream is cancelled once the client
   * has begun to read it and does not need the rest; before that it is left alone, so the caller can send it elsewhere.
   *
   * @throws {ConnectError} where no connection came about, `unreachable` or `timeout`
   * @throws {UpstreamError} `timeout`, `closed`, `malformed` or `aborted`; the response body fails with the same
   */
  async send(origin: Origin, request: UpstreamRequest): Promise<UpstreamResponse> {
    throwIfAborted(origin, request.signal);
    const pooled = this.#pool.take(originKey(origin));
    if (pooled !== undefined) {
      try {
        return await this.#exchange(pooled, request, { reused: true, retried: false });
      } catch (error) {
        if (!mayRetry(pooled, request)) throw error;
      }
    }
    const conn = await dial(origin, request, this.#options);
    return this.#exchange(conn, request, { reused: false, retried: pooled !== undefined });
  }

  /** Closes idle connections now, and those in use when their response is complete. */
  close(): void {
    this.#pool.close();
  }

  async #exchange(
    conn: Connection,
    request: UpstreamRequest,
    facts: Pick<UpstreamResponse, "reused" | "retried">,
  ): Promise<UpstreamResponse> {
    const { signal, timeouts } = request;
    const onAbort = () => conn.fail("aborted", "was left before it was done", signal.reason);
    /** Every round trip ends here; only the first call counts, or both close. */
    const end = (reusable: boolean) => {
      signal.removeEventListener("abort", onAbort);
      conn.onFailure = undefined;
      if (reusable) this.#pool.put(conn);
      else conn.close();
    };
    conn.begin();
    signal.addEventListener("abort", onAbort);
    const upload = new Upload(conn, request);
    try {
      upload.run();
      const head = await readHead(conn);
      const framing = hasBody(request, head) ? head.framing : NO_BODY;
      // What a response without a body declares, a faulty upstream may send all the same: as the next request's response.
      const keepAlive = head.keepAlive && upload.done &&
        (framing !== NO_BODY || !declaresBody(head));
      upload.stop();
      conn.disarm();
      const decoder = bodyDecoder(framing);
      const first = decode(conn, decoder);
      const isReusable = () => keepAlive && !decoder.closeDelimited && conn.input.length === 0;
      const body = decoder.done ? first : streamBody(conn, decoder, {
        first,
        idleMs: timeouts.idleMs,
        end: (complete) => end(complete && isReusable()),
      });
      if (decoder.done) end(isReusable());
      return {
        status: head.status,
        headers: head.headers,
        body: hasBody(request, head) ? body : null,
        lengthBytes: head.framing.kind === "length" ? head.framing.lengthBytes : undefined,
        ...facts,
      };
    } catch (error) {
      const failure = asFailure(conn, error);
      upload.stop(failure);
      end(false);
      throw failure;
    }
  }
}

const NO_BODY = { kind: "length", lengthBytes: 0 } as const;

/** RFC 9112 §6.3, rule 1. */
function hasBody({ method }: UpstreamRequest, { status }: ResponseHead): boolean {
  return method !== "HEAD" && status !== 204 && status !== 304;
}

function declaresBody({ framing }: ResponseHead): boolean {
  return framing.kind === "chunked" || (framing.kind === "length" && framing.lengthBytes > 0);
}

/**
 * RFC 9110 §9.2.2 and RFC 9112 §9.3.1: only where the upstream ended a connection it had kept open, without an answer,
 * and cannot have seen the request or may see it twice.
 */
function mayRetry(conn: Connection, { method, body }: UpstreamRequest): boolean {
  if (conn.failure?.failure !== "closed" || conn.received) return false;
  const idempotent = method === "GET" || method === "HEAD" || method === "OPTIONS";
  return !conn.sent || (idempotent && body === null);
}

/** The final response head; interim ones are skipped (RFC 9110 §15.2). */
async function readHead(conn: Connection): Promise<ResponseHead> {
  const parser = new HeadParser();
  for (let interim = 0; interim <= MAX_INTERIM_RESPONSES;) {
    const head = parser.parse(conn.input);
    if (head === undefined) {
      if (conn.eof) {
        const text = conn.received ? "in the middle of its response head" : "without an answer";
        throw conn.fail("closed", `closed the connection ${text}`);
      }
      await conn.fill();
      if (conn.failure) throw conn.failure;
    } else if (head.status >= 200) {
      return head;
    } else if (head.status === 101) {
      throw new Malformed("switched protocols without being asked");
    } else {
      interim++;
    }
  }
  throw new Malformed(`sent more than ${MAX_INTERIM_RESPONSES} interim responses`);
}

/** Decodes what has arrived; `conn` fails where the body cannot be completed. */
function decode(conn: Connection, decoder: BodyDecoder): Uint8Array<ArrayBuffer> {
  const piece = decoder.decode(conn.input);
  if (conn.eof && !decoder.done && !decoder.closeDelimited) {
    throw conn.fail("closed", "closed the connection in the middle of its response body");
  }
  return piece;
}

/** The rest of a body: one read for each pull, and none ahead, so a slow reader slows the upstream. */
function streamBody(
  conn: Connection,
  decoder: BodyDecoder,
  options: {
    readonly first: Uint8Array<ArrayBuffer>;
    readonly idleMs: number;
    readonly end: (complete: boolean) => void;
  },
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { idleMs, end } = options;
  let piece = options.first;
  const isComplete = () => decoder.done || (decoder.closeDelimited && conn.eof);
  return new ReadableStream({
    start(controller) {
      conn.onFailure = (error) => {
        end(false);
        controller.error(error);
      };
    },
    async pull(controller) {
      try {
        while (piece.length === 0 && !isComplete()) {
          conn.arm(idleMs, "the rest of the response body");
          await conn.fill();
          conn.disarm();
          if (conn.failure) throw conn.failure;
          piece = decode(conn, decoder);
        }
      } catch (error) {
        end(false);
        throw asFailure(conn, error);
      }
      if (piece.length > 0) controller.enqueue(piece);
      piece = piece.subarray(0, 0);
      if (!isComplete()) return;
      controller.close();
      end(true);
    },
    cancel() {
      end(false);
    },
  }, { highWaterMark: 0 });
}

function asFailure(conn: Connection, error: unknown): unknown {
  return error instanceof Malformed ? conn.fail("malformed", error.message) : conn.failure ?? error;
}
