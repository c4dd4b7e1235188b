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

  /** What died had served for so long. */
  lived(durationMs: number): void {
    if (durationMs > STABLE_MS) this.#failures = 0;
  }

  /** The next pause. */
  nextMs(): number {
    const limitMs = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#failures++);
    return Math.round(limitMs * (0.5 + Math.random() / 2));
  }
}
