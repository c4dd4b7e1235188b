import { assert, assertEquals } from "@std/assert";
import { type Log, startLog } from "../../gateway/log.ts";

/** The lines of the log of `conduit dev`. */
function logged(use: (log: Log, print: (block: string) => void) => void): string[] {
  let text = "";
  const { log, flush, print } = startLog({
    format: "text",
    level: "debug",
    stacksBelow: true,
    write: (lines) => text += lines,
  });
  use(log, print);
  flush();
  return text.split("\n").slice(0, -1).map((line) => line.replace(/^\S+Z /, ""));
}

const thrown = (message: string, frames: readonly string[]) => ({
  name: "TypeError",
  message,
  stack: `TypeError: ${message}\n${frames.map((each) => `    at ${each}`).join("\n")}`,
});

Deno.test("the stack of an error stands below its record, a line a frame", () => {
  const error = thrown("no user", ["beforeRequest (001-a.ts:4:11)", "b (_b.ts:1:2)"]);
  const below = ["    at beforeRequest (001-a.ts:4:11)", "    at b (_b.ts:1:2)"];
  assertEquals(
    logged((log) => log.error("hook failed", { hook: "beforeRequest", error })),
    ['ERROR hook failed hook=beforeRequest error="TypeError: no user"', ...below],
  );
  assertEquals(
    logged((log) => log.warn("noted", { plugin: "001-a", fields: { n: 1, error } })),
    ['WARN  noted plugin=001-a fields={"n":1,"error":"TypeError: no user"}', ...below],
  );
});

Deno.test("attack 31 in dev: no value begins a line, whether it is an error's message, its stack or no error at all", () => {
  const hostile = "x\n2026-01-01T00:00:00.000Z ERROR forged\n    at forged (001-a.ts:1:1)\x1b[2J";
  const values: unknown[] = [
    hostile,
    thrown(hostile, ["a (001-a.ts:1:1)"]),
    { name: "E", message: "m", stack: hostile },
    { name: hostile, message: hostile, stack: hostile },
    { name: { toString: null }, message: [], stack: {} },
    [{ name: "E", message: "m", stack: hostile }],
    new Error(hostile),
  ];
  for (const value of values) {
    const lines = logged((log) => log.error("hook failed", { value, fields: { value } }));
    const [first = "", ...rest] = lines;
    assert(first.startsWith("ERROR hook failed value="), first);
    for (const line of rest) assert(line.startsWith("    at "), line);
    assert(lines.every((line) => !/[\p{Cc}\u2028\u2029]/u.test(line)));
  }
});

Deno.test("a value that holds itself is no hindrance", () => {
  const ring: Record<string, unknown> = { a: 1 };
  ring.ring = ring;
  assertEquals(logged((log) => log.info("m", { ring })).length, 1);
});

Deno.test("a block is printed below the record before it, indented and without control characters", () => {
  assertEquals(
    logged((log, print) => {
      log.warn("the plugins have type errors");
      print("TS1: bad\n\n  x\ty\x1b[31m\n2026-01-01T00:00:00.000Z ERROR forged");
      log.info("after");
    }),
    [
      "WARN  the plugins have type errors",
      "    TS1: bad",
      "",
      "      x\\u0009y\\u001b[31m",
      "    2026-01-01T00:00:00.000Z ERROR forged",
      "INFO  after",
    ],
  );
});
