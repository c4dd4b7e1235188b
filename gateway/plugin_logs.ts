/**
 * What plugins cause to be logged, within limits, so that none of them fills the disk: each has so many records and bytes a
 * second, with ten seconds' worth in advance. What is over is dropped, counted, and told in one line a while.
 *
 * @module
 */

import { type Log, type LogLevel, logTo } from "./log.ts";
import { MAX_VALUE_CHARS } from "./log_lines.ts";
import type { Metrics } from "./observe/metrics.ts";

export interface PluginLogLimits {
  /** 0 is no limit, as below. */
  readonly pluginRecordsPerSecond: number;
  /** Of messages and fields as they are written, roughly. */
  readonly pluginBytesPerSecond: number;
}

export interface PluginLogsOptions {
  readonly log: Log;
  readonly limits: PluginLogLimits;
  /** Records below it are not written anyway, and count for nothing. */
  readonly level: LogLevel;
  readonly metrics: Pick<Metrics, "logRecordDropped">;
  /** In ms; by default `performance.now`. */
  readonly clock?: () => number;
}

/** How much may come at once. */
const BURST_SECONDS = 10;
/** How long what is dropped is counted before a line tells of it. */
const DROPPED_NOTE_MS = 10_000;
/** Names of plugins come from the plugin host: what is beyond so many shares one limit. */
const MAX_SOURCES = 1000;
const OTHERS = "others";
const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export class PluginLogs {
  #options: PluginLogsOptions;
  readonly #sources = new Map<string, Source>();
  /** Records dropped, by where they came from, that no line has told of yet. */
  readonly #untold = new Map<string, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: PluginLogsOptions) {
    this.#options = options;
  }

  /** Other limits from now on, for every plugin with a full share. */
  configure(changed: Pick<PluginLogsOptions, "level" | "limits">): void {
    this.#options = { ...this.#options, ...changed };
    for (const source of this.#sources.values()) source.share = this.#share();
  }

  /** For what a plugin logs itself. */
  of(plugin: string): Log {
    return this.#source(`plugin ${plugin}`);
  }

  /** For what the gateway says of a plugin's hooks: neither takes the other's share. */
  about(plugin: string): Log {
    return this.#source(`hooks of ${plugin}`);
  }

  /** For what the process prints; which plugin it was cannot be told. */
  get output(): Log {
    return this.#source("plugin host output");
  }

  /** Tells of what was dropped since the last line about it. */
  tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { log } = this.#options;
    for (const [from, records] of this.#untold) {
      log.warn("log records were dropped", { from, records });
    }
    this.#untold.clear();
  }

  #source(name: string): Log {
    const known = this.#sources.get(name);
    if (known) return known.log;
    if (this.#sources.size >= MAX_SOURCES && name !== OTHERS) return this.#source(OTHERS);
    const log = logTo((level, message, fields) => {
      if (LEVELS.indexOf(level) < LEVELS.indexOf(this.#options.level)) return;
      const { records, bytes } = source.share;
      // Both have something left, or neither is charged.
      if (records.isEmpty || bytes.isEmpty) return this.#drop(name);
      records.take(1);
      bytes.take(sizeOf(message) + sizeOf(fields));
      this.#options.log[level](message, fields);
    });
    const source: Source = { log, share: this.#share() };
    this.#sources.set(name, source);
    return log;
  }

  #share(): Share {
    const { limits, clock = () => performance.now() } = this.#options;
    return {
      records: new Budget(limits.pluginRecordsPerSecond, clock),
      bytes: new Budget(limits.pluginBytesPerSecond, clock),
    };
  }

  #drop(name: string): void {
    this.#options.metrics.logRecordDropped(name);
    this.#untold.set(name, (this.#untold.get(name) ?? 0) + 1);
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.tell(), DROPPED_NOTE_MS);
    Deno.unrefTimer(this.#timer);
  }
}

interface Share {
  readonly records: Budget;
  readonly bytes: Budget;
}

/** Who has a share of the log. */
interface Source {
  readonly log: Log;
  share: Share;
}

/** About how many bytes of a line `value` takes; what is larger than a line has room for counts as that. */
function sizeOf(value: unknown): number {
  let size = 0;
  const add = (each: unknown): void => {
    if (size > MAX_VALUE_CHARS) return;
    if (typeof each === "string") size += bytesOf(each);
    else if (typeof each !== "object" || each === null) size += 8;
    else if (each instanceof Error) add(each.stack);
    else {
      for (const [key, member] of Object.entries(each)) {
        size += key.length + 4;
        add(member);
      }
    }
  };
  add(value);
  return size;
}

/** Control characters are written as escapes, others as UTF-8. */
function bytesOf(text: string): number {
  let bytes = 0;
  for (let at = 0; at < text.length && at < MAX_VALUE_CHARS; at++) {
    const code = text.charCodeAt(at);
    bytes += code < 0x20 ? 6 : code < 0x7f ? 1 : code < 0xa0 ? 6 : 3;
  }
  return bytes;
}

/** So much a second. The last one to take may take more than there is: what is owed is waited for. */
class Budget {
  readonly #perSecond: number;
  readonly #clock: () => number;
  #left: number;
  #at: number;

  constructor(perSecond: number, clock: () => number) {
    this.#perSecond = perSecond;
    this.#clock = clock;
    this.#left = perSecond * BURST_SECONDS;
    this.#at = clock();
  }

  get isEmpty(): boolean {
    if (this.#perSecond === 0) return false;
    const now = this.#clock();
    const earned = (now - this.#at) / 1000 * this.#perSecond;
    this.#left = Math.min(this.#left + earned, this.#perSecond * BURST_SECONDS);
    this.#at = now;
    return this.#left <= 0;
  }

  take(amount: number): void {
    this.#left -= amount;
  }
}
