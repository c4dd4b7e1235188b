import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Log, type LogLevel, startLog, writeAll } from "../../gateway/log.ts";

type Format = "text" | "json";

/** What `use` logs, as lines. */
function logged(format: Format, use: (log: Log) => void, level: LogLevel = "debug"): string[] {
  let text = "";
  const { log, flush } = startLog({ format, level, write: (lines) => text += lines });
  use(log);
  flush();
  assert(text === "" || text.endsWith("\n"));
  return text.split("\n").slice(0, -1);
}

function jsonOf(use: (log: Log) => void) {
  const lines = logged("json", use);
  assertEquals(lines.length, 1);
  return JSON.parse(lines[0] ?? "");
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/;

Deno.test("a text line has the time, the level, the trace, the message and the fields", () => {
  const [line = ""] = logged(
    "text",
    (log) =>
      log.warn("hook timed out", {
        traceId: "t-1",
        plugin: "001-auth",
        n: 5,
        none: undefined,
        o: { a: [1] },
      }),
  );
  assertMatch(line, TIME);
  assertEquals(
    line.replace(TIME, ""),
    ' WARN  [trace:t-1] hook timed out plugin=001-auth n=5 o={"a":[1]}',
  );
});

Deno.test("a JSON line has the same as members, the trace included", () => {
  const { time, ...rest } = jsonOf((log) =>
    log.error("it broke", { traceId: "t-1", none: undefined, n: null })
  );
  assertMatch(time, TIME);
  assertEquals(rest, { level: "error", message: "it broke", traceId: "t-1", n: null });
});

Deno.test("only the level and what is above it is written", () => {
  const all = (log: Log) => {
    for (const level of ["debug", "info", "warn", "error"] as const) log[level](level);
  };
  assertEquals(logged("json", all, "warn").map((line) => JSON.parse(line).message), [
    "warn",
    "error",
  ]);
  assertEquals(logged("text", all, "debug").length, 4);
});

/** ATTACKS 31: what a client can put into a path, a user agent, a request id, and a plugin anywhere. */
const HOSTILE: readonly string[] = [
  "a\nERROR forged",
  "a\r\n2026-01-01T00:00:00.000Z ERROR forged",
  'quote " and \\ and {brace} {0} %s',
  "\x1b[2J\x1b]0;title\x07",
  "\u0000\u0008\u007f",
  "\u0085\u009b31m",
  "\u2028 \u2029",
  "\u202e204 nimda/ TEG\u202c \u2067a\u2069 \u200f\u061c",
  "\ud800 lone",
  "[trace:forged]",
  "a=1 level=error",
];
const WHERE: Readonly<Record<string, (log: Log, text: string) => void>> = {
  message: (log, text) => log.info(text),
  "trace id": (log, text) => log.info("m", { traceId: text }),
  field: (log, text) => log.info("m", { value: text }),
  "nested field": (log, text) => log.info("m", { value: { deep: [text] } }),
  "field name": (log, text) => log.info("m", { value: { [text]: 1 } }),
  error: (log, text) => log.info("m", { error: new Error(text) }),
};
for (const [where, put] of Object.entries(WHERE)) {
  Deno.test(`hostile text as ${where} stays one line without control characters, and JSON parses to it`, () => {
    for (const text of HOSTILE) {
      for (const format of ["text", "json"] as const) {
        const lines = logged(format, (log) => put(log, text));
        assertEquals(lines.length, 1, JSON.stringify(text));
        assert(!/[\p{Cc}\p{Bidi_C}\u2028\u2029]/u.test(lines[0] ?? ""), JSON.stringify(lines));
      }
      const record = jsonOf((log) => put(log, text));
      if (where === "message") assertEquals(record.message, text);
      if (where === "trace id") assertEquals(record.traceId, text);
      if (where === "field") assertEquals(record.value, text);
      if (where === "nested field") assertEquals(record.value, { deep: [text] });
      if (where === "field name") assertEquals(record.value, { [text]: 1 });
      if (where === "error") assertEquals(record.error.message, text);
    }
  });
}

Deno.test("an Error in a field shows its name, message and stack, at any depth", () => {
  const { error, list } = jsonOf((log) =>
    log.error("m", { error: new TypeError("bad"), list: [{ cause: new Error("deep") }] })
  );
  assertEquals([error.name, error.message], ["TypeError", "bad"]);
  assert(error.stack.includes("log_test.ts"));
  assertEquals(list[0].cause.message, "deep");
});

Deno.test("what JSON cannot hold takes neither the record nor the other fields with it", () => {
  const ring: Record<string, unknown> = { a: 1 };
  ring.self = { ring };
  const shared = { s: 1 };
  const record = jsonOf((log) =>
    log.info("m", {
      ring,
      twice: [shared, shared],
      big: 12n,
      symbol: Symbol("x"),
      fn: () => {},
      throws: {
        get bad() {
          throw new Error("x");
        },
      },
      json: {
        toJSON() {
          throw new Error("x");
        },
      },
      after: "still here",
    })
  );
  assertEquals(record.message, "m");
  assertEquals(record.ring, { a: 1, self: { ring: "[circular]" } });
  assertEquals(record.twice, [{ s: 1 }, { s: 1 }]);
  assertEquals(record.big, "12");
  assertEquals([record.throws, record.json], ["[unprintable]", "[unprintable]"]);
  assertEquals(record.after, "still here");
  assertEquals(logged("text", (log) => log.info("m", { ring, big: 1n })).length, 1);
});

Deno.test("an error is written at once; the rest together, in order, and soon by itself", async () => {
  const writes: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const { log } = startLog({
    format: "json",
    level: "info",
    write: (lines) => {
      writes.push(lines);
      if (writes.length === 2) resolve();
    },
  });
  log.info("1");
  log.info("2");
  assertEquals(writes, []);
  log.error("3");
  assertEquals(writes.length, 1);
  assertEquals(writes[0]?.trim().split("\n").map((line) => JSON.parse(line).message), [
    "1",
    "2",
    "3",
  ]);
  log.info("4");
  await promise;
  assertEquals(JSON.parse(writes[1] ?? "").message, "4");
});

Deno.test("writing goes on after a partial write, and ends in silence where nobody reads", () => {
  const parts: string[] = [];
  writeAll({
    writeSync(bytes) {
      parts.push(new TextDecoder().decode(bytes.subarray(0, 3)));
      return Math.min(3, bytes.length);
    },
  }, "abcdefgh");
  assertEquals(parts.join(""), "abcdefgh");
  writeAll({
    writeSync() {
      throw new Deno.errors.BrokenPipe();
    },
  }, "x");
});

Deno.test("no record is large: a message or field of a megabyte is cut, and says so", () => {
  const huge = "x".repeat(1_000_000);
  const use = (log: Log) =>
    log.error(huge, { text: huge, deep: { text: huge }, error: new Error(huge), n: 1 });
  for (const format of ["json", "text"] as const) {
    const [line = ""] = logged(format, use);
    assert(line.length < 100_000, `${line.length} characters`);
    assertEquals(line.match(/… \(cut from \d+ characters\)/g)?.length, 4);
    if (format === "json") assertEquals(JSON.parse(line).n, 1);
  }
});
