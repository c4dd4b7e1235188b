/**
 * Runs one hook of one plugin in its time, and turns whatever happens into the `result` that the gateway gets.
 *
 * @module
 */

import type { HookFrame, HookResult, LogRecord } from "../protocol/messages.ts";
import { isEmpty, jsonPatch, type Patch } from "../protocol/patch.ts";
import { HookScope, Rejection } from "./context.ts";
import { isolateLog, logRecord } from "./isolate_log.ts";
import { describeError } from "./json.ts";
import type { Log, Plugin, Services } from "./mod.ts";

/** Log records of one hook beyond this number are dropped, also late ones; the last one says so. */
const MAX_LOGS_PER_HOOK = 200;

export interface RunnerNeeds {
  /** The services of one hook; `signal` aborts at its deadline. */
  readonly services: (frame: HookFrame, signal: () => AbortSignal) => Services;
  /** Takes what a hook logs after its result was sent. */
  readonly lateLog: (record: LogRecord, frame: HookFrame) => void;
}

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
type Decision = Without<HookResult, "type" | "id" | "plugin" | "durationMs" | "logs">;

class TimedOut {}

const PlatformResponse = globalThis.Response;

/** Runs the hook that `frame` asks for. Never throws. */
export async function runHook(
  plugin: Plugin,
  frame: HookFrame,
  needs: RunnerNeeds,
): Promise<HookResult> {
  const deadline = new Deadline(frame.timeoutMs);
  const logs = new HookLogs((record) => needs.lateLog(record, frame));
  const signal = () => deadline.signal;
  const scope = new HookScope({
    hook: frame.hook,
    input: frame.ctx,
    readsHeaders: plugin.readsHeaders,
    log: () => logs.log,
    services: () => needs.services(frame, signal),
    signal,
  });
  const decision = await decide(plugin, frame, { scope, deadline, logs });
  scope.close();
  const records = logs.close();
  return {
    type: "result",
    id: frame.id,
    plugin: frame.plugin,
    durationMs: deadline.elapsedMs,
    ...(records.length > 0 ? { logs: records } : {}),
    ...decision,
  };
}

interface Run {
  readonly scope: HookScope;
  readonly deadline: Deadline;
  readonly logs: HookLogs;
}

async function decide(plugin: Plugin, frame: HookFrame, run: Run): Promise<Decision> {
  const { scope, deadline } = run;
  try {
    const returned = deadline.within(() => plugin[frame.hook]?.(scope.ctx));
    if (returned !== undefined) assertNoAnswer(await returned);
    // A rejection stands also when the plugin caught what `ctx.reject` threw.
    return scope.rejection ? rejected(scope.rejection, scope) : proposed(scope);
  } catch (error) {
    // Before the time limit: a refusal that was made in time must not end as a "continue".
    const rejection = scope.rejection ?? (isA(Rejection, error) ? error : undefined);
    if (rejection) return rejected(rejection, scope);
    if (isA(TimedOut, error)) return { action: "continue", timedOut: true };
    await callOnError(plugin, error, run);
    return { action: "continue", error: describeError(error) };
  }
}

function proposed(scope: HookScope): Decision {
  const patch = scope.patch();
  if (scope.forward !== undefined) {
    return { action: "forward", url: scope.forward, ...section(patch) };
  }
  return isEmpty(patch) ? { action: "continue" } : { action: "modify", patch: jsonPatch(patch) };
}

function rejected(rejection: Rejection, scope: HookScope): Decision {
  const { status, message, headers, mistake } = rejection;
  let patch: Patch = {};
  try {
    patch = scope.patch();
  } catch {
    // What the hook left in `state` is no JSON. The refusal is what counts, and nobody reads the state after it.
  }
  return {
    action: "reject",
    status,
    message,
    headers,
    ...(mistake ? { error: describeError(mistake) } : {}),
    ...section(patch),
  };
}

