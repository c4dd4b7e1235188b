/**
 * The store behind `ctx.services.cache`, kept in this process: bounded in entries and bytes, with times to live, the least
 * recently used entry going first. One store serves all isolates, and every operation is atomic.
 *
 * @module
 */

import type { Json } from "../protocol/snapshot.ts";

export interface CacheLimits {
  readonly maxEntries: number;
  /** Keys and values together, as JSON. */
  readonly maxBytes: number;
}

/** The largest value, as JSON. */
export const MAX_VALUE_BYTES = 256 * 1024;
const MAX_KEY_LENGTH = 1024;

interface Entry {
  readonly json: string;
  readonly sizeBytes: number;
  /** In the clock's milliseconds; `Infinity` without a time to live. */
  readonly expiresAt: number;
}

export class CacheStore {
  readonly #limits: CacheLimits;
  readonly #now: () => number;
  /** In order of use, the least recent first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(limits: CacheLimits, options: { readonly now?: () => number } = {}) {
    this.#limits = limits;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Carries out what a plugin asked for. The message of an error is shown to the plugin's author. */
  // deno-lint-ignore require-await -- a store over the network will wait; errors are rejections in both
  async call(method: string, args: readonly Json[]): Promise<Json> {
    const [first, second, third] = args;
    const key = checkKey(first);
    switch (method) {
      case "get":
        return this.#read(key)?.value ?? null;
      case "set":
        return this.#set(key, second ?? null, options(key, third));
      case "delete":
        return this.#remove(key);
      case "increment":
        return this.#increment(key, options(key, second).ttlSeconds);
      case "expire":
        return this.#expire(key, checkTtl(key, second));
      default:
        throw new TypeError(`the cache has no method ${JSON.stringify(method)}`);
    }
  }

  #read(key: string): { readonly value: Json; readonly expiresAt: number } | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    if (entry.expiresAt <= this.#now()) {
      this.#remove(key);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return { value: JSON.parse(entry.json), expiresAt: entry.expiresAt };
  }

  #set(key: string, value: Json, { ttlSeconds, onlyIfAbsent }: SetOptions): boolean {
    if (onlyIfAbsent && this.#read(key)) return false;
    this.#write(key, value, ttlSeconds === undefined ? Infinity : this.#now() + ttlSeconds * 1000);
    return true;
  }

  #increment(key: string, ttlSeconds: number | undefined): number {
    const before = this.#read(key);
    if (before && !Number.isSafeInteger(before.value)) {
      throw new TypeError(`the value of ${quote(key)} is not an integer`);
    }
    const value = Number(before?.value ?? 0) + 1;
    const expiresAt = before?.expiresAt ??
      (ttlSeconds === undefined ? Infinity : this.#now() + ttlSeconds * 1000);
    this.#write(key, value, expiresAt);
    return value;
  }

  #expire(key: string, ttlSeconds: number): boolean {
    const entry = this.#read(key);
    if (!entry) return false;
    this.#write(key, entry.value, this.#now() + ttlSeconds * 1000);
    return true;
  }

  #remove(key: string): boolean {
    const entry = this.#entries.get(key);
    if (!entry) return false;
    this.#bytes -= entry.sizeBytes;
    this.#entries.delete(key);
    return entry.expiresAt > this.#now();
  }

  #write(key: string, value: Json, expiresAt: number): void {
    const json = JSON.stringify(value);
    const valueBytes = new TextEncoder().encode(json).length;
    const maxBytes = Math.min(MAX_VALUE_BYTES, this.#limits.maxBytes - key.length * 2);
    if (valueBytes > maxBytes) {
      throw new RangeError(
        `the value of ${quote(key)} has ${valueBytes} bytes; at most ${maxBytes} are stored`,
      );
    }
    const sizeBytes = valueBytes + key.length * 2;
    this.#remove(key);
    this.#entries.set(key, { json, sizeBytes, expiresAt });
    this.#bytes += sizeBytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#limits.maxEntries && this.#bytes <= this.#limits.maxBytes) {
        return;
      }
      this.#remove(oldest);
    }
  }
}

interface SetOptions {
  readonly ttlSeconds?: number | undefined;
  readonly onlyIfAbsent?: boolean;
}

function checkKey(key: Json | undefined): string {
  if (typeof key !== "string" || key === "" || key.length > MAX_KEY_LENGTH) {
    throw new TypeError(`a cache key is a string of 1 to ${MAX_KEY_LENGTH} characters`);
  }
  return key;
}

function checkTtl(key: string, ttlSeconds: Json | undefined): number {
  if (typeof ttlSeconds !== "number" || !(ttlSeconds > 0)) {
    throw new TypeError(`the ttlSeconds of ${quote(key)} is not a number greater than 0`);
  }
  return ttlSeconds;
}

function options(key: string, value: Json | undefined): SetOptions {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new TypeError(`the options of ${quote(key)} are not an object`);
  }
  const { ttlSeconds, onlyIfAbsent } = value as { readonly [key: string]: Json };
  return {
    ttlSeconds: ttlSeconds === undefined ? undefined : checkTtl(key, ttlSeconds),
    onlyIfAbsent: onlyIfAbsent === true,
  };
}

function quote(key: string): string {
  return JSON.stringify(key);
}
