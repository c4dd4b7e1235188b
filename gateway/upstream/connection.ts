/**
 * One connection to an upstream: its bytes, its one deadline and its one failure.
 *
 * Whatever goes wrong (abort, time limit, bad framing, reset) goes through `fail`, which closes the socket; so every
 * read and write that was waiting ends, and whoever waited finds the reason in `failure`.
 *
 * @module
 */

import { UpstreamError, type UpstreamFailure } from "../errors.ts";
import { type Origin, originKey, originText } from "./origin.ts";
import { ReadBuffer } from "./read_buffer.ts";

const MAX_TIMER_MS = 2 ** 31 - 1;
const SCRATCH_BYTES = 4_096;

export class Connection {
  readonly key: string;
  readonly tls: boolean;
  readonly input = new ReadBuffer();
  /** Where request heads are serialised: an allocation for each would cost more than the work. */
  readonly scratch = new Uint8Array(SCRATCH_BYTES);
  /** The upstream has ended its side. */
  eof = false;
  /** Since `begin`: something arrived; something may have been sent. */
  received = false;
  sent = false;
  /** Called once, by the first failure. */
  onFailure: ((error: UpstreamError) => void) | undefined;
  readonly #socket: Deno.Conn;
  readonly #text: string;
  #failure: UpstreamError | undefined;
  #closed = false;
  #parked = false;
  #pendingRead: Promise<void> | undefined;
  #deadline = Infinity;
  #waitingFor = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;

  constructor(socket: Deno.Conn, origin: Origin) {
    this.#socket = socket;
    this.#text = originText(origin);
    this.key = originKey(origin);
    this.tls = origin.protocol === "https:";
  }

  get failure(): UpstreamError | undefined {
    return this.#failure;
  }

  /** Closes the connection for a reason; the first reason stays. `text` continues the sentence `upstream "…"`. */
  fail(failure: UpstreamFailure, text: string, cause?: unknown): UpstreamError {
    if (this.#failure) return this.#failure;
    this.#failure = new UpstreamError(failure, `upstream "${this.#text}" ${text}`, { cause });
    this.close();
    this.onFailure?.(this.#failure);
    return this.#failure;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    closeQuietly(this.#socket);
  }

  /**
   * Waits for more bytes, the end or a failure; never throws, look at `failure` afterwards. There is one read at a
   * time: the one that watches an idle connection is later the one that receives the response.
   */
  fill(): Promise<void> {
    return this.#pendingRead ??= this.#read();
  }

  async #read(): Promise<void> {
    try {
      const sizeBytes = await this.#socket.read(this.input.room());
      if (sizeBytes === null) this.eof = true;
      else this.input.end += sizeBytes;
      this.received ||= sizeBytes !== null;
    } catch (error) {
      this.fail("closed", "broke the connection", error);
    }
    this.#pendingRead = undefined;
    if (this.#parked) this.fail("closed", "ended or spoke on an idle connection");
  }

  /** Writes some of `bytes` and returns how many; throws what the socket throws. */
  async write(bytes: Uint8Array): Promise<number> {
    // A failed TLS write may have sent whole records before; a failed TCP write has sent nothing.
    if (this.tls) this.sent = true;
    const sizeBytes = await this.#socket.write(bytes);
    this.sent = true;
    return sizeBytes;
  }

  /** Lets the connection wait in a pool; `onGone` is called if it ends, speaks, or waits longer than `idleMs`. */
  park(idleMs: number, onGone: () => void): void {
    this.input.reset();
    this.#parked = true;
    this.onFailure = onGone;
    this.arm(idleMs, "the next request");
    this.fill();
  }

  /** Starts a round trip on a connection that is new or was parked. */
  begin(): void {
    this.#parked = this.received = this.sent = false;
    this.onFailure = undefined;
    this.disarm();
  }

  /** From now on `ms` may pass until `disarm`, or the connection fails with `timeout`. Replaces an earlier deadline. */
  arm(ms: number, waitingFor: string): void {
    this.#deadline = performance.now() + ms;
    this.#waitingFor = waitingFor;
    if (this.#deadline < this.#timerAt && !this.#closed) this.#setTimer(ms);
  }

  /** The timer goes on running, and finds nothing to do: setting one costs more than all else in a round trip. */
  disarm(): void {
    this.#deadline = Infinity;
  }

  #setTimer(ms: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = this.#deadline;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      const leftMs = this.#deadline - performance.now();
      if (leftMs <= 0) {
        this.fail("timeout", `took too long: gave up waiting for ${this.#waitingFor}`);
      } else if (leftMs < Infinity) this.#setTimer(leftMs);
    }, Math.min(ms, MAX_TIMER_MS));
  }
}

/** Closes what may be closed already. */
export function closeQuietly(socket: Deno.Conn | undefined): void {
  try {
    socket?.close();
  } catch {
    // It is closed: all that was wanted.
  }
}
