/**
 * `log` objects for plugins, the records they make, and how those leave that belong to no result.
 *
 * @module
 */

import type { Connection } from "../protocol/connection.ts";
import type { FromIsolate, LogRecord } from "../protocol/messages.ts";
import { messageText, toJsonFields } from "./json.ts";
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
  if (typeof message === "string") {
    return { level, message, ...(fields ? { fields: toJsonFields(fields) } : {}) };
  }
  const error = (message as unknown) instanceof Error ? { error: message } : undefined;
  return logRecord(level, messageText(message), fields ?? error);
}

/** A plugin that logs in a loop fills no memory, and does not overflow the connection that results go over too. */
const MAX_WAITING_BYTES = 1024 * 1024;

/** Sends records by themselves. What the gateway does not take in time is dropped, and it is told how many those were. */
export class LogSender {
  readonly #connection: Connection<FromIsolate>;
  #dropped = 0;

  constructor(connection: Connection<FromIsolate>) {
    this.#connection = connection;
  }

  send(record: Omit<Extract<FromIsolate, { type: "log" }>, "type">): void {
    if (this.#connection.queuedBytes > MAX_WAITING_BYTES) return this.#drop();
    try {
      this.#connection.send({ type: "log", ...record });
    } catch {
      this.#drop(); // larger than a frame may be
    }
  }

  #drop(): void {
    if (this.#dropped++ === 0) void this.#connection.flushed().then(() => this.#tell());
  }

  #tell(): void {
    if (this.#connection.queuedBytes > MAX_WAITING_BYTES) return; // the gateway is gone
    const records = this.#dropped;
    this.#dropped = 0;
    this.send({
      level: "warn",
      message: "log records were dropped in an isolate",
      fields: { records },
    });
  }
}
