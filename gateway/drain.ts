/**
 * The end of a listener: what runs may end within its grace, what comes is refused, what is left is cut.
 *
 * `Deno.serve`'s own `shutdown()` refuses new connections at once, but it also makes the bodies of running requests
 * unreadable (denoland/deno#36809, so in 2.9.6), and once it is called nothing can be cut short any more. So while
 * uploads run the gateway goes on listening and answers 503; then it shuts down; and what is left ends with the process.
 *
 * @module
 */

import { ERROR_STATUS } from "./errors.ts";
import { requestId } from "./identity.ts";
import type { Listening } from "./listen.ts";
import type { Log } from "./log.ts";
import { LATE, within } from "./waiting.ts";

export type Handle = (request: Request, info: Deno.ServeHandlerInfo) => Promise<Response>;

/** How long `Deno.serve` may take to cut what it can still cut. */
const CUT_LIMIT_MS = 1000;

export interface DrainOptions {
  readonly graceMs: number;
  /** Told once, before anything is cut. */
  readonly abandon: () => void;
  /** Cuts what runs; works only before `shutdown()`. */
  readonly cut: () => void;
  readonly log: Log;
}

export class Drain {
  #running = 0;
  #uploads = 0;
  #onEnd = () => {};
  #begun = false;
  #leaving = false;

  /** Requests that are not answered in full. */
  get inFlight(): number {
    return this.#running;
  }

  /** The handler for a listener that will be drained. */
  watch(handle: Handle): Handle {
    return (request, info) => {
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
      const response = handle(request, info);
      return this.#leaving ? response.then(lastOfConnection) : response;
    };
  }

  /**
   * Closes the listener while the gateway serves on at another address: what comes is answered, and its client told to connect anew.
   * Uploads may take `graceMs`; all else ends by itself. Resolves then.
   */
  async leave(server: Listening, graceMs: number): Promise<void> {
    this.#leaving = true;
    await within(graceMs, this.#none(() => this.#uploads));
    await server.shutdown();
  }

  /** Resolves when the listener is closed and nothing runs any more, or `graceMs` is over. */
  async end(server: Listening, { graceMs, abandon, cut, log }: DrainOptions): Promise<void> {
    this.#begun = true;
    log.info("draining", { inFlight: this.#running });
    if (await within(graceMs, this.#drained(server)) !== LATE) return;
    log.warn("requests still running at the end of shutdownGraceMs are cut", {
      inFlight: this.#running,
    });
    abandon();
    if (this.#uploads === 0) return;
    cut();
    await within(CUT_LIMIT_MS, this.#none(() => this.#running));
  }

  async #drained(server: Listening): Promise<void> {
    await this.#none(() => this.#uploads);
    await server.shutdown();
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

function refusal(request: Request): Response {
  const error = {
    code: "overloaded",
    message: "the gateway is shutting down",
    traceId: requestId(request.headers),
  };
  return Response.json({ error }, {
    status: ERROR_STATUS.overloaded,
    headers: { connection: "close", "retry-after": "1", "x-request-id": error.traceId },
  });
}
