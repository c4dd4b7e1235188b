/**
 * The body of a client's request: what it declares, counted as it comes in and waited for no longer than it may take.
 *
 * @module
 */

import { Body, type Bytes } from "./body_store.ts";
import { ClientGone, EdgeError, errorText } from "./errors.ts";
import { PacedReader } from "./paced_reader.ts";

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
