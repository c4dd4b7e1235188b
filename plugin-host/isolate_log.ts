/**
 * `log` objects for plugins, and the records they make.
 *
 * @module
 */

import type { LogRecord } from "../protocol/messages.ts";
import { toJsonFields } from "./json.ts";
import type { Log, LogFields } from "./mod.ts";

/** A log whose records go to `write`. */
export function isolateLog(write: (record: LogRecord) => void): Log {
  const at = (level: LogRecord["level"]) => (message: string, fields?: LogFields) =>
    write(logRecord(level, message, fields));
  return Object.freeze({
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
  });
}

/** One record with its fields made JSON. */
export function logRecord(
  level: LogRecord["level"],
  message: string,
  fields?: LogFields,
): LogRecord {
  return { level, message: String(message), ...(fields ? { fields: toJsonFields(fields) } : {}) };
}
