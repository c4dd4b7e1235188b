/**
 * The cache in this process: bounded in entries and bytes, with times to live, the least recently used entry going first.
 *
 * @module
 */

import { CacheCallError, type CacheDriver, type CacheSetOptions } from "./store.ts";

export interface MemoryLimits {
  readonly maxEntries: number;
  /** Keys and values together, as JSON. */
  readonly maxBytes: number;
}

interface Entry {
  readonly json: string;
  readonly sizeBytes: number;
  /** In the clock's milliseconds; `Infinity` without a time to live. */
  readonly expiresAt: number;
}

export class MemoryDriver implements CacheDriver {
  readonly #limits: MemoryLimits;
  readonly #now: () => number;
  /** In order of use, the least recent first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(limits: MemoryLimits, options: { readonly now?: () => number } = {}) {
    this.#limits = limits;
    this.#now = options.now ?? (() => performance.now());
  }

  get(key: string): string | null {
    return this.#read(key)?.json ?? null;
  }

  set(key: string, json: string, { ttlMs, onlyIfAbsent }: CacheSetOptions): boolean {
    if (onlyIfAbsent && this.#read(key)) return false;
    this.#write(key, json, this.#expiry(ttlMs));
    return true;
  }

  delete(key: string): boolean {
    const entry = this.#entries.get(key);
    if (!entry) return false;
    this.#bytes -= entry.sizeBytes;
    this.#entries.delete(key);
    return entry.expiresAt > this.#now();
  }

  increment(key: string, ttlMs: number | undefined): number | undefined {
    const before = this.#read(key);
    const value: unknown = JSON.parse(before?.json ?? "0");
    if (!Number.isSafeInteger(value) || value === Number.MAX_SAFE_INTEGER) return undefined;
    const count = Number(value) + 1;
    this.#write(key, String(count), before?.expiresAt ?? this.#expiry(ttlMs));
    return count;
  }

  expire(key: string, ttlMs: number): boolean {
    const entry = this.#read(key);
    if (!entry) return false;
    this.#write(key, entry.json, this.#expiry(ttlMs));
    return true;
  }

  close(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #expiry(ttlMs: number | undefined): number {
    return ttlMs === undefined ? Infinity : this.#now() + ttlMs;
  }

  #read(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    if (entry.expiresAt <= this.#now()) {
      this.delete(key);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  #write(key: string, json: string, expiresAt: number): void {
    const valueBytes = new TextEncoder().encode(json).length;
    const maxBytes = this.#limits.maxBytes - key.length * 2;
    if (valueBytes > maxBytes) {
      const value = `the value of ${JSON.stringify(key)}`;
      throw new CacheCallError(`${value} has ${valueBytes} bytes; at most ${maxBytes} are stored`);
    }
    const sizeBytes = valueBytes + key.length * 2;
    this.delete(key);
    this.#entries.set(key, { json, sizeBytes, expiresAt });
    this.#bytes += sizeBytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#limits.maxEntries && this.#bytes <= this.#limits.maxBytes) {
        return;
      }
      this.delete(oldest);
    }
  }
}
