import { assertEquals } from "@std/assert";
import type { Log } from "../../gateway/log.ts";
import { warnOfUnreadVariables } from "../../gateway/unread_variables.ts";

const BOTH = { OTEL_DENO: "true", DENO_CERT: "/etc/ca.pem" };

const CASES: readonly (readonly [
  what: string,
  options: { readonly standalone?: boolean; readonly traces?: boolean },
  env: Readonly<Record<string, string>>,
  names: string | undefined,
])[] = [
  ["an executable without either", {}, {}, undefined],
  ["an executable with both", {}, BOTH, "OTEL_DENO, DENO_CERT"],
  ["an executable that was compiled to trace", { traces: true }, BOTH, "DENO_CERT"],
  ["an executable whose traces are turned off", {}, { OTEL_DENO: "false" }, undefined],
  ["Deno itself", { standalone: false }, BOTH, undefined],
];
for (const [what, { standalone = true, traces = false }, env, names] of CASES) {
  Deno.test(`variables that are set for ${what}: the log names ${names ?? "none"}`, () => {
    const warnings: unknown[] = [];
    const warn: Log["warn"] = (message, fields) => warnings.push([message, fields]);
    const log: Log = { debug() {}, info() {}, warn, error() {} };
    warnOfUnreadVariables(log, { standalone, traces, env: (name) => env[name] });
    assertEquals(
      warnings,
      names ? [["an executable does not read these variables", { names }]] : [],
    );
  });
}
