/**
 * The cache in a plain Redis, over one connection that is made anew by itself. While there is none, calls fail at once.
 *
 * @module
 */

import { Redis } from "ioredis";
import { errorText } from "../errors.ts";
import type { Availability } from "./availability.ts";
import { type CacheDriver, CacheRefusal, type CacheSetOptions } from "./store.ts";

/** The longest pause between two attempts to connect. */
const MAX_RECONNECT_PAUSE_MS = 1000;
/** A connection on which an answer is due for so long is closed: what waits on it must not pile up, nor be carried out much later. */
const MAX_SILENCE_MS = 1000;

export interface RedisDriverOptions {
  /** `redis:` or `rediss:`, as `parseRedisUrl` leaves it. */
  readonly url: string;
  readonly timeoutMs: number;
  readonly availability: Availability;
}

type RedisError = Error & { readonly code?: string; readonly command?: { readonly name: string } };

export class RedisDriver implements CacheDriver {
  readonly #redis: Redis;
  /** The first attempt to connect has ended, one way or the other: calls from `onLoad` do not fail because they came first. */
  readonly #begun: Promise<void>;

  constructor({ url, timeoutMs, availability }: RedisDriverOptions) {
    const { protocol, hostname, port, username, password, pathname } = new URL(url);
    const host = hostname.replace(/^\[|\]$/g, "");
    this.#redis = new Redis({
      host,
      port: Number(port) || 6379,
      // The URL itself is not handed over: what is in its query would become options.
      ...(username === "" ? {} : { username: decodeURIComponent(username) }),
      // Without one it would, by RESP 3, take any refusal for one of a password that is not wanted, and print that.
      ...(password === "" ? { protocol: 2 } : { password: decodeURIComponent(password) }),
      db: Number(pathname.slice(1)),
      ...(protocol === "rediss:" ? { tls: {} } : {}),
      // Its own reading of numbers is off by one near 2^53.
      stringNumbers: true,
      disableClientInfo: true,
      connectTimeout: Math.max(MAX_SILENCE_MS, timeoutMs),
      socketTimeout: Math.max(MAX_SILENCE_MS, timeoutMs),
      retryStrategy: (attempts) => Math.min(50 * 2 ** (attempts - 1), MAX_RECONNECT_PAUSE_MS),
      // Nothing waits for a connection, and nothing is sent twice: a command without an answer may have been carried out.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
    });
    const begun = Promise.withResolvers<void>();
    this.#begun = begun.promise;
    // Without a listener ioredis prints errors.
    this.#redis.on("error", (error: RedisError) => {
      // ioredis would go on with database 0.
      if (error.command?.name === "select") this.#redis.disconnect(true);
      availability.failed(reasonOf(error));
      begun.resolve();
    });
    this.#redis.on("close", () => {
      availability.failed("the connection was closed");
      begun.resolve();
    });
    this.#redis.on("ready", () => {
      availability.answered();
      begun.resolve();
    });
  }

  get(key: string): Promise<string | null> {
    return this.#ask(() => this.#redis.get(key));
  }

  set(key: string, json: string, { ttlMs, onlyIfAbsent }: CacheSetOptions): Promise<boolean> {
    const options = [
      ...(ttlMs === undefined ? [] : ["PX", ttlMs]),
      ...(onlyIfAbsent ? ["NX"] : []),
    ];
    return this.#ask(async () => await this.#redis.call("SET", key, json, ...options) === "OK");
  }

  delete(key: string): Promise<boolean> {
    return this.#ask(async () => Number(await this.#redis.del(key)) === 1);
  }

  increment(key: string, ttlMs: number | undefined): Promise<number | undefined> {
    return this.#ask(async () => {
      if (ttlMs === undefined) return Number(await this.#redis.incr(key));
      // The transaction makes it one step: no counter is ever without its time to live, whatever breaks off.
      const replies = await this.#redis.multi().set(key, 0, "PX", ttlMs, "NX").incr(key).exec();
      const [error, count] = replies?.[1] ?? [new Error("the transaction was not carried out")];
      if (error) throw error;
      return Number(count);
    }).catch((error: unknown) => {
      if (error instanceof CacheRefusal && error.isNoInteger) return undefined;
      throw error;
    });
  }

  expire(key: string, ttlMs: number): Promise<boolean> {
    return this.#ask(async () => Number(await this.#redis.pexpire(key, ttlMs)) === 1);
  }

  close(): void {
    this.#redis.removeAllListeners("close");
    this.#redis.disconnect();
  }

  async #ask<T>(command: () => Promise<T>): Promise<T> {
    await this.#begun;
    try {
      return await command();
    } catch (error) {
      if (error instanceof Error && error.name === "ReplyError") {
        // A transaction that is not begun fails with what one of its commands met.
        const { previousErrors } = error as { previousErrors?: readonly Error[] };
        throw new CacheRefusal((previousErrors?.[0] ?? error).message);
      }
      // ioredis has several wordings for it; why is what the `error` event said.
      throw new Error("the connection was closed");
    }
  }
}

/** What Redis said in its first sentence: some of its refusals are a page long. */
function reasonOf(error: RedisError): string {
  // So ioredis tells what came before anything was asked.
  const text = errorText(error).replace(/^Command queue state error.* Last error: /, "");
  // `localhost` is two addresses: an AggregateError, whose own message is empty.
  return text.split(". ", 1)[0] || String(error.code);
}
