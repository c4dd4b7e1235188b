/**
 * The id of the last hook that an isolate began, in memory that it shares with the host's main thread. When an isolate no
 * longer answers, this tells the hooks that ran (and must not run twice) from those that can still run elsewhere.
 *
 * @module
 */

/** What stands in the place of an id when the isolate must begin no further hook. Ids count up from 1, modulo 2³². */
const SEALED = -1;

/** The shared memory of one isolate's mark. */
export function newMark(): SharedArrayBuffer {
  return new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
}

/** The isolate's side. */
export class MarkWriter {
  readonly #view: Int32Array;
  #last = 0;

  constructor(memory: SharedArrayBuffer) {
    this.#view = new Int32Array(memory);
  }

  /** The isolate was given up: what it has not begun may run elsewhere. */
  get sealed(): boolean {
    return Atomics.load(this.#view, 0) === SEALED;
  }

  /** Marks the hook as begun; `false` when the isolate was given up and must not run it. */
  begin(id: number): boolean {
    const begun = Atomics.compareExchange(this.#view, 0, this.#last, id | 0) === this.#last;
    this.#last = id | 0;
    return begun;
  }
}

/** The main thread's side. */
export class MarkReader {
  readonly #view: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#view = new Int32Array(memory);
  }

  read(): number {
    return Atomics.load(this.#view, 0);
  }

  /** Lets the isolate begin nothing more, and returns the id of the last hook that it did begin. */
  seal(): number {
    return Atomics.exchange(this.#view, 0, SEALED);
  }
}
