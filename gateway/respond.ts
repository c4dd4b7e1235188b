/**
 * From what was decided to what is written: responses for upstream answers, rejections and errors.
 *
 * @module
 */

import { overlay } from "../protocol/headers.ts";
import type { DraftBody, HeaderMap, HeaderOverrides } from "../protocol/snapshot.ts";
import type { Body } from "./body_store.ts";
import type { EdgeError } from "./errors.ts";
import { toPairs } from "./headers.ts";

const encoder = new TextEncoder();
const JSON_HEADERS: HeaderMap = { "content-type": "application/json" };

/** What goes to the client. `headers` hold everything but the framing. */
export interface Reply {
  readonly status: number;
  readonly headers: HeaderMap;
  readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>> | null;
  /** The length to announce where the body does not say it: of a stream, or of what HEAD leaves out. */
  readonly lengthBytes?: number | undefined;
}

/** The upstream's answer, with the body a plugin put in its place if one did. */
export function answerReply(
  status: number,
  headers: HeaderMap,
  body: { readonly upstream: Body; readonly draft: DraftBody | undefined },
): Reply {
  if (body.draft === undefined) {
    const lengthBytes = body.upstream.declaredBytes;
    return { status, headers, body: body.upstream.take(), lengthBytes };
  }
  body.upstream.release();
  const { encoding, data } = body.draft;
  const bytes = encoding === "utf8" ? encoder.encode(data) : Uint8Array.fromBase64(data);
  // The upstream's encoding and validators describe bytes that are no longer sent.
  const stale = {
    "content-encoding": [],
    "content-md5": [],
    "content-digest": [],
    "repr-digest": [],
    etag: [],
  };
  return { status, headers: overlay(headers, stale), body: bytes };
}

/** The short JSON of DESIGN §7: a code, a sentence and the trace id, and nothing that tells of the inside. */
export function errorReply(
  status: number,
  error: { readonly code: string; readonly message: string; readonly traceId: string },
  headers: HeaderOverrides = {},
): Reply {
  return {
    status,
    headers: overlay(JSON_HEADERS, headers),
    body: encoder.encode(JSON.stringify({ error })),
  };
}

/** The reply to a failure with a stated answer. */
export function edgeErrorReply(error: EdgeError, traceId: string): Reply {
  const { status, code, message, headers } = error;
  return errorReply(status, { code, message, traceId }, headers);
}

/** The response object. `HEAD`, 204, 205 and 304 have no body, whatever was decided (RFC 9110 §9.3.2, §15). */
export function toResponse(
  { status, headers, body, lengthBytes }: Reply,
  method: string,
): Response {
  const fields = new Headers(toPairs(headers));
  const isBodiless = method === "HEAD" || status === 204 || status === 205 || status === 304;
  if (isBodiless && body instanceof ReadableStream) body.cancel().catch(() => {});
  const announced = body instanceof Uint8Array ? body.length : lengthBytes;
  if (announced !== undefined && status !== 204) fields.set("content-length", String(announced));
  return new Response(isBodiless ? null : body, { status, headers: fields });
}
