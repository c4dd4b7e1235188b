/**
 * Bodies on their way through. A small one is captured, so that hooks can read it; any other stays a stream, which hooks
 * know as `stream://N` and the gateway passes on in flat memory.
 *
 * @module
 */

import type { BodyInfo } from "../protocol/snapshot.ts";
import { EdgeError } from "./errors.ts";

type Bytes = Uint8Array<ArrayBuffer>;
export type BodySource = Bytes | ReadableStream<Bytes> | null;

let lastReference = 0;

/** One body, to be captured at most once and taken at most once. */
export class Body {
  readonly declaredBytes: number | undefined;
  #source: BodySource;
  #reference: string | undefined;
  #base64: string | undefined;

  /** @param declaredBytes what its sender said of its length */
  constructor(source: BodySource, declaredBytes?: number) {
    this.#source = source;
    this.declaredBytes = declaredBytes;
  }

  /** The whole of it, where it is in memory. */
  get bytes(): Bytes | undefined {
    return this.#source instanceof Uint8Array ? this.#source : undefined;
  }

  /** Takes the body into memory if it has at most `limitBytes`; else it stays a stream of the same bytes. */
  async capture(limitBytes: number): Promise<void> {
    const stream = this.#source;
    if (!(stream instanceof ReadableStream) || (this.declaredBytes ?? 0) > limitBytes) return;
    const reader = stream.getReader();
    const pieces: Bytes[] = [];
    let sizeBytes = 0;
    while (sizeBytes <= limitBytes) {
      const { done, value } = await reader.read();
      if (done) {
        this.#source = concat(pieces, sizeBytes);
        return;
      }
      pieces.push(value);
      sizeBytes += value.length;
    }
    this.#source = resume(pieces, reader);
  }

  /** What hooks are told. @param withBytes whether the plugin reads bodies */
  info(withBytes: boolean): BodyInfo {
    if (this.#source === null) return { kind: "none" };
    const { bytes } = this;
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

  /** Hands the body over; from now on there is none here. */
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

/** A client's body: counted against the limit, and not waited for longer than `idleMs` at a time. */
export function requestBody(
  request: Request,
  limits: { readonly maxBytes: number; readonly idleMs: number },
): Body {
  const declared = request.headers.get("content-length");
  const declaredBytes = declared === null ? undefined : Number(declared);
  const { maxBytes } = limits;
  if (maxBytes > 0 && declaredBytes !== undefined && declaredBytes > maxBytes) {
    throw tooLarge(maxBytes);
  }
  const hasBody = declaredBytes ? true : request.headers.has("transfer-encoding");
  if (!hasBody || request.body === null) return new Body(null);
  return new Body(limited(request.body, limits), declaredBytes);
}

function limited(
  stream: ReadableStream<Bytes>,
  { maxBytes, idleMs }: { readonly maxBytes: number; readonly idleMs: number },
): ReadableStream<Bytes> {
  const reader = stream.getReader();
  let sizeBytes = 0;
  return new ReadableStream<Bytes>({
    async pull(controller) {
      const { done, value } = await within(reader.read(), idleMs);
      if (done) return controller.close();
      sizeBytes += value.length;
      if (maxBytes > 0 && sizeBytes > maxBytes) {
        void reader.cancel().catch(() => {});
        throw tooLarge(maxBytes);
      }
      controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}

function tooLarge(maxBytes: number): EdgeError {
  return new EdgeError("payload_too_large", `request body is larger than ${maxBytes} bytes`);
}

async function within<T>(read: Promise<T>, idleMs: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new EdgeError("request_timeout", "request body did not arrive in time")),
    idleMs,
  );
  try {
    return await Promise.race([read, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The pieces that were read, then the rest. */
function resume(
  pieces: Bytes[],
  reader: ReadableStreamDefaultReader<Bytes>,
): ReadableStream<Bytes> {
  return new ReadableStream<Bytes>({
    async pull(controller) {
      const piece = pieces.shift();
      if (piece) return controller.enqueue(piece);
      const { done, value } = await reader.read();
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
