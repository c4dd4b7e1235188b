/**
 * Logs: set up for a process, with what makes lines of records (`log_lines.ts`) and what writes them (`log_output.ts`).
 *
 * @module
 */

import { configureSync, getLogger, type LogRecord as LogtapeRecord } from "@logtape/logtape";
import { below, lineFormat, type LineOptions } from "./log_lines.ts";
import { LogOutput } from "./log_output.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogOptions extends LineOptions {
  readonly level: LogLevel;
  /** Stand in every record. */
  readonly fields?: LogFields;
  /** Other processes write to the same standard output. */
  readonly isShared?: boolean;
  /** Where the lines go instead of standard output. */
  readonly write?: (lines: string) => void;
}

/** Lines are written together, at most this long after the first. */
const FLUSH_MS = 5;

/**
 * Sets up logging for this process.
 *
 * @returns the log; `flush`, which begins to write what waits; `end`, which also waits for that, a second at most (before the process
 * ends); `lostLines`, how many could not be written; `configure`, by which format and level change; and `print`, which writes a block of lines below the last record. It is no part of `Log`, so that whoever handles requests does not have it: it is for what comes
 * from an author's own files.
 */
export function startLog(options: LogOptions): {
  readonly log: Log;
  readonly flush: () => void;
  readonly end: () => Promise<void>;
  readonly lostLines: () => number;
  readonly print: (block: string) => void;
  readonly configure: (options: Pick<LogOptions, "format" | "level">) => void;
} {
  let format = lineFormat(options);
  const output = new LogOutput({
    stream: Deno.stdout,
    isShared: options.isShared,
    onBack: (lost) => log.warn("log lines were lost", lost),
  });
  const write = options.write ?? ((lines: string) => output.write(lines));
  let waiting = "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    const lines = waiting;
    waiting = "";
    if (lines !== "") write(lines);
  };
  const sink = (record: LogtapeRecord) => {
    waiting += format(record) + "\n";
    timer ??= setTimeout(flush, FLUSH_MS);
    if (record.level === "error" || record.level === "fatal") flush();
  };
  const configure = ({ level }: Pick<LogOptions, "level">) =>
    configureSync({
      reset: true,
      sinks: { lines: sink },
      loggers: [
        {
          category: ["conduit"],
          sinks: ["lines"],
          lowestLevel: level === "warn" ? "warning" : level,
        },
        { category: ["logtape", "meta"], sinks: ["lines"], lowestLevel: "error" },
      ],
    });
  configure(options);
  const logger = getLogger(["conduit"]);
  const log = logTo((level, message, fields) =>
    logger[level](message, { ...options.fields, ...fields })
  );
  return {
    log,
    flush,
    async end() {
      flush();
      await output.end();
    },
    lostLines: () => output.lostLines,
    configure(next) {
      format = lineFormat({ ...options, ...next });
      configure(next);
    },
    print(block) {
      waiting += below(block.split("\n")) + "\n";
      flush();
    },
  };
}

/** A log whose records go to `write`. */
export function logTo(
  write: (level: LogLevel, message: string, fields: LogFields) => void,
): Log {
  const at = (level: LogLevel) => (message: string, fields: LogFields = {}) =>
    write(level, message, fields);
  return Object.freeze({
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
  });
}

const encoder = new TextEncoder();

/** Writes all of `text`. Where nobody reads it any more (a closed pipe, a full disk) the program goes on without it. */
export function writeAll(
  stream: { writeSync(bytes: Uint8Array): number },
  text: string,
): void {
  const bytes = encoder.encode(text);
  try {
    for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
  } catch {
    // Lost, as said above.
  }
}
