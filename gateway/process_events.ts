/**
 * What happens to a process that serves: signals, and mistakes that nobody caught.
 *
 * @module
 */

import type { Log } from "./log.ts";

/** One Ctrl-C may arrive twice: from the terminal, and from `npx`, which hands on its own. */
const SAME_SIGNAL_MS = 100;

/** Resolves at the first SIGTERM or SIGINT; the second ends the process with `exitCode`. */
export function stopSignal(
  { log, end, exitCode, now = () => performance.now() }: {
    readonly log: Log;
    /** Writes the last lines of the log. */
    readonly end: () => Promise<void>;
    readonly exitCode: number;
    /** In ms. */
    readonly now?: () => number;
  },
): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  let first: { readonly signal: Deno.Signal; readonly at: number } | undefined;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => {
      if (first) {
        if (signal === first.signal && now() - first.at < SAME_SIGNAL_MS) return;
        log.warn("stopped at once", { signal });
        void end().then(() => Deno.exit(exitCode));
        return;
      }
      first = { signal, at: now() };
      log.info("stopping", { signal });
      resolve(undefined);
    });
  }
  return promise;
}

/**
 * Calls `reload` at each SIGHUP. Where the process was started in a terminal, a SIGHUP that comes because that has been closed stops it,
 * as it does any other program.
 */
export function onHangup(reload: () => void): void {
  const hadTerminal = Deno.stdin.isTerminal();
  Deno.addSignalListener("SIGHUP", () => {
    if (hadTerminal && !Deno.stdin.isTerminal()) Deno.kill(Deno.pid, "SIGTERM");
    else reload();
  });
}

/** A mistake of ours in one request must not end all the others. */
export function keepRunning(log: Log): void {
  addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    log.error("unhandled rejection in the gateway", { error: event.reason });
  });
  addEventListener("error", (event) => {
    event.preventDefault();
    log.error("uncaught error in the gateway", { error: event.error });
  });
}
