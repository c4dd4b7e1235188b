/**
 * How fast a client may send a body in small chunks.
 *
 * `Deno.serve` (2.9.6) reads ahead without a limit, and hands over chunk by chunk, each at the cost of all that waits behind it and without
 * a turn of the event loop in between: 9 MB of chunks with a byte each kept a gateway that read them from serving anybody for minutes.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { EdgeError } from "./errors.ts";

/** A piece with fewer bytes is small. */
const SMALL_BYTES = 64;
/** So many small pieces may come at once… */
const MAX_SMALL_PIECES = 50_000;
/** …and so many more each second, for ever. */
const SMALL_PIECES_PER_S = 1000;
/** Others are served after so many. */
const PIECES_A_TURN = 32;

/** Of one body. */
export class Pace {
  #left = MAX_SMALL_PIECES;
  #taken = 0;
  #countedAt = performance.now();

  /**
   * Counts one piece.
   *
   * @returns what to wait for before the next one, if anything
   * @throws {EdgeError} `bad_request` where too many small ones came
   */
  take({ length }: Uint8Array): Promise<void> | undefined {
    if (length >= SMALL_BYTES || ++this.#taken % PIECES_A_TURN !== 0) return;
    const now = performance.now();
    const earned = (now - this.#countedAt) / 1000 * SMALL_PIECES_PER_S;
    this.#countedAt = now;
    this.#left = Math.min(MAX_SMALL_PIECES, this.#left + earned) - PIECES_A_TURN;
    if (this.#left < 0) {
      throw new EdgeError("bad_request", "request body comes in too many small chunks");
    }
    return new Promise((resolve) => setImmediate(resolve));
  }
}
