/**
 * What upstreams answer: heads and bodies in all framings, one response after another.
 *
 * @module
 */

import { type BodyDecoder, bodyDecoder } from "../../../gateway/upstream/body.ts";
import { MAX_BUFFER_BYTES, ReadBuffer } from "../../../gateway/upstream/read_buffer.ts";
import { HeadParser, Malformed } from "../../../gateway/upstream/reader.ts";
import { type FuzzTarget, latin1, law, pieces } from "../target.ts";

interface Read {
  readonly heads: string[];
  body: string;
  error?: Malformed;
}

/** Reads as `gateway/upstream/client.ts` does, until the connection would not be used again. */
class Reading {
  readonly result: Read = { heads: [], body: "" };
  readonly #input = new ReadBuffer();
  readonly #parser = new HeadParser();
  #decoder: BodyDecoder | undefined;
  #over = false;

  feed(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.#over;) {
      const room = this.#input.room();
      law(room.length > 0, "a full buffer is neither taken nor refused");
      const piece = bytes.subarray(at, at + room.length);
      room.set(piece);
      this.#input.end += piece.length;
      at += piece.length;
      this.#take();
      law(this.#input.bytes.length <= MAX_BUFFER_BYTES, "the buffer is over its limit");
    }
  }

  #take(): void {
    try {
      while (!this.#over && this.#step()) { /* on */ }
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.result.error = error;
      this.#over = true;
    }
  }

  #step(): boolean {
    if (!this.#decoder) {
      const head = this.#parser.parse(this.#input);
      if (!head) return false;
      this.result.heads.push(JSON.stringify(head));
      for (const [name, value] of head.headers) {
        law(/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name), `the name ${JSON.stringify(name)}`);
        law(
          !/\p{Cc}/u.test(value.replaceAll(/[\t\x80-\x9f]/g, "")),
          `the value ${JSON.stringify(value)}`,
        );
      }
      if (head.status < 200) {
        this.#over = head.status === 101;
        return true;
      }
      const bodyless = head.status === 204 || head.status === 304;
      this.#over = !head.keepAlive && bodyless;
      if (!bodyless) this.#decoder = bodyDecoder(head.framing);
      return true;
    }
    const before = this.#input.length;
    const piece = this.#decoder.decode(this.#input);
    law(piece.length <= before, "a body is longer than what arrived");
    this.result.body += latin1(piece);
    if (!this.#decoder.done) return false;
    this.#decoder = undefined;
    this.result.body += "|";
    return true;
  }
}

function read(chunks: readonly Uint8Array[]): Read {
  const reading = new Reading();
  for (const chunk of chunks) reading.feed(chunk);
  return reading.result;
}

export const UPSTREAM_TARGETS: readonly FuzzTarget[] = [{
  name: "response",
  dictionary: [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 200\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    ": ",
    "\t",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff",
    ";a=b",
    "1fffffffffffff\r\n",
  ],
  errors: [Malformed],
  run(input) {
    const whole = read([input.slice()]);
    const split = read(pieces(input.slice()));
    law(
      (whole.error === undefined) === (split.error === undefined),
      "pieces decide about an error",
    );
    law(whole.heads.join() === split.heads.join(), "pieces decide about a head");
    if (whole.error) throw whole.error;
    law(whole.body === split.body, "pieces decide about a body");
    const kinds = whole.heads.map((head) => /"kind":"(\w+)"/.exec(head)?.[1]);
    return `${kinds.slice(0, 4).join()} ${whole.body.endsWith("|") ? "whole" : "more"}`;
  },
}];
