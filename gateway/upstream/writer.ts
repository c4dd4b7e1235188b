/**
 * Sends one request: the head and its framing (RFC 9112 §3, §5 and §6), then the body.
 *
 * @module
 */

import type { Connection } from "./connection.ts";
import type { UpstreamRequest } from "./origin.ts";
import { Malformed } from "./reader.ts";

/** An in-memory body up to this size leaves in one write with the head. */
const SMALL_BODY_BYTES = 65_536;
const EMPTY = new Uint8Array(0);
const CRLF = "\r\n";

/**
 * Serialises a request head, with `body` behind it.
 *
 * @param scratch is used where it is large enough, so the result is valid until the next use of `scratch`
 * @throws {Malformed} for CR, LF, NUL or a character beyond latin1, which would change the meaning of the head
 */
export function encodeHead(
  request: UpstreamRequest,
  { body = EMPTY, scratch = EMPTY }: { body?: Uint8Array; scratch?: Uint8Array } = {},
): Uint8Array {
  const { method, target, headers } = request;
  const framing = framingField(request);
  let sizeBytes = method.length + target.length + framing.length + body.length + 14;
  for (const [name, value] of headers) sizeBytes += name.length + value.length + 4;
  const out = sizeBytes <= scratch.length
    ? scratch.subarray(0, sizeBytes)
    : new Uint8Array(sizeBytes);
  let at = 0;
  const put = (text: string, end: string) => {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 255 || code === 13 || code === 10 || code === 0) {
        throw new Malformed(`cannot be sent ${JSON.stringify(text)} in a request head`);
      }
      out[at++] = code;
    }
    for (let i = 0; i < end.length; i++) out[at++] = end.charCodeAt(i);
  };
  put(method, " ");
  put(target, " HTTP/1.1\r\n");
  for (const [name, value] of headers) {
    put(name, ": ");
    put(value, CRLF);
  }
  put("", framing);
  put("", CRLF);
  out.set(body, at);
  return out;
}

/** RFC 9110 §8.6: a method that expects a body says that it has none. */
function framingField({ method, body }: UpstreamRequest): string {
  if (body === null) {
    return method === "POST" || method === "PUT" || method === "PATCH"
      ? "content-length: 0\r\n"
      : "";
  }
  const lengthBytes = body instanceof Uint8Array ? body.length : body.lengthBytes;
  return lengthBytes === undefined
    ? "transfer-encoding: chunked\r\n"
    : `content-length: ${lengthBytes}\r\n`;
}

/** The sending side of one round trip; it runs while the response is awaited. */
export class Upload {
  readonly #conn: Connection;
  readonly #request: UpstreamRequest;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #done = false;
  #stopped = false;

  constructor(conn: Connection, request: UpstreamRequest) {
    this.#conn = conn;
    this.#request = request;
  }

  /** Every byte of the request has been written. */
  get done(): boolean {
    return this.#done;
  }

  /** Sends the request. Never throws: what is wrong with the request fails the connection. */
  async run(): Promise<void> {
    try {
      const { body } = this.#request;
      const bytes = body instanceof Uint8Array ? body : EMPTY;
      const small = bytes.length <= SMALL_BODY_BYTES ? bytes : EMPTY;
      await this.#write(
        encodeHead(this.#request, { body: small, scratch: this.#conn.scratch }),
      );
      if (small !== bytes) await this.#write(bytes);
      if (body !== null && !(body instanceof Uint8Array)) await this.#stream(body);
      else this.#finish();
    } catch (error) {
      if (error instanceof Malformed) this.#conn.fail("malformed", error.message);
      // The upstream may have refused the rest and answered: the answer, or the end, is for the reader to find.
      if (!this.#stopped) this.#awaitResponse();
      this.#cancel(error);
    }
  }

  /** The response is here, or there will be none: nothing more is written, the rest of the body is refused. */
  stop(reason?: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#cancel(reason);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#stopped;) {
      this.#conn.arm(this.#request.timeouts.idleMs, "it to take more of the request");
      at += await this.#conn.write(at === 0 ? bytes : bytes.subarray(at));
    }
  }

  async #stream(
    { stream, lengthBytes }: { stream: ReadableStream<Uint8Array>; lengthBytes?: number },
  ) {
    this.#reader = stream.getReader();
    let sentBytes = 0;
    for (;;) {
      if (sentBytes === lengthBytes && !this.#stopped) this.#finish();
      else if (!this.#stopped) this.#conn.disarm();
      const piece = await this.#next();
      if (piece === undefined || this.#stopped) break;
      sentBytes += piece.length;
      if (sentBytes > (lengthBytes ?? Infinity)) break;
      if (piece.length > 0) await this.#write(lengthBytes === undefined ? chunk(piece) : piece);
    }
    if (this.#stopped) return;
    if (sentBytes !== (lengthBytes ?? sentBytes)) {
      const reason = this.#conn.fail(
        "aborted",
        `was promised a request body of ${lengthBytes} bytes that turned out to be ${
          sentBytes < Number(lengthBytes) ? "shorter" : "longer"
        }`,
      );
      return this.#cancel(reason);
    }
    if (lengthBytes === undefined) await this.#write(LAST_CHUNK);
    if (!this.#stopped) this.#finish();
  }

  /** The next piece of the body, or `undefined` at its end or after its failure. */
  async #next(): Promise<Uint8Array | undefined> {
    try {
      return (await this.#reader?.read())?.value;
    } catch (error) {
      if (!this.#stopped) {
        this.#conn.fail("aborted", "was sent a request whose body broke off", error);
        this.stop();
      }
      return undefined;
    }
  }

  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    this.#awaitResponse();
  }

  #awaitResponse(): void {
    this.#conn.arm(this.#request.timeouts.responseHeaderMs, "the response head");
  }

  #cancel(reason: unknown): void {
    this.#reader?.cancel(reason).catch(() => {});
  }
}

const LAST_CHUNK = new TextEncoder().encode("0\r\n\r\n");

/** RFC 9112 §7.1: one chunk, in one piece so that it leaves in one write. */
function chunk(data: Uint8Array): Uint8Array {
  const size = data.length.toString(16);
  const out = new Uint8Array(size.length + data.length + 4);
  new TextEncoder().encodeInto(`${size}\r\n`, out);
  out.set(data, size.length + 2);
  out.set([13, 10], size.length + 2 + data.length);
  return out;
}
