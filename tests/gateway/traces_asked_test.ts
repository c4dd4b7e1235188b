import { assertEquals } from "@std/assert";
import type { Log } from "../../gateway/log.ts";
import { warnOfNoTraces } from "../../gateway/cli/serve.ts";

const CASES: readonly (readonly [
  what: string,
  options: { readonly standalone?: boolean; readonly traces?: boolean },
  value: string | undefined,
  isTold: boolean,
])[] = [
  ["an executable that nobody asks for traces", {}, undefined, false],
  ["an executable that is asked for traces", {}, "true", true],
  ["an executable that was compiled to trace", { traces: true }, "true", false],
  ["an executable that is asked for none", {}, "false", false],
  ["Deno itself, which decides when it starts", { standalone: false }, "true", false],
];
for (const [what, { standalone = true, traces = false }, value, isTold] of CASES) {
  Deno.test(`OTEL_DENO and ${what}: the log ${isTold ? "warns" : "says nothing"}`, () => {
    const warnings: string[] = [];
    const warn: Log["warn"] = (message) => void warnings.push(message);
    const log: Log = { debug() {}, info() {}, warn, error() {} };
    const env = (name: string) => name === "OTEL_DENO" ? value : undefined;
    warnOfNoTraces(log, { standalone, traces, env });
    assertEquals(
      warnings,
      isTold ? ["this executable exports no traces, whatever OTEL_DENO says"] : [],
    );
  });
}
