/**
 * The cache in Upstash, over its REST interface.
 *
 * @module
 */

import { Redis } from "@upstash/redis";
import { type CacheDriver, CacheRefusal, type CacheSetOptions } from "./store.ts";

/** Before the one repetition. */
const RETRY_PAUSE_MS = 10;

export interface UpstashDriverOptions {
  readonly url: string;
  readonly token: string;
  readonly timeoutMs: number;
}

export class UpstashDriver implements CacheDriver {
  /** For what may be carried out twice: the second `GET`, `DEL`, `PEXPIRE` or plain `SET` leaves the store as the first did. */
  readonly #repeating: Redis;
  /**
   * For what may not. Where only the answer was lost, `SET … NX` would find its own value and tell a plugin that a fresh nonce is a
   * replay, and `INCR` would count twice.
   */
  readonly #once: Redis;

  constructor({ url, token, timeoutMs }: UpstashDriverOptions) {
    const client = (retries: number) =>
      new Redis({
        url,
        token,
        // A number of retries and not `false`, which the client takes for one.
        retry: { retries, backoff: () => RETRY_PAUSE_MS },
        // One for each request, with its repetition in it.
        signal: () => AbortSignal.timeout(timeoutMs),
        automaticDeserialization: false,
        // Calls of different requests share neither their fate nor the limit on the size of one.
        enableAutoPipelining: false,
        enableTelemetry: false,
        latencyLogging: false,
      });
    this.#repeating = client(1);
    this.#once = client(0);
  }

  get(key: string): Promise<string | null> {
    return ask(() => this.#repeating.get<string>(key));
  }

  set(key: string, json: string, { ttlMs, onlyIfAbsent }: CacheSetOptions): Promise<boolean> {
    const px = ttlMs === undefined ? {} : { px: ttlMs };
    return ask(async () =>
      await (onlyIfAbsent
        ? this.#once.set(key, json, { ...px, nx: true } as { px: number; nx: true })
        : this.#repeating.set(key, json, px as { px: number })) === "OK"
    );
  }

  delete(key: string): Promise<boolean> {
    return ask(async () => await this.#repeating.del(key) === 1);
  }

  increment(key: string, ttlMs: number | undefined): Promise<number | undefined> {
    return ask(async () => {
      if (ttlMs === undefined) return await this.#once.incr(key);
      // One step, as in `redis.ts`.
      const [, count] = await this.#once.multi()
        .set(key, 0, { px: ttlMs, nx: true }).incr(key).exec();
      return count;
    }).catch((error: unknown) => {
      if (error instanceof CacheRefusal && error.isNoInteger) return undefined;
      throw error;
    });
  }

  expire(key: string, ttlMs: number): Promise<boolean> {
    return ask(async () => await this.#repeating.pexpire(key, ttlMs) === 1);
  }

  close(): void {}
}

async function ask<T>(request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (error instanceof Error && error.name === "UpstashError") {
      throw new CacheRefusal(error.message);
    }
    if (error instanceof Error && error.name === "UpstashJSONParseError") {
      throw new CacheRefusal("an answer that is not JSON");
    }
    throw error;
  }
}
