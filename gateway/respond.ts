/**
 * From what was decided to what is written: responses for upstream answers, rejections and errors.
 *
 * @module
 */

import { isBodiless, overlay, responseStatus, sentStatus, valueList } from "../protocol/headers.ts";
import type { HeaderMap, HeaderOverrides } from "../protocol/snapshot.ts";
import type { Bytes } from "./body_store.ts";
import { ClientGone, type EdgeError } from "./errors.ts";
import type { Exchange, UpstreamAnswer } from "./exchange.ts";
import type { Rejected } from "./hook_chain.ts";

const encoder = new TextEncoder();
const JSON_HEADERS: HeaderMap = { "content-type": "application/json" };

/** What goes to the client. `headers` hold everything but the framing. */
export interface Reply {
  readonly status: number;
  readonly headers: HeaderMap;
  readonly body: Bytes | ReadableStream<Bytes> | null;
  /** The length to announce where the body does not say it: of a stream, or of what HEAD leaves out. */
  readonly lengthBytes?: number | undefined;
  /** A preflight's answer: `headers` say all there is to say about CORS. */
  readonly isPreflight?: boolean;
}

/** The upstream's answer with what plugins made of it. */
export function answerReply(exchange: Exchange, answer: UpstreamAnswer): Reply {
  const { response } = exchange.draft;
  const status = responseStatus(answer.status, response);
  const headers = exchange.responseHeaders(answer.headers);
  if (response.body === undefined) {
    const lengthBytes = answer.body.declaredBytes;
    return { status, headers, body: answer.body.take(), lengthBytes };
  }
  answer.body.release();
  const { encoding, data } = response.body;
  const bytes = encoding === "utf8" ? encoder.encode(data) : Uint8Array.fromBase64(data);
  return { status, headers, body: bytes };
}

/** What a plugin answers in place of the upstream. */
export function rejectionReply(
  { status, message, headers }: Rejected,
  exchange: Exchange,
): Reply {
  const { traceId, requestBody } = exchange.facts;
  requestBody.release();
  const error = { code: "rejected", message, traceId };
  return errorReply(status, error, exchange.rejectionHeaders(headers));
}

/**
 * The short JSON of docs/errors.md: a code, a sentence and the trace id, and nothing that tells of the inside. A status without a body
 * says nothing of one either: caches give what a 304 says to what they have stored (RFC 9111 §4.3.4).
 */
export function errorReply(
  status: number,
  error: { readonly code: string; readonly message: string; readonly traceId: string },
  headers: HeaderOverrides = {},
): Reply {
  if (isBodiless("", status)) return { status, headers: overlay({}, headers), body: null };
  return {
    status,
    headers: overlay(JSON_HEADERS, headers),
    body: encoder.encode(JSON.stringify({ error })),
  };
}

/**
 * The reply to a failure with a stated answer. No cache may keep it: to some (RFC 9110 §15.1 names 404, 405 and 501) one client's
 * odd field would make it the answer for all.
 */
export function edgeErrorReply(error: EdgeError, traceId: string): Reply {
  const { status, code, message, headers } = error;
  const fields = { "cache-control": "no-store", ...headers };
  return errorReply(status, { code, message, traceId }, fields);
}

/** The response object. */
export function toResponse(
  { status: decided, headers, body, lengthBytes }: Reply,
  method: string,
): Response {
  const status = sentStatus(decided);
  const bodiless = isBodiless(method, status);
  if (bodiless && body instanceof ReadableStream) body.cancel().catch(() => {});
  // A 304 tells the length of what it leaves out, and a plugin may have made it a 200.
  const isEmpty = body === null && !bodiless;
  const announced = body instanceof Uint8Array ? body.length : isEmpty ? undefined : lengthBytes;
  const isUnknown = announced === undefined && !isBodiless("", status);
  const response = new Response(!bodiless ? body : isUnknown ? noBytes() : null, { status });
  const fields = response.headers;
  for (const name in headers) {
    for (const value of valueList(headers[name])) fields.append(name, value);
  }
  if (announced !== undefined && status !== 204) fields.set("content-length", String(announced));
  return response;
}

/** For a HEAD whose length nobody knows: for `null` `Deno.serve` would say that it is 0 (RFC 9110 §8.6). */
function noBytes(): ReadableStream<Bytes> {
  return new ReadableStream({ start: (controller) => controller.close() });
}

/**
 * The same response, and the end of the connection behind it. `Deno.serve` goes on reading whatever `connection: close` says, and
 * ends it only where a body fails: so this one is a byte shorter than it says.
 */
export function cutResponse(response: Response): Response {
  const { status, headers } = response;
  const reader = response.body?.getReader();
  headers.set("connection", "close");
  headers.set("content-length", String(Number(headers.get("content-length")) + 1));
  const body = new ReadableStream<Bytes>({
    async pull(controller) {
      const piece = await reader?.read();
      if (piece?.value) controller.enqueue(piece.value);
      else controller.error(new ClientGone("nothing more is read from this client"));
    },
  }, { highWaterMark: 0 });
  return new Response(body, { status, headers });
}

/**
 * Passes a body through and tells of its failure. By then the head is out, so all that is left is to cut the client's
 * connection: `Deno.serve` does so where the stream fails. A client that left (`signal`) is no failure; one that takes
 * nothing for `idleMs` is (`ClientGone`). What `Deno.serve` is writing to it then can no more be stopped, so that
 * connection stays until the client goes; but nothing waits for it any more.
 */
export function watchedBody(
  stream: ReadableStream<Bytes>,
  { signal, idleMs, onPiece, onEnd, onFailure }: {
    readonly signal: AbortSignal;
    readonly idleMs: number;
    readonly onPiece: (bytes: number) => void;
    /** All of it was taken. */
    readonly onEnd: () => void;
    readonly onFailure: (error: unknown) => void;
  },
): ReadableStream<Bytes> {
  const reader = stream.getReader();
  /** Since when the client has had a piece to take; one timer looks at it, since setting one for each piece would cost more. */
  let waitingSince = Infinity;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const watch = (controller: ReadableStreamDefaultController<Bytes>, ms: number) => {
    timer = setTimeout(() => {
      const leftMs = waitingSince + idleMs - performance.now();
      if (leftMs > 0) return watch(controller, Math.min(leftMs, idleMs));
      const error = new ClientGone("the client stopped reading");
      reader.cancel(error).catch(() => {});
      onFailure(error);
      controller.error(error);
    }, ms);
  };
  return new ReadableStream<Bytes>({
    async pull(controller) {
      waitingSince = Infinity;
      try {
        const { done, value } = await reader.read();
        if (done) {
          clearTimeout(timer);
          onEnd();
          return controller.close();
        }
        onPiece(value.length);
        controller.enqueue(value);
        waitingSince = performance.now();
        if (timer === undefined) watch(controller, idleMs);
      } catch (error) {
        clearTimeout(timer);
        if (signal.aborted) return controller.close();
        onFailure(error);
        throw error;
      }
    },
    cancel(reason) {
      clearTimeout(timer);
      return reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}
