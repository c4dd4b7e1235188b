/**
 * One of several gateway processes, seen from inside: what its parent tells it over stdin, and its share of the log.
 *
 * @module
 */

import { jsonLines } from "../../protocol/json_lines.ts";
import type { Config } from "../config.ts";

/** The command that a parent starts its processes with. It is no user's: without a parent's line on stdin it ends. */
export const PROCESS_COMMAND = "process";

/** The first line on stdin. The configuration holds secrets, so it stands neither on the command line nor in the environment. */
export interface ProcessInit {
  /** Of the parent; after an update on disk a process of another version must not begin beside the old ones. */
  readonly version: string;
  readonly config: Config;
}

/** Every later line on stdin. */
export interface ProcessCommand {
  readonly command: "stop";
}

/** This process cannot be one of several; the message says why. */
export class ProcessInitError extends Error {
  override readonly name = "ProcessInitError";
}

/**
 * Takes what the parent says. When it is gone, this process ends at once: the port must be free for the next one.
 *
 * @returns the configuration, and what resolves when this process is to end. SIGINT is not its affair: a terminal sends that
 * to the parent too.
 * @throws {ProcessInitError}
 */
export async function joinProcesses(
  version: string,
): Promise<{ readonly config: Config; readonly stopped: Promise<undefined> }> {
  const lines = jsonLines(Deno.stdin.readable);
  const init = await firstLine(lines);
  if (init.version !== version) {
    throw new ProcessInitError(
      `this is conduit ${version} and its parent ${init.version}; restart the whole of it`,
    );
  }
  const { promise: stopped, resolve } = Promise.withResolvers<undefined>();
  Deno.addSignalListener("SIGINT", () => {});
  Deno.addSignalListener("SIGTERM", () => resolve(undefined));
  void (async () => {
    for await (const line of lines) {
      if ((line as ProcessCommand).command === "stop") resolve(undefined);
    }
    Deno.exit(1);
  })();
  return { config: init.config, stopped };
}

async function firstLine(lines: AsyncGenerator<unknown>): Promise<ProcessInit> {
  const { value } = Deno.stdin.isTerminal() ? {} : await lines.next().catch(() => ({ value: {} }));
  if (value?.version !== undefined && value.config !== undefined) return value;
  throw new ProcessInitError(
    `"${PROCESS_COMMAND}" is started by conduit itself; use conduit run with "processes" in the configuration`,
  );
}

/** What a pipe takes as a whole, however full it is and whoever else writes to it (PIPE_BUF, pipe(7)). */
const ATOMIC_BYTES = 4096;
const NEWLINE = 0x0a;

/**
 * Writes lines to the standard output that several processes share, each line as a whole. One that is longer than
 * `ATOMIC_BYTES` can be broken by another's where the reader is so slow that the pipe is full.
 */
export function writeSharedLog(lines: string): void {
  const bytes = new TextEncoder().encode(lines);
  try {
    for (let at = 0; at < bytes.length;) {
      at += Deno.stdout.writeSync(bytes.subarray(at, endOfChunk(bytes, at)));
    }
  } catch {
    // Nobody reads it any more: the program goes on without it.
  }
}

/** Behind the last line that fits, or behind the first one if that is too long. */
function endOfChunk(bytes: Uint8Array, from: number): number {
  if (bytes.length - from <= ATOMIC_BYTES) return bytes.length;
  const last = bytes.lastIndexOf(NEWLINE, from + ATOMIC_BYTES - 1);
  return (last >= from ? last : bytes.indexOf(NEWLINE, from)) + 1 || bytes.length;
}