/** Whatever else a hook returns is ignored; but who returns an answer means to refuse, and the request would go on. */
function assertNoAnswer(returned: unknown): void {
  if (typeof returned !== "object" || !isA(PlatformResponse, returned)) return;
  throw new TypeError("the hook returned a Response, which nobody gets; call ctx.reject to answer");
}

/** `instanceof` asks the plugin's value, which may be a proxy that throws. */
function isA<T>(type: new (...args: never[]) => T, value: unknown): value is T {
  try {
    return value instanceof type;
  } catch {
    return false;
  }
}

function section(patch: Patch): { readonly patch?: Patch } {
  return isEmpty(patch) ? {} : { patch: jsonPatch(patch) };
}

async function callOnError(
  plugin: Plugin,
  error: unknown,
  { scope, deadline, logs }: Run,
): Promise<void> {
  try {
    await deadline.within(() => plugin.onError?.(error, scope.ctx));
  } catch (second) {
    if (isA(TimedOut, second) || isA(Rejection, second)) return;
    logs.log.error("onError failed", { error: second });
  }
}

/** The time of one hook. */
class Deadline {
  readonly #startedAt = performance.now();
  readonly #limitMs: number;
  #signal: AbortSignal | undefined;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  get elapsedMs(): number {
    return Math.round((performance.now() - this.#startedAt) * 1000) / 1000;
  }

  /** Aborts when the time is over, also when the hook has long ended: what it left running is bounded too. */
  get signal(): AbortSignal {
    return this.#signal ??= AbortSignal.timeout(this.#remainingMs());
  }

  /**
   * Runs something in what is left of the time.
   *
   * @returns what came of it: no promise where that ended at once, as most hooks do, since one for each costs as much as they do
   * @throws {TimedOut} when the time is over first; what `run` throws otherwise
   */
  within(run: () => unknown): unknown {
    let returned;
    try {
      returned = run();
      if (isThenable(returned)) return this.#wait(returned);
    } catch (error) {
      throw this.#reason(error);
    }
    this.#check();
    return returned;
  }

  async #wait(pending: PromiseLike<unknown>): Promise<unknown> {
    let returned;
    try {
      returned = await this.#race(Promise.resolve(pending));
    } catch (error) {
      throw this.#reason(error);
    }
    this.#check();
    return returned;
  }

  /** What the signal ended failed for want of time, though its error may come before the timer's. */
  #reason(error: unknown): unknown {
    return this.#signal?.aborted && !isA(Rejection, error) ? new TimedOut() : error;
  }

  /** It may have blocked the isolate, so that no timer could fire. */
  #check(): void {
    if (performance.now() - this.#startedAt > this.#limitMs) throw new TimedOut();
  }

  #race(pending: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new TimedOut()), this.#remainingMs());
      pending.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  #remainingMs(): number {
    return Math.max(0, this.#limitMs - (performance.now() - this.#startedAt));
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (typeof value === "object" || typeof value === "function") && value !== null &&
    "then" in value;
}

/** Collects what a hook logs; after `close` records go out by themselves. */
class HookLogs {
  #log: Log | undefined;
  readonly #late: (record: LogRecord) => void;
  readonly #records: LogRecord[] = [];
  #count = 0;
  #closed = false;

  constructor(late: (record: LogRecord) => void) {
    this.#late = late;
  }

  get log(): Log {
    return this.#log ??= isolateLog((record) => this.#add(record));
  }

  close(): readonly LogRecord[] {
    this.#closed = true;
    return this.#records;
  }

  #add(record: LogRecord): void {
    if (this.#count > MAX_LOGS_PER_HOOK) return;
    const kept = this.#count++ < MAX_LOGS_PER_HOOK ? record : logRecord(
      "warn",
      `more than ${MAX_LOGS_PER_HOOK} log records in one hook; the rest is dropped`,
    );
    if (this.#closed) this.#late(kept);
    else this.#records.push(kept);
  }
}
