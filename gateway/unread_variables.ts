/**
 * Variables of Deno that are read when an executable is compiled, and not when it runs: whoever sets them there is told that nothing comes
 * of it.
 *
 * @module
 */

import type { Log } from "./log.ts";

const NO = /^(?:|0|false)$/;

/** @param options.traces whether this process exports traces all the same, since it was compiled to */
export function warnOfUnreadVariables(
  log: Log,
  { standalone, env, traces }: {
    /** Whether this is an executable. */
    readonly standalone: boolean;
    readonly env: (name: string) => string | undefined;
    readonly traces: boolean;
  },
): void {
  if (!standalone) return;
  const names = [
    ...(!traces && !NO.test(env("OTEL_DENO") ?? "") ? ["OTEL_DENO"] : []),
    ...(env("DENO_CERT") ? ["DENO_CERT"] : []),
  ];
  if (names.length === 0) return;
  log.warn("an executable does not read these variables", { names: names.join(", ") });
}
