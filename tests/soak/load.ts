/**
 * The clients of the storm: each asks without an end over a connection that it keeps, and every answer is counted.
 *
 * @module
 */

import { Wire, type WireHead } from "./wire.ts";

/** `200`, `503 runtime_unavailable`, `cut` for an answer that broke off in its body, or `lost: …` where there was none. */
export type Outcome = string;

const SILENCE_MS = 60_000;
let lastNonce = 0;

/** One client: a connection that is made anew only when it has ended. */
export class Client implements Disposable {
  readonly #port: number;
  #wire: Wire | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  /** Asks once. Never throws, and never asks again by itself. */
  async ask(path: string): Promise<{ readonly outcome: Outcome; readonly fields: Fields }> {
    const timer = setTimeout(() => this[Symbol.dispose](), SILENCE_MS);
    const askedAt = performance.now();
    let head: WireHead | undefined;
    try {
      this.#wire ??= await connect(this.#port);
      await this.#wire.send(requestHead(path));
      head = await this.#wire.head();
      if (!head) throw new Error("closed without an answer");
      const body = await this.#wire.body(head);
      const [, status = ""] = head.words;
      const code = status === "200" ? undefined : /"code":"(\w+)"/.exec(body)?.[1];
      if (head.fields.get("connection") === "close") this[Symbol.dispose]();
      return { outcome: code ? `${status} ${code}` : status, fields: head.fields };
    } catch (error) {
      this[Symbol.dispose]();
      const isSilent = performance.now() - askedAt >= SILENCE_MS;
      const reason = error instanceof Error ? error.message : String(error);
      const outcome = head && !isSilent ? "cut" : `lost: ${isSilent ? "silent" : reason}`;
      return { outcome, fields: new Map() };
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.#wire?.[Symbol.dispose]();
    this.#wire = undefined;
  }
}

type Fields = ReadonlyMap<string, string>;

export async function connect(port: number): Promise<Wire> {
  return new Wire(await Deno.connect({ hostname: "127.0.0.1", port }));
}

/** Every request has a value of its own that the policy must mark. */
export function requestHead(path: string, { method = "GET", fields = "" } = {}): string {
  return `${method} ${path} HTTP/1.1\r\nHost: storm\r\nX-Nonce: ${++lastNonce}\r\n${fields}\r\n`;
}

/** Some clients on one route, and the outcomes that the failure policy has for it meanwhile. */
export interface Lane {
  readonly path: string;
  readonly clients: number;
  readonly allowed: readonly Outcome[];
}

export class Load {
  /** By path and outcome. */
  readonly counts: Record<string, Record<Outcome, number>> = {};
  /** Outside of what a lane allows. */
  lost = 0;
  readonly #running: Promise<void>;
  #over = false;

  constructor(port: number, lanes: readonly Lane[], { pauseMs = 2 } = {}) {
    this.#running = Promise.all(
      lanes.flatMap((lane) =>
        Array.from({ length: lane.clients }, () => this.#client(port, lane, pauseMs))
      ),
    ).then(() => {});
  }

  get answers(): number {
    return Object.values(this.counts).flatMap((each) => Object.values(each))
      .reduce((sum, count) => sum + count, 0);
  }

  count(lane: Pick<Lane, "path" | "allowed">, outcome: Outcome): void {
    const counts = this.counts[lane.path] ??= {};
    counts[outcome] = (counts[outcome] ?? 0) + 1;
    if (!lane.allowed.includes(outcome)) this.lost++;
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#running;
  }

  async #client(port: number, lane: Lane, pauseMs: number): Promise<void> {
    using client = new Client(port);
    while (!this.#over) {
      this.count(lane, (await client.ask(lane.path)).outcome);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}
