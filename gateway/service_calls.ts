/**
 * The service calls of one isolate: carried out beside each other, but not any number of them, and answered no faster than the isolate
 * takes it. What a plugin asks for at once must fill neither the gateway's memory nor its time.
 *
 * @module
 */

import { MessageError } from "../protocol/decode.ts";
import type { CallFrame } from "../protocol/messages.ts";
import type { Json } from "../protocol/snapshot.ts";
import { errorText } from "./errors.ts";
import type { PeerConnection } from "./plugin_socket.ts";

/** More unanswered service calls than this break the protocol: the isolate itself stops at fewer. */
const MAX_PENDING_CALLS = 2000;
/** As many as this are carried out; a store that hangs for its `timeoutMs` must not make many more wait than it would anyway. */
const MAX_RUNNING_CALLS = 256;
/** Of answers, before the next one waits until the isolate has taken some. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

export class ServiceCalls {
  readonly #connection: PeerConnection;
  readonly #carryOut: (frame: CallFrame) => Promise<Json>;
  readonly #waiting: CallFrame[] = [];
  #running = 0;

  constructor(connection: PeerConnection, carryOut: (frame: CallFrame) => Promise<Json>) {
    this.#connection = connection;
    this.#carryOut = carryOut;
  }

  /** @throws {MessageError} for one too many */
  accept(frame: CallFrame): void {
    if (this.#running + this.#waiting.length >= MAX_PENDING_CALLS) {
      throw new MessageError(`more than ${MAX_PENDING_CALLS} service calls at a time`);
    }
    if (this.#running < MAX_RUNNING_CALLS) void this.#run(frame);
    else this.#waiting.push(frame);
  }

  async #run(frame: CallFrame): Promise<void> {
    this.#running++;
    try {
      const value = await this.#carryOut(frame);
      while (!this.#connection.hasRoom(MAX_QUEUED_BYTES)) {
        this.#connection.flush();
        await this.#connection.flushed();
      }
      this.#connection.send({ type: "return", id: frame.id, value });
    } catch (error) {
      this.#connection.send({ type: "return", id: frame.id, error: errorText(error) });
    }
    this.#running--;
    const next = this.#waiting.shift();
    if (next) void this.#run(next);
  }
}
