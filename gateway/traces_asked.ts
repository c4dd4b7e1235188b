/**
 * Whether an executable exports traces is decided where it is compiled: whoever asks for them where it runs is told that nothing comes of
 * it.
 *
 * @module
 */

import type { Log } from "./log.ts";

const NO = /^(?:|0|false)$/;

/** @param options.traces whether this process exports traces, since it was compiled to */
export function warnOfNoTraces(
  log: Log,
  { standalone, env, traces }: {
    /** Whether this is an executable. */
    readonly standalone: boolean;
    readonly env: (name: string) => string | undefined;
    readonly traces: boolean;
  },
): void {
  if (!standalone || traces || NO.test(env("OTEL_DENO") ?? "")) return;
  log.warn("this executable exports no traces, whatever OTEL_DENO says");
}
