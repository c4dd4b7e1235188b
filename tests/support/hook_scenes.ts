/**
 * Requests with two plugins that do anything on them, right or wrong, drawn by `fast-check`.
 *
 * @module
 */

import fc from "fast-check";
import { type HookProgram, ODD_VALUES, type Step } from "./hook_programs.ts";

/** One request, what each plugin does on it, and how the upstream answers. */
export interface Scene {
  readonly programs: readonly [HookProgram, HookProgram];
  readonly method: "GET" | "POST" | "HEAD";
  readonly onHookError: "continue" | "reject";
  readonly answer: keyof typeof ANSWERS;
  /** Of the answer, and of what a POST brings. */
  readonly body: string;
}

/** Stands for the address of the upstream, where a forward is allowed to go. */
export const UPSTREAM = "$UPSTREAM";

/** What the upstream answers. */
export const ANSWERS = {
  text: { status: 200, headers: { "content-type": "text/plain", "etag": '"1"', "x-a": "u" } },
  empty: { status: 204, headers: { "x-list": "a, b" } },
  cookies: { status: 200, headers: { "set-cookie": ["a=1", "b=2; Path=/, c"], "x_a": "alias" } },
  missing: { status: 404, headers: { "content-type": "application/json" } },
  events: { status: 200, headers: { "content-type": "Text/Event-Stream; a=b" } },
  part: { status: 206, headers: { "content-range": "bytes 0-1/5", "content-type": "a/b" } },
} as const;

/** The last one is over the inline limit. */
export const BODIES = ['{"a":1}', "no JSON", "x".repeat(70_000)] as const;

const one = (...values: readonly unknown[]) => fc.constantFrom(...values);
const text = one(...'a|1, 2||é|ÿ|😀|a b| a|a |a\tb|a\rb|\nb|\0|"b, c",|__proto__|%2e'.split("|"));
const odd = one(...Object.keys(ODD_VALUES).map((name) => ({ odd: name })));
const json = one(null, 0, 7.5, true, ["a", "b"], [], {}, { a: { b: [1] } });
const value = fc.oneof({ weight: 4, arbitrary: text }, { weight: 2, arbitrary: odd }, json);
const usual = (weight: number, ...values: readonly unknown[]) =>
  fc.oneof({ weight, arbitrary: one(...values) }, value);
const may =
  "x-a X-A x_a X.a x-list X-Field accept content-type etag set-cookie vary __proto__ constructor";
const mayNot =
  "connection Proxy-X content-length host X_Forwarded_For x-request-id x-real-ip te é access-control-max-age";
const name = usual(12, ...`${may} ${may} ${mayNot} content-encoding`.split(" "), "a b");
const status = usual(9, 200, 201, 204, 205, 206, 304, 401, 599, 0, 99, 199, 600, 200.5, "200");
const path = usual(6, ..."/ /p /a/../b //c /%61 /a%2fb /%zz p /a?b /a#b /é *".split(" "), "");
const query = usual(6, "", "a=1", "?a", "a=%zz", "a#b", "a b", "é", "a=1&a=2");
const key = one("k", "a.b", "", "__proto__", "constructor", "toString", "é");
const headers = fc.oneof(
  fc.dictionary(one("x-r", "X-R", "content-type", "te", "é") as fc.Arbitrary<string>, value, {
    maxKeys: 2,
  }),
  value,
);
const allowed = ["/f", "/f?g=1&h", "/a/../%62", ""].map((rest) => UPSTREAM + rest);
const target = usual(
  6,
  ...allowed,
  "http://169.254.169.254/",
  "/f",
  "ftp://a/",
  "http://u:p@a.test/",
);
const call = (weight: number, calls: string, ...args: readonly fc.Arbitrary<unknown>[]) => ({
  weight,
  arbitrary: fc.tuple(one(...calls.split(" ")), ...args) as fc.Arbitrary<unknown> as fc.Arbitrary<
    Step
  >,
});
const step = fc.oneof(
  call(4, "upstream.setHeader upstream.appendHeader", name, value),
  call(5, "response.setHeader response.appendHeader", name, value),
  call(3, "upstream.deleteHeader response.deleteHeader", name),
  call(2, "response.setStatus", status),
  call(2, "response.setBody user", value),
  call(2, "upstream.setPath", path),
  call(1, "upstream.setQuery", query),
  call(2, "state", key, value),
  call(1, "forward", target),
  call(1, "reject", status, value),
  call(1, "reject", status, value, headers),
  call(1, "throw return", value),
  call(1, "wait"),
  call(1, "request.text request.json request.bytes response.text response.json response.bytes"),
  call(1, "request.header request.headerValues response.header", name),
  call(4, "see", one("1", "2")),
);
// What waits within `try` may end after its hook, and where a line of the log stands that comes so late nobody says.
const steps = fc.array(
  fc.oneof(
    { weight: 16, arbitrary: step },
    call(2, "try", fc.array(step, { minLength: 1, maxLength: 2 })),
    call(1, "log.info log.error", value, value),
  ),
  { maxLength: 5 },
);
const program: fc.Arbitrary<HookProgram> = fc.record({
  beforeRequest: steps,
  afterResponse: steps,
});

export const scenes: fc.Arbitrary<Scene> = fc.record({
  programs: fc.tuple(program, program),
  method: fc.constantFrom("GET", "POST", "HEAD"),
  onHookError: fc.constantFrom("continue", "reject"),
  body: fc.constantFrom(...BODIES),
  answer: fc.constantFrom(...Object.keys(ANSWERS) as (keyof typeof ANSWERS)[]),
});
