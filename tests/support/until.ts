/**
 * Waiting for what comes about.
 *
 * @module
 */

/**
 * Asks until `check` gives a truthy value, and returns that.
 *
 * @throws {Error} after `withinMs`, naming `what`, with whatever `tell` says
 */
export async function until<T>(
  check: () => T | Promise<T>,
  what: string,
  { withinMs = 20_000, tell = () => "" }: {
    readonly withinMs?: number;
    readonly tell?: () => string;
  } = {},
): Promise<T> {
  const limit = Date.now() + withinMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > limit) throw new Error(`waited ${withinMs} ms for ${what}; ${tell()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
