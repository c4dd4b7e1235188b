/**
 * Bodies on their way through. A small one is captured, so that hooks can read it; any other stays a stream, which hooks
 * know as `stream://N` and the gateway passes on in flat memory.
 *
 * @module
 */

import { isEventStream } from "../protocol/headers.ts";
import type { BodyInfo, HeaderMap } from "../protocol/snapshot.ts";
import { ClientGone, EdgeError, errorText } from "./errors.ts";
import { PacedReader } from "./paced_reader.ts";

type Bytes = Uint8Array<ArrayBuffer>;
export type BodySource = Bytes | ReadableStream<Bytes> | null;

export interface CaptureLimits {
  readonly limitBytes: number;
  /** How long to wait for the end; for ever unless given. */
  readonly withinMs?: number;
}

let lastReference = 0;

/** One body, to be captured at most once and taken at most once. */
export class Body {
  readonly declaredBytes: number | undefined;
  /** There was one when it came; hooks go on seeing it after it was taken. */
  readonly #isPresent: boolean;
  #source: BodySource;
  #captured: Bytes | undefined;
  #reference: string | undefined;
  #base64: string | undefined;

  /** @param declaredBytes what its sender said of its length */
  constructor(source: BodySource, declaredBytes?: number) {
    this.#source = source;
    this.#isPresent = source !== null && declaredBytes !== 0;
    this.declaredBytes = declaredBytes;
  }

  /** Makes the body readable for hooks if all of it is here in time and within the limit; else it stays as it is. */
  async capture({ limitBytes, withinMs }: CaptureLimits): Promise<void> {
    const source = this.#source;
    if (source === null || (this.declaredBytes ?? 0) > limitBytes) return;
    if (source instanceof ReadableStream) {
      this.#source = await readUpTo(source.getReader(), { limitBytes, withinMs });
    }
    const bytes = this.#source;
    if (bytes instanceof Uint8Array && bytes.length <= limitBytes) this.#captured = bytes;
  }

