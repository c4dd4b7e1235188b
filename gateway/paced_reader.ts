/**
 * Reading a client's body so that others are served as well.
 *
 * `Deno.serve` (2.9.6; denoland/deno#36869) hands over a body chunk by chunk, without a turn of the event loop in between. With each it
 * reads on by 16 KiB, and each costs as much as all that waits behind it. So whoever reads many small chunks serves nobody else; and where
 * the rest of them is cancelled before the response, Deno itself takes it to its end in the same way: 10 MB of chunks with a byte each
 * stopped everything for half a minute. Cancelled after the response, the connection is closed at once.
 *
 * @module
 */

import type { Bytes } from "./body_store.ts";
import { pause } from "./waiting.ts";

/** Others get as long a turn where a body was read for so long… */
const TURN_MS = 4;
/** …and so little came of it. What comes in larger pieces waits for its own in between. */
const LITTLE_BYTES = 16 * 1024;
/** A piece of fewer bytes is small. */
const SMALL_BYTES = 1024;
/** Behind so many a megabyte can wait. */
const MANY_SMALL = 64;
/** For the client to read its answer before the connection is closed with what it sent and nobody took. */
const LINGER_MS = 100;

export class PacedReader {
  readonly #reader: ReadableStreamDefaultReader<Bytes>;
  readonly #completed: Promise<unknown>;
  #turn: { readonly beganAt: number; bytes: number } | undefined;
  #smallPieces = 0;

  /** @param completed settles when the response is written or the client has left */
  constructor(stream: ReadableStream<Bytes>, completed: Promise<unknown>) {
    this.#reader = stream.getReader();
    this.#completed = completed;
  }

  async read(): Promise<ReadableStreamReadResult<Bytes>> {
    if (this.#turn && performance.now() - this.#turn.beganAt > TURN_MS) {
      if (this.#turn.bytes < LITTLE_BYTES) await pause(TURN_MS);
      this.#turn = undefined;
    }
    const turn = this.#turn ??= { beganAt: performance.now(), bytes: 0 };
    const result = await this.#reader.read();
    if (result.done) return result;
    turn.bytes += result.value.length;
    if (result.value.length < SMALL_BYTES) this.#smallPieces++;
    return result;
  }

  /**
   * Lets go of the rest. Before the response Deno takes it, so that a client which sends all before it reads gets its answer; of many small
   * pieces the rest is let go of when the answer is out, and the connection is closed. Never rejects.
   */
  async cancel(reason?: unknown): Promise<void> {
    if (this.#smallPieces > MANY_SMALL) {
      await this.#completed.catch(() => {});
      await pause(LINGER_MS);
    }
    await this.#reader.cancel(reason).catch(() => {});
  }
}
