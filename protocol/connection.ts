/**
 * Messages over one stream socket, for both ends: frames in, frames out, and a bound on what may wait to be written.
 * The socket is passed in, so that this file knows no runtime.
 *
 * @module
 */

import { encodeFrame, FrameDecoder, FrameError, MAX_FRAME_BYTES } from "./frame.ts";
import { MessageError } from "./decode.ts";

/** The part of a stream socket that is used here. */
export interface Duplex {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** Bytes moved, by any number of connections. */
export interface ByteMeter {
  receivedBytes: number;
  sentBytes: number;
}

export interface ConnectionOptions {
  readonly maxFrameBytes?: number;
  /** How much may wait for a peer that does not read, in bytes; beyond it the connection is closed. */
  readonly maxQueuedBytes?: number;
  readonly meter?: ByteMeter;
  readonly trace?: Trace | undefined;
}

/** Sees every message, for debugging. */
export type Trace = (direction: "in" | "out", message: object) => void;

const READ_BYTES = 64 * 1024;
const DEFAULT_MAX_QUEUED_BYTES = 64 * 1024 * 1024;

/** One connection. `Out` is what this end sends. */
export class Connection<Out extends object> {
  readonly #socket: Duplex;
  readonly #decoder: FrameDecoder;
  readonly #maxFrameBytes: number;
  readonly #maxQueuedBytes: number;
  readonly #trace: Trace | undefined;
  readonly #meter: ByteMeter;
  #queue: Uint8Array[] = [];
  /** Of the queue and of the write that is under way. */
  #queuedBytes = 0;
  #flushing: Promise<void> | undefined;
  #closed = false;
  /** The peer takes nothing any more. */
  #deaf = false;
  #receiving = false;

  constructor(socket: Duplex, options: ConnectionOptions = {}) {
    this.#socket = socket;
    this.#maxFrameBytes = options.maxFrameBytes ?? MAX_FRAME_BYTES;
    this.#maxQueuedBytes = options.maxQueuedBytes ?? DEFAULT_MAX_QUEUED_BYTES;
    this.#decoder = new FrameDecoder(this.#maxFrameBytes);
    this.#trace = options.trace;
    this.#meter = options.meter ?? { receivedBytes: 0, sentBytes: 0 };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** What the peer has not taken yet. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Whether a further message need not wait for the peer to take some: at most so much is queued, or nobody will take it any more. */
  hasRoom(maxQueuedBytes: number): boolean {
    return this.#closed || this.#deaf || this.#queuedBytes <= maxQueuedBytes;
  }

  /**
   * Queues one message. What comes while a write is under way goes out in one write after it.
   *
   * @throws {FrameError} when the message is over the frame limit; nothing was sent then
   */
  send(message: Out): void {
    this.hold(message);
    this.flush();
  }

  /**
   * Queues one message for the next `send` or `flush`.
   *
   * @returns its frame
   * @throws {FrameError} as `send`
   */
  hold(message: Out): Uint8Array {
    const frame = encodeFrame(message, this.#maxFrameBytes);
    if (this.#closed || this.#deaf) return frame;
    this.#trace?.("out", message);
    this.#queue.push(frame);
    this.#queuedBytes += frame.length;
    if (this.#queuedBytes > this.#maxQueuedBytes) this.close();
    return frame;
  }

  /** Begins to write what is queued. */
  flush(): void {
    if (this.#queue.length > 0) this.#flushing ??= this.#flush();
  }

  /**
   * Hands every incoming object to `onMessage`, in order, until the peer or this end closes.
   *
   * @returns why it ended: `undefined` for a plain close, else the `FrameError` or `MessageError` the peer caused
   */
  async receive(
    onMessage: (message: object) => void,
  ): Promise<FrameError | MessageError | undefined> {
    const buffer = new Uint8Array(READ_BYTES);
    this.#receiving = true;
    try {
      while (!this.#closed) {
        const length = await this.#socket.read(buffer).catch(() => null);
        if (length === null) return this.#endOfStream();
        this.#meter.receivedBytes += length;
        for (const message of this.#decoder.push(buffer.subarray(0, length))) {
          if (this.#closed) return undefined;
          this.#trace?.("in", message);
          onMessage(message);
        }
      }
    } catch (error) {
      if (error instanceof FrameError || error instanceof MessageError) return error;
      throw error;
    } finally {
      this.close();
    }
  }

  #endOfStream(): FrameError | undefined {
    const { bufferedBytes } = this.#decoder;
    if (this.#closed || bufferedBytes === 0) return undefined;
    return new FrameError(
      `the connection ended within a frame, after ${bufferedBytes} bytes of it`,
    );
  }

  /** Resolves when everything queued so far is written, or the connection is closed. */
  async flushed(): Promise<void> {
    await this.#flushing;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#socket.close();
  }

  async #flush(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const bytes = this.#take();
        let written = 0;
        while (written < bytes.length && !this.#closed) {
          written += await this.#socket.write(bytes.subarray(written));
        }
        this.#queuedBytes -= bytes.length;
        this.#meter.sentBytes += written;
      }
    } catch {
      this.#deaf = true;
      this.#queue = [];
      // It has ended, most likely. What it said before that is still to be read; then `receive` closes.
      if (!this.#receiving) this.close();
    } finally {
      this.#flushing = undefined;
    }
  }

  #take(): Uint8Array {
    const [first] = this.#queue;
    let bytes = first as Uint8Array;
    if (this.#queue.length > 1) {
      bytes = new Uint8Array(this.#queuedBytes);
      let at = 0;
      for (const frame of this.#queue) {
        bytes.set(frame, at);
        at += frame.length;
      }
    }
    this.#queue = [];
    return bytes;
  }
}
