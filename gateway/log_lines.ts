/**
 * Log records as lines: text for people or JSON for machines. Whatever a client or a plugin put into a value, a record stays one line and
 * carries no terminal escapes.
 *
 * @module
 */

import type { LogRecord as LogtapeRecord } from "@logtape/logtape";

export interface LineOptions {
  readonly format: "text" | "json";
  /** With `text`: the stack of an error stands below its record, a line a frame. */
  readonly stacksBelow?: boolean;
}

/** A value of a record that is longer as text is cut: no single record is large. In UTF-16 code units. */
export const MAX_VALUE_CHARS = 16_384;

/** The field that correlates records of one request; shown as `[trace:<id>]` in text. */
const TRACE_FIELD = "traceId";
/** What begins a line that is no record. Records begin with their time, so neither can be taken for the other. */
const BELOW = "    ";

/** What makes a line of a record, or of one with errors several. */
export function lineFormat(
  { format, stacksBelow }: LineOptions,
): (record: LogtapeRecord) => string {
  if (format === "json") return jsonLine;
  return stacksBelow ? textWithStacks : textLine;
}

function levelName(record: LogtapeRecord): string {
  return record.level === "warning" ? "warn" : record.level;
}

// `rawMessage` and not `message`: a plugin's text may hold braces, which are no placeholders here.
function messageOf({ rawMessage }: LogtapeRecord): string {
  return cut(typeof rawMessage === "string" ? rawMessage : rawMessage.join(""));
}

function cut(text: string): string {
  return text.length <= MAX_VALUE_CHARS
    ? text
    : `${text.slice(0, MAX_VALUE_CHARS)}… (cut from ${text.length} characters)`;
}

function jsonLine(record: LogtapeRecord): string {
  const fields = {
    time: new Date(record.timestamp).toISOString(),
    level: levelName(record),
    message: messageOf(record),
    ...record.properties,
  };
  // Field by field: one that cannot be written does not take the others with it.
  const members = Object.entries(fields).filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${JSON.stringify(key)}:${stringify(value)}`);
  return escapeControls(`{${members.join(",")}}`);
}

function textWithStacks(record: LogtapeRecord): string {
  const frames: string[] = [];
  const line = textLine(record, frames);
  return frames.length === 0 ? line : `${line}\n${below(frames)}`;
}

/** What stands in these lines may be a client's (a part of an error's message): each stays a line, and no record. */
export function below(lines: readonly string[]): string {
  return lines.map((line) => (BELOW + escapeControls(line)).trimEnd()).join("\n");
}

/** @param frames takes the frames of the errors in the record, which are not in the line then */
function textLine(record: LogtapeRecord, frames?: string[]): string {
  const parts = [
    new Date(record.timestamp).toISOString(),
    levelName(record).toUpperCase().padEnd(5),
  ];
  const trace = record.properties[TRACE_FIELD];
  if (trace !== undefined) parts.push(`[trace:${trace}]`);
  parts.push(messageOf(record));
  for (const [key, value] of Object.entries(record.properties)) {
    if (value === undefined || key === TRACE_FIELD) continue;
    parts.push(`${key}=${textValue(frames ? withoutStacks(value, frames) : value)}`);
  }
  return escapeControls(parts.join(" "));
}

function textValue(value: unknown): string {
  const isPlain = typeof value === "string" && value.length <= MAX_VALUE_CHARS &&
    /^[\w./:@*-]+$/.test(value);
  return isPlain ? value : stringify(value);
}

/** How deep errors are looked for: a field, and what a plugin gave as its fields. */
const ERROR_DEPTH = 2;

/** `value` with each error in it as `name: message`, whose frames are added to `frames`. */
function withoutStacks(value: unknown, frames: string[], depth = 0): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const { name, message, stack } = value as Readonly<Record<string, unknown>>;
  if (typeof name === "string" && typeof message === "string" && typeof stack === "string") {
    const head = `${name}: ${message}`;
    const rest = stack.startsWith(head) ? stack.slice(head.length) : stack;
    frames.push(...rest.split("\n").map((line) => line.trim()).filter((line) => /^at /.test(line)));
    return head;
  }
  if (depth === ERROR_DEPTH || value instanceof Error) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, withoutStacks(each, frames, depth + 1)]),
  );
}

/** JSON of anything, or of the beginning of it; never throws. */
function stringify(value: unknown): string {
  // Most values are one of these, and the general way takes ten times as long.
  if (typeof value === "string") return JSON.stringify(cut(value));
  if (typeof value === "number" || typeof value === "boolean") return JSON.stringify(value);
  const text = json(value);
  return text.length <= MAX_VALUE_CHARS ? text : JSON.stringify(cut(text));
}

function json(value: unknown): string {
  const above: unknown[] = [];
  try {
    return JSON.stringify(value, function (this: unknown, _, each: unknown): unknown {
      while (above.length > 0 && above.at(-1) !== this) above.pop();
      const shown = each instanceof Error
        ? { name: each.name, message: each.message, stack: each.stack }
        : each;
      if (typeof shown === "bigint") return String(shown);
      if (above.includes(shown)) return "[circular]";
      if (typeof shown === "object" && shown !== null) above.push(shown);
      return shown;
    }) ?? "null";
  } catch {
    return '"[unprintable]"';
  }
}

// deno-lint-ignore no-control-regex -- finding control characters is the point
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * C0, DEL, C1, the line separators, and what turns the direction of writing and so shows a line's end before its beginning (CVE-2021-42574),
 * as `\u` escapes, which are right in JSON too.
 */
export function escapeControls(line: string): string {
  return line.replace(CONTROLS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
