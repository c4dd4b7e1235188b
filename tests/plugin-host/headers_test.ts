import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { HeaderBuilder, joinedHeaders, listValues } from "../../plugin-host/headers.ts";

Deno.test("a repeated field reads as one string, and the map is frozen and has no prototype", () => {
  const headers = joinedHeaders(JSON.parse('{"a": ["1", "2"], "b": "3", "__proto__": "4"}'));
  assertEquals(Object.entries(headers), [["a", "1, 2"], ["b", "3"], ["__proto__", "4"]]);
  assertEquals(headers["constructor"], undefined);
  assertThrows(() => Object.assign(headers, { a: "x" }), TypeError);
});

const LISTS: readonly [field: string, members: string[]][] = [
  ["", []],
  [" , ,", []],
  ["a", ["a"]],
  ["a,b ,\tc", ["a", "b", "c"]],
  ['"a, b", c', ['"a, b"', "c"]],
  ['W/"x,y","z"', ['W/"x,y"', '"z"']],
  ['"a\\", b", c', ['"a\\", b"', "c"]],
  ['"a\\\\", b', ['"a\\\\"', "b"]],
  ['a, "open, b', ["a", '"open, b']],
  ['a, "open\\', ["a", '"open\\']],
  ["a\\, b", ["a\\", "b"]],
];

for (const [field, members] of LISTS) {
  Deno.test(`the members of ${JSON.stringify(field)} are ${JSON.stringify(members)}`, () => {
    assertEquals(listValues("x-list", field), members);
  });
}

Deno.test("repeats of a list-valued field are split like one field (RFC 9110 §5.3)", () => {
  assertEquals(listValues("vary", ["a, b", "c"]), ["a", "b", "c"]);
  assertEquals(listValues("vary", undefined), []);
});

Deno.test("set-cookie is never split: its dates hold commas (RFC 9110 §5.3)", () => {
  const cookie = "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT";
  assertEquals(listValues("set-cookie", cookie), [cookie]);
  assertEquals(listValues("set-cookie", [cookie, "b=2"]), [cookie, "b=2"]);
});

Deno.test("splitting loses nothing: quoted members come back as they were put together", () => {
  const token = fc.stringMatching(/^[a-z]{1,5}$/);
  const quoted = fc.string({ unit: "grapheme-ascii" })
    .map((text) => `"${text.replaceAll(/["\\]/g, "\\$&")}"`);
  fc.assert(fc.property(fc.array(fc.oneof(token, quoted), { minLength: 1 }), (members) => {
    assertEquals(listValues("x", members.join(", ")), members);
  }));
  fc.assert(fc.property(fc.array(fc.constantFrom('"', "\\", ",", " ", "a")), (characters) => {
    const field = characters.join("");
    const plain = (text: string) => text.replaceAll(/[ ,]/g, "");
    assertEquals(plain(listValues("x", field).join("")), plain(field));
  }));
});

Deno.test("a long hostile list is split in linear time", () => {
  const startedAt = performance.now();
  listValues("x", '",\\'.repeat(500_000));
  assert(performance.now() - startedAt < 3000);
});

Deno.test("the builder lower-cases names, makes text of numbers and takes any name as data", () => {
  const base = JSON.parse('{"__proto__": {"append": ["0"]}}');
  const builder = new HeaderBuilder(base);
  builder.set("X-A", 1 as unknown as string);
  builder.append("x-a", "2");
  builder.append("X-B", "3");
  builder.append("X-B", "4");
  builder.delete("X-C");
  builder.append("x-c", "5");
  builder.append("__proto__", "1");
  builder.set("constructor", "6");
  assertEquals(Object.entries(builder.overrides), [
    ["__proto__", { append: ["0", "1"] }],
    ["x-a", ["1", "2"]],
    ["x-b", { append: ["3", "4"] }],
    ["x-c", ["5"]],
    ["constructor", "6"],
  ]);
  assertEquals(JSON.stringify(base), '{"__proto__":{"append":["0"]}}');
});

class Token {
  toString(): string {
    return "token";
  }
}

Deno.test("a field's value is text or what is written as text; of what else there is, none goes out under its kind", () => {
  const written: readonly [value: unknown, text: string][] = [
    [false, "false"],
    [10n, "10"],
    [new URL("http://a/b"), "http://a/b"],
    [new URLSearchParams(), ""],
    [new Token(), "token"],
  ];
  for (const [value, text] of written) {
    const builder = new HeaderBuilder({});
    builder.set("x", value as string);
    builder.append("x", value as string);
    assertEquals(builder.overrides, { x: [text, text] });
  }
  const kinds: readonly [value: unknown, kind: string][] = [
    [undefined, "undefined"],
    [null, "null"],
    [["a=1", "b=2"], "Array"],
    [{ id: 1 }, "Object"],
    [Promise.resolve("alice"), "Promise"],
    [() => "alice", "Function"],
    [Symbol("alice"), "Symbol"],
  ];
  for (const [value, kind] of kinds) {
    const builder = new HeaderBuilder({ x: "before" });
    const message = `the value of "x" is ${kind}, not text`;
    assertThrows(() => builder.set("X", value as string), TypeError, message);
    assertThrows(() => builder.append("x", value as string), TypeError, message);
    for (const act of ["set", "append", "delete"] as const) {
      assertThrows(() => builder[act](value as string, "1"), TypeError, "a header name is");
    }
    assertEquals(builder.overrides, { x: "before" });
  }
});
