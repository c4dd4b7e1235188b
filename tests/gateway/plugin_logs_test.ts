import { assert, assertEquals } from "@std/assert";
import type { Log, LogFields, LogLevel } from "../../gateway/log.ts";
import { PluginLogs } from "../../gateway/plugin_logs.ts";

/** What plugins log, with a clock of the test's. */
function pluginLogs(
  limits: { readonly records?: number; readonly bytes?: number; readonly level?: LogLevel },
) {
  const written: {
    readonly level: LogLevel;
    readonly message: string;
    readonly fields: LogFields;
  }[] = [];
  const dropped: string[] = [];
  const at = (level: LogLevel) => (message: string, fields: LogFields = {}) => {
    written.push({ level, message, fields });
  };
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  const clock = { ms: 0 };
  const logs = new PluginLogs({
    log,
    metrics: { logRecordDropped: (from) => dropped.push(from) },
    level: limits.level ?? "info",
    limits: {
      pluginRecordsPerSecond: limits.records ?? 0,
      pluginBytesPerSecond: limits.bytes ?? 0,
    },
    clock: () => clock.ms,
  });
  return { logs, written, dropped, clock };
}

function logMany(log: Log, count: number, fields: LogFields = {}): void {
  for (let n = 0; n < count; n++) log.info("chatter", fields);
}

Deno.test("plugin logs: ten seconds' worth at once, then so many a second; the rest is counted and told in one line", () => {
  const { logs, written, dropped, clock } = pluginLogs({ records: 5 });
  logMany(logs.of("001-a"), 1_000_000);
  assertEquals([written.length, dropped.length], [50, 999_950]);
  clock.ms = 2000;
  logMany(logs.of("001-a"), 100);
  assertEquals(written.length, 60);
  logs.tell();
  assertEquals(written.slice(60), [{
    level: "warn",
    message: "log records were dropped",
    fields: { from: "plugin 001-a", records: 1_000_040 },
  }]);
  logs.tell();
  assertEquals(written.length, 61, "told once");
  clock.ms = 3_600_000;
  logMany(logs.of("001-a"), 100);
  assertEquals(written.length, 61 + 50, "an hour of silence earns no more than ten seconds");
  logs.tell();
});

Deno.test("plugin logs: bytes are limited as records are; nobody's share is another's", () => {
  const { logs, written, dropped } = pluginLogs({ bytes: 1000 });
  logMany(logs.of("001-a"), 100, { fields: { text: "x".repeat(989) } });
  assert(written.length >= 9 && written.length <= 11, `${written.length} records of 1000 bytes`);
  const count = written.length;
  for (const other of [logs.of("002-b"), logs.about("001-a"), logs.output]) other.info("short");
  assertEquals(written.length, count + 3);
  assertEquals(new Set(dropped), new Set(["plugin 001-a"]));
  logs.tell();
});

Deno.test("plugin logs: what is written as an escape counts as one, and a single huge record passes", () => {
  const { logs, written } = pluginLogs({ bytes: 60 });
  logMany(logs.of("001-a"), 10, { text: "\u0000".repeat(50) }); // 300 bytes each
  assert(written.length <= 2, `${written.length} records`);
  logMany(logs.of("002-b"), 10, { deep: { text: ["x".repeat(10_000_000)] } });
  assertEquals(written.filter(({ fields }) => "deep" in fields).length, 1);
  logs.tell();
});

Deno.test("plugin logs: 0 is no limit; what the level leaves out counts for nothing", () => {
  const free = pluginLogs({});
  logMany(free.logs.of("001-a"), 5000);
  assertEquals([free.written.length, free.dropped.length], [5000, 0]);
  const limited = pluginLogs({ records: 1, level: "warn" });
  const log = limited.logs.of("001-a");
  logMany(log, 5000);
  log.error("what matters");
  assertEquals(limited.written.map(({ message }) => message), ["what matters"]);
  assertEquals(limited.dropped, []);
});

Deno.test("plugin logs: however many names of plugins a host makes up, the limits hold for all of them together", () => {
  const { logs, written } = pluginLogs({ records: 1 });
  for (let n = 0; n < 100_000; n++) logs.of(`made-up-${n}`).info("one each");
  assert(written.length <= 1000 + 10, `${written.length} records`);
  logs.tell();
});