  /**
   * What hooks are told. It does not depend on how a body happened to arrive: what was not captured is a reference,
   * also where it is in memory.
   *
   * @param withBytes whether the plugin reads bodies
   */
  info(withBytes: boolean): BodyInfo {
    const bytes = this.#captured;
    if (!this.#isPresent || bytes?.length === 0) return { kind: "none" };
    if (bytes) {
      if (!withBytes) return { kind: "inline", sizeBytes: bytes.length };
      this.#base64 ??= bytes.toBase64();
      return { kind: "inline", sizeBytes: bytes.length, base64: this.#base64 };
    }
    this.#reference ??= `stream://${++lastReference}`;
    return {
      kind: "reference",
      ref: this.#reference,
      ...(this.declaredBytes === undefined ? {} : { sizeBytes: this.declaredBytes }),
    };
  }

  /** Hands the body over, once. What hooks are told of it stays the same. */
  take(): BodySource {
    const source = this.#source;
    this.#source = null;
    return source;
  }

  /** Lets go of a body that nobody will read. */
  release(): void {
    const source = this.take();
    if (source instanceof ReadableStream && !source.locked) source.cancel().catch(() => {});
  }
}

/**
 * Captures an upstream's answer, if that cannot hold it up: hooks run when the whole body is here, and the client waits.
 * So `text/event-stream`, which does not end, is never captured, and a body of unknown length only if it ends within
 * `withinMs`: a small JSON answer does, chunked or not, and a long poll goes on as a stream. A declared length is waited
 * for, since it is an end.
 */
export async function captureAnswer(
  { headers, body }: { readonly headers: HeaderMap; readonly body: Body },
  { limitBytes, withinMs }: Required<CaptureLimits>,
): Promise<void> {
  if (isEventStream(headers)) return;
  await body.capture(body.declaredBytes === undefined ? { limitBytes, withinMs } : { limitBytes });
}

export interface RequestLimits {
  /** 0 is none. */
  readonly maxBytes: number;
  readonly idleMs: number;
  /** Settles when the response is written or the client has left. */
  readonly completed: Promise<unknown>;
}

/**
 * A client's body: counted against the limit, and not waited for longer than `idleMs` at a time.
 *
 * A hook that reads bodies gets it whatever time it takes: with a bound as for answers a slow client could choose that
 * a policy does not see its body.
 *
 * @throws {EdgeError} for a length or a coding that says too much, or nothing clear
 */
export function requestBody(
  request: Request,
  limits: RequestLimits,
): Body {
  const declaredBytes = declaredLength(request.headers);
  const { maxBytes } = limits;
  if (maxBytes > 0 && (declaredBytes ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const isChunked = request.headers.has("transfer-encoding");
  if (!(declaredBytes || isChunked)) return new Body(null);
  if (request.body === null) {
    // Deno.serve shows a GET and a HEAD without their body. What asks with one must not be asked without it.
    throw new EdgeError("not_implemented", `${request.method} with a body is not served`);
  }
  return new Body(limited(request.body, limits), declaredBytes);
}

/** Whether a request may have a body although its fields say nothing of one. */
export function saysNothingOfBody({ headers, body }: Request): boolean {
  return body !== null && !headers.has("content-length") && !headers.has("transfer-encoding");
}

/**
 * Makes sure that such a request has none. In HTTP/1 that goes without saying (RFC 9112 §6.3), but in HTTP/2 a body needs no
 * announcement (RFC 9113 §8.1), and `Deno.serve` cannot tell one that ended from one that its client broke off.
 *
 * @throws {EdgeError} where there is one, or nothing comes for `idleMs`
 * @throws {ClientGone}
 */
export async function assertNoBody(
  { body, method }: Request,
  idleMs: number,
): Promise<void> {
  const reader = body?.getReader();
  while (reader) {
    const { done, value } = await nextPiece(reader, idleMs);
    if (done) return;
    // Deno.serve gives an empty piece before the end of nothing.
    if (value.length === 0) continue;
    throw new EdgeError(
      "not_implemented",
      `${method} with a body of unknown length is not served over HTTP/2`,
    );
  }
}

/** `Deno.serve` lets `5, 5` and `gzip, chunked` pass, and hands over the body as if they said `5` and `chunked`. */
function declaredLength(headers: Headers): number | undefined {
  const coding = headers.get("transfer-encoding");
  if (coding !== null && coding.toLowerCase() !== "chunked") {
    throw new EdgeError("not_implemented", "transfer codings other than chunked are not served");
  }
  const length = headers.get("content-length");
  if (length === null) return undefined;
  if (!/^[0-9]{1,15}$/.test(length)) {
    throw new EdgeError("bad_request", "Content-Length is not one number");
  }
  return Number(length);
}

function limited(
  stream: ReadableStream<Bytes>,
  { maxBytes, idleMs, completed }: RequestLimits,
): ReadableStream<Bytes> {
  const reader = new PacedReader(stream, completed);
  let sizeBytes = 0;
  return new ReadableStream<Bytes>({
    async pull(controller) {
      try {
        const { done, value } = await nextPiece(reader, idleMs);
        if (done) return controller.close();
        sizeBytes += value.length;
        if (maxBytes > 0 && sizeBytes > maxBytes) throw tooLarge(maxBytes);
        controller.enqueue(value);
      } catch (error) {
        void reader.cancel();
        throw error;
      }
    },
    cancel: (reason) => void reader.cancel(reason),
  }, { highWaterMark: 0 });
}

function tooLarge(maxBytes: number): EdgeError {
  return new EdgeError("payload_too_large", `request body is larger than ${maxBytes} bytes`);
}

async function nextPiece(
  reader: Pick<ReadableStreamDefaultReader<Bytes>, "read">,
  idleMs: number,
): Promise<ReadableStreamReadResult<Bytes>> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new EdgeError("request_timeout", "request body did not arrive in time")),
    idleMs,
  );
  const piece = reader.read().catch((cause) => {
    // What Deno.serve says of a chunk that is none; the client may still be told. It closes the connection by itself.
    if (errorText(cause).startsWith("invalid HTTP/1 request")) {
      throw new EdgeError("bad_request", "request body breaks its framing", { cause });
    }
    throw new ClientGone("the client left before its body was complete", { cause });
  });
  try {
    return await Promise.race([piece, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The whole body, or a stream of the same bytes where it is larger or not here in time. */
async function readUpTo(
  reader: ReadableStreamDefaultReader<Bytes>,
  { limitBytes, withinMs }: { readonly limitBytes: number; readonly withinMs: number | undefined },
): Promise<Bytes | ReadableStream<Bytes>> {
  const late = Promise.withResolvers<undefined>();
  const timer = withinMs === undefined
    ? undefined
    : setTimeout(() => late.resolve(undefined), withinMs);
  const pieces: Bytes[] = [];
  let sizeBytes = 0;
  let pending: Promise<ReadableStreamReadResult<Bytes>> | undefined;
  try {
    while (sizeBytes <= limitBytes) {
      pending = reader.read();
      const next = await Promise.race([pending, late.promise]);
      if (next === undefined) break;
      pending = undefined;
      if (next.done) return concat(pieces, sizeBytes);
      pieces.push(next.value);
      sizeBytes += next.value.length;
    }
  } finally {
    clearTimeout(timer);
  }
  // It may fail before anybody goes on reading.
  pending?.catch(() => {});
  return resumed(reader, { pieces, pending });
}

/** The pieces that were read, then the read that is under way, then the rest. */
function resumed(
  reader: ReadableStreamDefaultReader<Bytes>,
  { pieces, pending }: {
    readonly pieces: Bytes[];
    readonly pending: Promise<ReadableStreamReadResult<Bytes>> | undefined;
  },
): ReadableStream<Bytes> {
  let underWay = pending;
  return new ReadableStream<Bytes>({
    async pull(controller) {
      const piece = pieces.shift();
      if (piece) return controller.enqueue(piece);
      const next = underWay ?? reader.read();
      underWay = undefined;
      const { done, value } = await next;
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}

function concat(pieces: readonly Bytes[], sizeBytes: number): Bytes {
  const [only] = pieces;
  if (only && pieces.length === 1) return only;
  const whole = new Uint8Array(sizeBytes);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
