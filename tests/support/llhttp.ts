/**
 * Two clients read the same bytes: ours, and undici's, which reads with llhttp (the parser of Node).
 *
 * The upstream is a real one. Each reading is over a connection of its own, so that nothing of one can reach another.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { Client, type Dispatcher } from "undici";
import { UpstreamError } from "../../gateway/errors.ts";
import { UpstreamClient } from "../../gateway/upstream/client.ts";
import { type RawConn, type RawUpstream, rawUpstream } from "./raw_upstream.ts";
import { bodyBytes, upstreamRequest } from "./upstream_request.ts";

/** What an upstream says to one request: a byte string, and where it is cut into separate writes. */
export interface Speech {
  readonly method: "GET" | "HEAD";
  readonly text: string;
  /** Ascending offsets. */
  readonly cuts: readonly number[];
}

/** What a client made of it. */
export type Reading =
  | { readonly kind: "refused"; readonly reason: string }
  | {
    readonly kind: "answer";
    readonly status: number;
    /** Names in lower case, values as byte strings. */
    readonly headers: readonly (readonly [name: string, value: string])[];
    readonly body: string;
  };

/** Longer than any reading takes; ends one that waits for bytes which do not come. */
const PATIENCE_MS = 20_000;
const STALL_MS = 10_000;

/** A request as both clients send it. */
interface Asked {
  readonly method: "GET" | "HEAD";
  readonly target: string;
  readonly timeoutMs: number;
}

/** One client, with the connections that it keeps. */
interface Reader extends AsyncDisposable {
  /** Never rejects. */
  ask(asked: Asked): Promise<Reading>;
}

/** Whether the end of the answer shows in its bytes; else it is the end of the connection. */
export function isDelimited(reading: Reading, { method }: Speech): boolean {
  if (reading.kind === "refused") return false;
  if (method === "HEAD" || reading.status === 204 || reading.status === 304) return true;
  return reading.headers.some(([name]) => /^(content-length|transfer-encoding)$/.test(name));
}

export type Side = "ours" | "llhttp";

export class Comparison implements AsyncDisposable {
  readonly #speeches = new Map<string, { readonly speech: Speech; readonly ends: boolean }>();
  /** The number of the connection that each target came over. */
  readonly #cameOver = new Map<string, number>();
  readonly #upstream: RawUpstream;
  #count = 0;

  constructor() {
    this.#upstream = rawUpstream((conn) => this.#serve(conn));
  }

  /** What one side makes of a speech after which the upstream ends the connection. */
  async read(side: Side, speech: Speech): Promise<Reading> {
    const target = this.#prepare(speech, true);
    await using reader = this.#reader(side);
    const { method } = speech;
    return await reader.ask({ method, target, timeoutMs: PATIENCE_MS });
  }

  /**
   * Whether one side uses the connection again after a speech that comes as one piece and leaves it open.
   * `stalled`: it waits for more.
   */
  async reuses(side: Side, { method, text }: Speech): Promise<boolean | "stalled"> {
    const target = this.#prepare({ method, text, cuts: [] }, false);
    await using reader = this.#reader(side);
    const first = await reader.ask({ method, target, timeoutMs: STALL_MS });
    if (first.kind === "refused") return "stalled";
    const again = `${target}/again`;
    await reader.ask({ method: "GET", target: again, timeoutMs: PATIENCE_MS });
    return this.#cameOver.get(again) === this.#cameOver.get(target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#upstream[Symbol.asyncDispose]();
  }

  #reader(side: Side): Reader {
    return side === "ours" ? ourReader(this.#upstream) : llhttpReader(this.#upstream);
  }

  #prepare(speech: Speech, ends: boolean): string {
    const target = `/${++this.#count}`;
    this.#speeches.set(target, { speech, ends });
    return target;
  }

  async #serve(conn: RawConn): Promise<void> {
    for (;;) {
      const { target } = await conn.readRequest();
      this.#cameOver.set(target, conn.index);
      const planned = this.#speeches.get(target);
      if (!planned) {
        await conn.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        return await conn.ended();
      }
      this.#speeches.delete(target);
      const { text, cuts } = planned.speech;
      for (const [at, from] of [0, ...cuts].entries()) {
        // The clients share this thread: they get to see a piece before the next one is sent.
        if (at > 0) await new Promise((resolve) => setTimeout(resolve, 0));
        await conn.send(text.slice(from, cuts[at]));
      }
      if (!planned.ends) continue;
      await conn.endSending();
      return await conn.ended();
    }
  }
}

function ourReader({ origin }: RawUpstream): Reader {
  const client = new UpstreamClient();
  return {
    [Symbol.asyncDispose]: () => Promise.resolve(client.close()),
    async ask({ method, target, timeoutMs }) {
      const signal = AbortSignal.timeout(timeoutMs);
      try {
        const response = await client.send(origin, upstreamRequest({ method, target, signal }));
        const body = Buffer.from(await bodyBytes(response)).toString("latin1");
        return { kind: "answer", status: response.status, headers: response.headers, body };
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error;
        // As the log has it, without the address.
        return { kind: "refused", reason: error.message.replace(/^upstream "[^"]*" /, "") };
      }
    },
  };
}

/** undici as it comes, but for limits that are no part of the comparison. */
function llhttpReader({ url }: RawUpstream): Reader {
  const client = new Client(url, {
    maxHeaderSize: 1_000_000,
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
  });
  return {
    [Symbol.asyncDispose]: () => client.destroy(),
    ask: ({ method, target, timeoutMs }) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => resolve({ kind: "refused", reason: "stalled" }), timeoutMs);
        const done = (reading: Reading) => {
          clearTimeout(timer);
          resolve(reading);
        };
        client.dispatch({ method, path: target }, llhttpHandler(done));
      }),
  };
}

function llhttpHandler(done: (reading: Reading) => void): Dispatcher.DispatchHandler {
  let status = 0;
  let headers: [string, string][] = [];
  const pieces: Uint8Array[] = [];
  return {
    onRequestStart() {},
    onResponseStart(controller, code) {
      status = code;
      headers = pairs(controller.rawHeaders);
    },
    onResponseData(_, piece) {
      pieces.push(Uint8Array.from(piece)); // its memory is the parser's
    },
    onResponseEnd() {
      done({ kind: "answer", status, headers, body: Buffer.concat(pieces).toString("latin1") });
    },
    onResponseError(_, error) {
      const { code = error.name } = error as { readonly code?: string };
      done({ kind: "refused", reason: `${code}: ${error.message}` });
    },
  };
}

function pairs(raw: unknown): [string, string][] {
  if (!Array.isArray(raw)) throw new TypeError(`undici gave no list of headers but ${raw}`);
  const texts = raw.map((each) => Buffer.from(each).toString("latin1"));
  return texts.flatMap((name, at) =>
    at % 2 === 0 ? [[name.toLowerCase(), texts[at + 1] ?? ""]] : []
  );
}
