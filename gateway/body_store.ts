/**
 * Bodies on their way through. A small one is captured, so that hooks can read it; any other stays a stream, which hooks
 * know as `stream://N` and the gateway passes on in flat memory.
 *
 * @module
 */

import { isEventStream } from "../protocol/headers.ts";
import type { BodyInfo, HeaderMap } from "../protocol/snapshot.ts";

export type Bytes = Uint8Array<ArrayBuffer>;
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
