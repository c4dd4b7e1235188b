/**
 * HTTP/1.1 messages over one socket, for both ends of the storm. It keeps nothing of what has passed, so that it can run for hours.
 *
 * @module
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const BLANK = encoder.encode("\r\n\r\n");

/** The start line and the fields of a message, by lower-case name; the last of a name counts. */
export interface WireHead {
  readonly words: readonly string[];
  readonly fields: ReadonlyMap<string, string>;
}

export class Wire implements Disposable {
  readonly #conn: Deno.Conn;
  #bytes: Uint8Array = new Uint8Array();

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  async send(text: string | Uint8Array): Promise<void> {
    const bytes = typeof text === "string" ? encoder.encode(text) : text;
    for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
  }

  /** The next head; `undefined` where the other side ended before its first byte. Throws where it broke off later. */
  async head(): Promise<WireHead | undefined> {
    let end: number;
    while ((end = indexOf(this.#bytes, BLANK)) < 0) {
      if (await this.#more()) continue;
      if (this.#bytes.length === 0) return undefined;
      throw new Error("broke off in its head");
    }
    const [start = "", ...lines] = decoder.decode(this.#take(end)).split("\r\n");
    this.#take(BLANK.length);
    const fields = new Map(lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
    }));
    return { words: start.split(" "), fields };
  }

  /** The body that `head` announces by its length. Throws where there is less of it. */
  async body({ fields }: WireHead): Promise<string> {
    let left = Number(fields.get("content-length") ?? 0);
    let text = "";
    while (left > 0) {
      if (this.#bytes.length === 0 && !await this.#more()) throw new Error("broke off in its body");
      const piece = this.#take(Math.min(left, this.#bytes.length));
      left -= piece.length;
      if (text.length < 1000) text += decoder.decode(piece);
    }
    return text;
  }

  /** Reads at least so many bytes, or to the end. */
  async skip(sizeBytes: number): Promise<void> {
    for (let left = sizeBytes; left > 0;) {
      if (this.#bytes.length === 0 && !await this.#more()) return;
      left -= this.#take(this.#bytes.length).length;
    }
  }

  [Symbol.dispose](): void {
    try {
      this.#conn.close();
    } catch {
      // closed already
    }
  }

  #take(sizeBytes: number): Uint8Array {
    const taken = this.#bytes.subarray(0, sizeBytes);
    this.#bytes = this.#bytes.subarray(sizeBytes);
    return taken;
  }

  async #more(): Promise<boolean> {
    const buffer = new Uint8Array(16_384);
    const sizeBytes = await this.#conn.read(buffer);
    if (sizeBytes === null) return false;
    const joined = new Uint8Array(this.#bytes.length + sizeBytes);
    joined.set(this.#bytes);
    joined.set(buffer.subarray(0, sizeBytes), this.#bytes.length);
    this.#bytes = joined;
    return true;
  }
}

function indexOf(bytes: Uint8Array, wanted: Uint8Array): number {
  for (let at = 0; at + wanted.length <= bytes.length; at++) {
    if (wanted.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}
