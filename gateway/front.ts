/**
 * One listener for clients, with what runs on it: a gateway has one, and for a while a second one when a reload changed its address.
 * At its end what runs may end within its grace, what comes is refused, what is left is cut.
 *
 * `Deno.serve`'s own `shutdown()` refuses new connections at once, but it also makes the bodies of running requests
 * unreadable (denoland/deno#36809, so in 2.9.6), and once it is called nothing can be cut short any more. So while
 * uploads run the gateway goes on listening and answers 503; then it shuts down; and what is left ends with the process.
 *
 * @module
 */

import type { ListenAddress } from "./config.ts";
import { EdgeError } from "./errors.ts";
import { requestId } from "./identity.ts";
import { type Listening, type ListenOptions, serveOn } from "./listen.ts";
import type { Log } from "./log.ts";
import { edgeErrorReply, toResponse } from "./respond.ts";
import { LATE, within } from "./waiting.ts";

export type Handle = (request: Request, info: Deno.ServeHandlerInfo) => Promise<Response>;

/** How long `Deno.serve` may take to cut what it can still cut. */
const CUT_LIMIT_MS = 1000;

export interface EndOptions {
  readonly graceMs: number;
  /** Told once, before anything is cut. */
  readonly abandon: () => void;
  readonly log: Log;
}

export class Front {
  /** Set by `open`, before anybody has the front. */
  #server!: Listening;
  readonly #handle: Handle;
  /** Cuts what runs; works only before `shutdown()`. */
  readonly #cut = new AbortController();
  #running = 0;
  #uploads = 0;
  #onEnd = () => {};
  #begun = false;
  #leaving = false;

  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** @throws {ListenError} */
  static async open(
    address: ListenAddress,
    options: Omit<ListenOptions, "signal">,
    handle: Handle,
  ): Promise<Front> {
    const front = new Front(handle);
    front.#server = await serveOn(
      address,
      { ...options, signal: front.#cut.signal },
      (request, info) => front.#answer(request, info),
    );
    return front;
  }

  get address(): ListenAddress {
    return this.#server.address;
  }

  /** Requests that are not answered in full. */
  get inFlight(): number {
    return this.#running;
  }

  /**
   * The gateway serves on at another address: what comes is answered, and its client told to connect anew. Uploads may take `graceMs`;
   * all else ends by itself. Resolves then.
   */
  async leave(graceMs: number): Promise<void> {
    this.#leaving = true;
    await within(graceMs, this.#none(() => this.#uploads));
    await this.#server.shutdown();
  }

  /** The gateway ends. Resolves when the listener is closed and nothing runs any more, or `graceMs` is over. */
  async end({ graceMs, abandon, log }: EndOptions): Promise<void> {
    this.#begun = true;
    log.info("draining", { inFlight: this.#running });
    if (await within(graceMs, this.#drained()) !== LATE) return;
    log.warn("requests still running at the end of shutdownGraceMs are cut", {
      inFlight: this.#running,
    });
    abandon();
    if (this.#uploads === 0) return;
    this.#cut.abort();
    await within(CUT_LIMIT_MS, this.#none(() => this.#running));
  }

  /** Ends at once what has served nobody. */
  close(): void {
    this.#cut.abort();
  }

  #answer(request: Request, info: Deno.ServeHandlerInfo): Promise<Response> {
    if (this.#begun) return Promise.resolve(refusal(request));
    const uploads = request.body ? 1 : 0;
    this.#running++;
    this.#uploads += uploads;
    const onEnd = () => {
      this.#running--;
      this.#uploads -= uploads;
      this.#onEnd();
    };
    info.completed.then(onEnd, onEnd);
    const response = this.#handle(request, info);
    return this.#leaving ? response.then(lastOfConnection) : response;
  }

  async #drained(): Promise<void> {
    await this.#none(() => this.#uploads);
    await this.#server.shutdown();
    // Those of a listener that had failed too, which `shutdown()` does not know.
    await this.#none(() => this.#running);
  }

  #none(count: () => number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onEnd = () => count() === 0 && resolve();
    this.#onEnd();
    return promise;
  }
}

function lastOfConnection(response: Response): Response {
  response.headers.set("connection", "close");
  return response;
}

function refusal({ headers, method }: Request): Response {
  const traceId = requestId(headers);
  const error = new EdgeError("overloaded", "the gateway is shutting down", {
    headers: { connection: "close", "retry-after": "1", "x-request-id": traceId },
  });
  return toResponse(edgeErrorReply(error, traceId), method);
}
