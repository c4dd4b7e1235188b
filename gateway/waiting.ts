/**
 * Waiting: for a while, or for something but no longer than so long.
 *
 * @module
 */

/** Resolves after so long. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** What there is instead of a value where time was over first. */
export const LATE = Symbol("late");

/** What `promise` comes to, or `LATE`. It is not cancelled: what it does later is not waited for. */
export async function within<T>(limitMs: number, promise: Promise<T>): Promise<T | typeof LATE> {
  const late = Promise.withResolvers<typeof LATE>();
  const timer = setTimeout(() => late.resolve(LATE), limitMs);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
