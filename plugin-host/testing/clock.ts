/**
 * The clock of a test: real time until it is set, then whatever the test says.
 *
 * @module
 */

const SystemDate = Date;

export class TestClock {
  #atMs: number | undefined;

  /** Milliseconds since 1970. */
  now(): number {
    return this.#atMs ?? SystemDate.now();
  }

  /** From now on it stands still at this time, until it is moved again. */
  set(date: Date | string | number): void {
    const atMs = new SystemDate(date).getTime();
    if (Number.isNaN(atMs)) throw new TypeError(`${JSON.stringify(date)} is not a date`);
    this.#atMs = atMs;
  }

  /** Moves it on. A clock that was never set stops at the present time first. */
  advance(seconds: number): void {
    this.set(this.now() + seconds * 1000);
  }

  get isSet(): boolean {
    return this.#atMs !== undefined;
  }
}

/** The clock that `Date` follows now, and by how many calls of `withClock`. */
let followed: { readonly clock: TestClock; calls: number } | undefined;

/** Runs with `Date.now()` and `new Date()` at the time of `clock`, where that has been set. Timers stay as they are. */
export async function withClock<T>(clock: TestClock, run: () => T | Promise<T>): Promise<T> {
  if (!clock.isSet) return await run();
  if (followed && followed.clock !== clock) {
    throw new Error("a hook with another clock is running; await it first, or share its cache");
  }
  followed ??= { clock, calls: 0 };
  followed.calls++;
  globalThis.Date = dateOf(clock);
  try {
    return await run();
  } finally {
    if (--followed.calls === 0) {
      followed = undefined;
      globalThis.Date = SystemDate;
    }
  }
}

function dateOf(clock: TestClock): DateConstructor {
  return new Proxy(SystemDate, {
    get: (target, key) => key === "now" ? () => clock.now() : Reflect.get(target, key),
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [clock.now()] : args, newTarget),
    apply: () => new SystemDate(clock.now()).toString(),
  });
}
