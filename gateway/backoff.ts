/**
 * Pauses before what died is started again: they double, with jitter, so that many do not start in step.
 *
 * @module
 */

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 10_000;
/** What lived this long was no part of a series of failures. */
const STABLE_MS = 10_000;

export class Backoff {
  #failures = 0;
  #upSince = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** What may die serves from now on. */
  up(): void {
    this.#upSince = performance.now();
  }

  /** It died, or never served. */
  down(): void {
    if (performance.now() - this.#upSince > STABLE_MS) this.#failures = 0;
    this.#upSince = Infinity;
  }

  /** The next pause. */
  nextMs(): number {
    const limitMs = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#failures++);
    return Math.round(limitMs * (0.5 + Math.random() / 2));
  }

  /** Calls `start` after the next pause, unless that is cancelled or another one begun. @returns the pause */
  retry(start: () => void): number {
    const delayMs = this.nextMs();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(start, delayMs);
    return delayMs;
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }
}
