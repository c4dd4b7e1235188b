/**
 * The store behind `ctx.services.cache`: decodes what a plugin asks, lets a driver carry it out within a time limit, and words what
 * goes wrong. A plugin's author never reads an address or what the store said; that goes to the log (`availability.ts`).
 *
 * @module
 */

import { type CacheCall, decodeCacheCall, notAnInteger } from "../../protocol/cache_call.ts";
import type { Json } from "../../protocol/snapshot.ts";
import { errorText } from "../errors.ts";
import { LATE, within } from "../waiting.ts";
import type { Availability } from "./availability.ts";

/** Values are JSON text. Every operation is atomic. */
export interface CacheDriver {
  get(key: string): Awaitable<string | null>;
  /** Without `ttlMs` an earlier time to live ends too. False: `onlyIfAbsent`, and there was one. */
  set(key: string, json: string, options: CacheSetOptions): Awaitable<boolean>;
  delete(key: string): Awaitable<boolean>;
  /** Adds 1; a new key starts at 1 and gets the time to live. Undefined: the value is not an integer. */
  increment(key: string, ttlMs: number | undefined): Awaitable<number | undefined>;
  expire(key: string, ttlMs: number): Awaitable<boolean>;
  close(): void;
}

type Awaitable<T> = T | Promise<T>;

export interface CacheSetOptions {
  readonly ttlMs: number | undefined;
  readonly onlyIfAbsent: boolean;
}

/** From a driver: the message is for the plugin's author. */
export class CacheCallError extends Error {
  override readonly name = "CacheCallError";
}

/** From a driver: the store answered, with an error. The message is for the log. */
export class CacheRefusal extends Error {
  override readonly name = "CacheRefusal";

  constructor(message: string) {
    // Without what clients put around it; some errors repeat keys and values, which are none of the log's business.
    super(
      message.replace(/^Command \d+ \[ \w+ \] failed: /, "")
        .replace(/, (?:with args beginning with|command was): .*/s, ""),
    );
  }

  /** What Redis says of `INCR` on a value that it cannot count on. */
  get isNoInteger(): boolean {
    return /not an integer|would overflow/.test(this.message);
  }
}

/** Of a store over the network. */
export interface RemoteOptions {
  readonly timeoutMs: number;
  readonly keyPrefix: string;
  readonly availability: Availability;
}

export class CacheStore {
  readonly #driver: CacheDriver;
  readonly #remote: RemoteOptions | undefined;

  constructor(driver: CacheDriver, remote?: RemoteOptions) {
    this.#driver = driver;
    this.#remote = remote;
  }

  /** Carries out what a plugin asked for. The message of an error is shown to the plugin's author. */
  async call(method: string, args: readonly Json[]): Promise<Json> {
    const call = decodeCacheCall(method, args);
    if (!this.#remote) return await this.#carryOut(call, call.key);
    const { timeoutMs, keyPrefix, availability } = this.#remote;
    try {
      const value = await within(timeoutMs, this.#carryOut(call, keyPrefix + call.key));
      if (value === LATE) throw new DOMException("no answer in time", "TimeoutError");
      availability.answered();
      return value;
    } catch (error) {
      throw this.#worded(error, this.#remote);
    }
  }

  close(): void {
    this.#driver.close();
    this.#remote?.availability.close();
  }

  /** `key` is the call's with the prefix. */
  async #carryOut(call: CacheCall, key: string): Promise<Json> {
    const driver = this.#driver;
    switch (call.method) {
      case "get": {
        const json = await driver.get(key);
        return json === null ? null : parse(json, call.key);
      }
      case "set":
        return await driver.set(key, call.json, call);
      case "delete":
        return await driver.delete(key);
      case "increment": {
        const count = await driver.increment(key, call.ttlMs);
        // A store counts further than JSON numbers are exact.
        if (!Number.isSafeInteger(count)) throw new CacheCallError(notAnInteger(call.key).message);
        return count as number;
      }
      case "expire":
        return await driver.expire(key, call.ttlMs);
    }
  }

  #worded(error: unknown, { timeoutMs, availability }: RemoteOptions): Error {
    if (error instanceof CacheCallError) {
      availability.answered();
      return error;
    }
    if (error instanceof CacheRefusal) {
      availability.refused(error.message);
      return new Error("the cache refused the operation; the gateway's log says why");
    }
    if (error instanceof Error && error.name === "TimeoutError") {
      availability.failed(`no answer within ${timeoutMs} ms`);
      return new Error(`the cache did not answer within ${timeoutMs} ms`);
    }
    availability.failed(errorText(error));
    return new Error("the cache is not reachable");
  }
}

function parse(json: string, key: string): Json {
  try {
    return JSON.parse(json);
  } catch {
    throw new CacheCallError(
      `the value of ${JSON.stringify(key)} is not JSON: something else than Conduit wrote it`,
    );
  }
}
