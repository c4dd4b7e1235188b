/**
 * Connections that wait for their next request. The one used last is used next, so that surplus ones age and end.
 *
 * @module
 */

import type { Connection } from "./connection.ts";

/** Beyond this, origins without a waiting connection are forgotten. */
const MAX_ORIGINS = 64;

export class Pool {
  readonly #idle = new Map<string, Connection[]>();
  readonly #limits: { readonly maxIdlePerOrigin: number; readonly idleTimeoutMs: number };
  #closed = false;

  constructor(limits: { readonly maxIdlePerOrigin: number; readonly idleTimeoutMs: number }) {
    this.#limits = limits;
  }

  take(key: string): Connection | undefined {
    return this.#idle.get(key)?.pop();
  }

  /** Keeps `conn`, or closes it where there are enough. It leaves by itself when it ends, speaks or grows old. */
  put(conn: Connection): void {
    const stack = this.#idle.get(conn.key) ?? this.#newStack(conn.key);
    if (this.#closed || stack.length >= this.#limits.maxIdlePerOrigin) return conn.close();
    stack.push(conn);
    conn.park(this.#limits.idleTimeoutMs, () => this.#remove(conn));
  }

  /** Closes what waits; what comes back later is closed then. */
  close(): void {
    this.#closed = true;
    for (const stack of this.#idle.values()) {
      for (const conn of stack) conn.close();
    }
    this.#idle.clear();
  }

  #remove(conn: Connection): void {
    const stack = this.#idle.get(conn.key);
    const at = stack?.indexOf(conn) ?? -1;
    if (stack === undefined || at === -1) return;
    stack.splice(at, 1);
  }

  /** Origins can be many (forward targets): the empty stacks of some may stay, not of all. */
  #newStack(key: string): Connection[] {
    const stack: Connection[] = [];
    if (this.#idle.size >= MAX_ORIGINS) {
      for (const [each, { length }] of this.#idle) if (length === 0) this.#idle.delete(each);
    }
    this.#idle.set(key, stack);
    return stack;
  }
}
