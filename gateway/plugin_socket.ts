/**
 * The one Unix socket that the plugin host and its isolates connect to. A peer says `hello` first, with the secret that its
 * host got on stdin; whoever does not is told why and dropped.
 *
 * @module
 */

import { Connection, type ConnectionOptions } from "../protocol/connection.ts";
import { MessageError } from "../protocol/decode.ts";
import {
  decodeHello,
  type Hello,
  PROTOCOL_VERSION,
  type ToHost,
  type ToIsolate,
} from "../protocol/messages.ts";
import type { ToService } from "../protocol/service_messages.ts";
import { errorText } from "./errors.ts";
import type { Log } from "./log.ts";
import { pause } from "./waiting.ts";

export type PeerConnection = Connection<ToHost | ToIsolate | ToService>;

/** Takes over a connection after its `hello`. */
export interface Peer {
  onMessage(message: object): void;
  /** @param reason what the peer did wrong; `undefined` for a plain close */
  onClose(reason: string | undefined): void;
}

/** Gives the peer for a `hello`, or the reason why it is refused. */
export type Admit = (hello: Hello, connection: PeerConnection) => Peer | string;

/** A host service with the right secret that cannot be served now; it goes on trying. */
class ServiceRefused extends MessageError {}

/** How long a new connection may take to say who it is. */
const HELLO_TIMEOUT_MS = 5000;
/** Between two attempts to accept a connection, where one failed. */
const ACCEPT_AGAIN_MS = 100;

export class PluginSocket {
  readonly path: string;
  #listener: Deno.UnixListener | undefined;
  #accepting: Promise<void>;
  readonly #options: ConnectionOptions;
  readonly #log: Log;
  readonly #hosts = new Map<string, Admit>();
  readonly #connections = new Set<PeerConnection>();
  /** Why a service was refused last, since one was admitted. */
  #refusal = "";
  #closed = false;

  constructor(path: string, { log, ...options }: ConnectionOptions & { readonly log: Log }) {
    this.path = path;
    this.#options = options;
    this.#log = log;
    this.#listener = listen(path);
    this.#accepting = this.#accept(this.#listener);
  }

  /**
   * Makes the socket anew, where somebody has taken its file away. Connections that stand go on.
   *
   * @throws {Error} where it cannot be made
   */
  async listenAgain(): Promise<void> {
    const old = this.#listener;
    this.#listener = undefined;
    old?.close();
    // Deno takes away whatever has the socket's name when the last that uses it ends, and that must not be the new one.
    await this.#accepting;
    if (this.#closed) return;
    this.#listener = listen(this.path);
    this.#accepting = this.#accept(this.#listener);
  }

  /** From now on a `hello` with this secret is handed to `admit`. */
  expect(secret: string, admit: Admit): void {
    this.#hosts.set(secret, admit);
  }

  /** No further connection with this secret. */
  forget(secret: string): void {
    this.#hosts.delete(secret);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener?.close();
    for (const connection of this.#connections) connection.close();
  }

  async #accept(listener: Deno.UnixListener): Promise<void> {
    for (let problem = ""; !this.#closed;) {
      try {
        void this.#serve(await listener.accept());
        problem = "";
      } catch (error) {
        if (this.#closed || listener !== this.#listener) return;
        // Most often there are no descriptors left (EMFILE, accept(2)); who wants to connect waits until there are.
        const reason = errorText(error);
        if (reason !== problem) this.#log.error("the plugin socket cannot accept", { reason });
        problem = reason;
        await pause(ACCEPT_AGAIN_MS);
      }
    }
  }

  async #serve(socket: Deno.UnixConn): Promise<void> {
    const connection: PeerConnection = new Connection(socket, this.#options);
    this.#connections.add(connection);
    let peer: Peer | undefined;
    let problem: string | undefined;
    const timer = setTimeout(() => {
      problem = `no hello within ${HELLO_TIMEOUT_MS} ms`;
      connection.close();
    }, HELLO_TIMEOUT_MS);
    try {
      const broken = await connection.receive((message) => {
        if (peer) return peer.onMessage(message);
        clearTimeout(timer);
        peer = this.#admit(message, connection);
      });
      if (broken instanceof ServiceRefused) this.#tellRefusal(broken.message);
      else problem ??= broken?.message;
    } catch (error) {
      problem = errorText(error); // a mistake of ours ends this connection, not the gateway
    }
    clearTimeout(timer);
    this.#connections.delete(connection);
    if (problem !== undefined) {
      this.#log.warn("a plugin connection broke the protocol", { reason: problem });
    }
    peer?.onClose(problem);
  }

  #admit(message: object, connection: PeerConnection): Peer {
    const hello = decodeHello(message);
    const admit = this.#hosts.get(hello.secret);
    const answer = hello.protocol !== PROTOCOL_VERSION
      ? `protocol version ${hello.protocol} is not ${PROTOCOL_VERSION}; use a plugin host of the same Conduit version`
      : admit?.(hello, connection) ?? "the secret is not the one this gateway gave out";
    const isService = hello.role === "service" && admit !== undefined;
    if (typeof answer !== "string") {
      if (isService) this.#refusal = "";
      return answer;
    }
    connection.send({ type: "refused", reason: answer });
    // Thrown, so that nothing more of this peer is read; what is queued is written first.
    void connection.flushed().then(() => connection.close());
    throw isService ? new ServiceRefused(answer) : new MessageError(answer);
  }

  #tellRefusal(reason: string): void {
    if (reason !== this.#refusal) this.#log.warn("a plugin host service is refused", { reason });
    this.#refusal = reason;
  }
}

function listen(path: string): Deno.UnixListener {
  const listener = Deno.listen({ transport: "unix", path });
  Deno.chmodSync(path, 0o600);
  return listener;
}
