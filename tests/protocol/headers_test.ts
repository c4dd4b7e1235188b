import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { appended, overlay, valueList } from "../../protocol/headers.ts";
import type { HeaderChange, HeaderMap, HeaderOverrides } from "../../protocol/snapshot.ts";

const FIELDS: HeaderMap = Object.freeze({ a: "1", "set-cookie": Object.freeze(["x=1", "y=2"]) });

function lines(headers: HeaderMap): Record<string, readonly string[]> {
  return Object.fromEntries(Object.entries(headers).map(([key, each]) => [key, valueList(each)]));
}

Deno.test("overlay replaces, removes and appends, and leaves its inputs alone", () => {
  const overrides: HeaderOverrides = Object.freeze({
    a: ["2", "3"],
    b: "4",
    "set-cookie": { append: ["z=3"] },
    c: { append: ["5"] },
  });
  assertEquals(lines(overlay(FIELDS, overrides)), {
    a: ["2", "3"],
    "set-cookie": ["x=1", "y=2", "z=3"],
    b: ["4"],
    c: ["5"],
  });
  assertEquals(lines(overlay(FIELDS, { a: [], absent: [] })), { "set-cookie": ["x=1", "y=2"] });
});

Deno.test("overlay treats __proto__ and constructor as names (attack 26)", () => {
  const hostile: HeaderOverrides = JSON.parse(
    '{"__proto__": {"append": ["1"]}, "constructor": {"append": ["2"]}, "toString": []}',
  );
  const merged = overlay(FIELDS, hostile);
  assertEquals(Object.getPrototypeOf(merged), null);
  assertEquals(Object.keys(merged), ["a", "set-cookie", "__proto__", "constructor"]);
  assertEquals(merged["constructor"], ["2"]);
});

Deno.test("appending step by step equals appending to the real field afterwards", () => {
  const value = fc.string({ maxLength: 3 });
  const base = fc.option(fc.oneof(value, fc.array(value, { minLength: 1 })), { nil: undefined });
  const change: fc.Arbitrary<HeaderChange | undefined> = fc.oneof(
    fc.constant(undefined),
    value,
    fc.array(value),
    fc.array(value).map((append) => ({ append })),
  );
  fc.assert(fc.property(base, change, fc.array(value), (field, first, more) => {
    const headers: HeaderMap = field === undefined ? {} : { f: field };
    const start: HeaderOverrides = first === undefined ? {} : { f: first };
    const stepwise = more.reduce(appended, first);
    const merged = overlay(headers, stepwise === undefined ? {} : { f: stepwise });
    assertEquals(
      valueList(merged.f),
      [...valueList(overlay(headers, start).f), ...more],
    );
  }));
});
