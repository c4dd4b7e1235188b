/**
 * Logs: one line a record, as text for people or JSON for machines. Whatever a client or a plugin put into a value,
 * a record stays one line and carries no terminal escapes.
 *
 * @module
 */

import { configureSync, getLogger, type LogRecord as LogtapeRecord } from "@logtape/logtape";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly format: "text" | "json";
  readonly level: LogLevel;
  /** Where the lines go; standard output unless a test says otherwise. */
  readonly write?: (lines: string) => void;
}

/** The field that correlates records of one request; shown as `[trace:<id>]` in text. */
const TRACE_FIELD = "traceId";
/** Lines are written together, at most this long after the first. */
const FLUSH_MS = 5;

/**
 * Sets up logging for this process.
 *
 * @returns the log, and `flush`, which writes what waits (before the process ends)
 */
export function startLog(options: LogOptions): { readonly log: Log; readonly flush: () => void } {
  const format = options.format === "json" ? jsonLine : textLine;
  const write = options.write ?? writeToStdout;
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
  configureSync({
    reset: true,
    sinks: { lines: sink },
    loggers: [
      {
        category: ["conduit"],
        sinks: ["lines"],
        lowestLevel: options.level === "warn" ? "warning" : options.level,
      },
      { category: ["logtape", "meta"], sinks: ["lines"], lowestLevel: "error" },
    ],
  });
  const logger = getLogger(["conduit"]);
  const at = (level: LogLevel) => (message: string, fields: LogFields = {}) =>
    logger[level](message, { ...fields });
  return {
    log: Object.freeze({
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
    }),
    flush,
  };
}

/** A log that adds `fields` to every record. */
export function logWith(log: Log, fields: LogFields): Log {
  const at = (level: LogLevel) => (message: string, more?: LogFields) =>
    log[level](message, { ...fields, ...more });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

const encoder = new TextEncoder();

function writeToStdout(lines: string): void {
  const bytes = encoder.encode(lines);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  } catch {
    // Nobody reads the log any more (a closed pipe, a full disk): serving goes on without it.
  }
}

function levelName(record: LogtapeRecord): string {
  return record.level === "warning" ? "warn" : record.level;
}

// `rawMessage` and not `message`: a plugin's text may hold braces, which are no placeholders here.
function messageOf({ rawMessage }: LogtapeRecord): string {
  return typeof rawMessage === "string" ? rawMessage : rawMessage.join("");
}

function jsonLine(record: LogtapeRecord): string {
  return escapeControls(stringify({
    time: new Date(record.timestamp).toISOString(),
    level: levelName(record),
    message: messageOf(record),
    ...record.properties,
  }));
}

function textLine(record: LogtapeRecord): string {
  const parts = [
    new Date(record.timestamp).toISOString(),
    levelName(record).toUpperCase().padEnd(5),
  ];
  const trace = record.properties[TRACE_FIELD];
  if (trace !== undefined) parts.push(`[trace:${trace}]`);
  parts.push(messageOf(record));
  for (const [key, value] of Object.entries(record.properties)) {
    if (value !== undefined && key !== TRACE_FIELD) parts.push(`${key}=${textValue(value)}`);
  }
  return escapeControls(parts.join(" "));
}

function textValue(value: unknown): string {
  return typeof value === "string" && /^[\w./:@*-]+$/.test(value) ? value : stringify(value);
}

function stringify(value: unknown): string {
  try {
    return JSON.stringify(
      value,
      (_, each) =>
        each instanceof Error
          ? { name: each.name, message: each.message, stack: each.stack }
          : each,
    ) ?? String(value);
  } catch {
    return JSON.stringify(String(value));
  }
}

// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

/** C0, DEL, C1 and the line separators, as `\u` escapes, which are right in JSON too. */
function escapeControls(line: string): string {
  return line.replace(CONTROLS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
