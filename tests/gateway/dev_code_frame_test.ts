import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { codeFrame } from "../../gateway/dev/problem.ts";

const SOURCE = "one\ntwo\n\tthree three\nfour\nfive\n";

Deno.test("a code frame has two lines before the place, the caret below its column, and one line after", () => {
  assertEquals(codeFrame(SOURCE, { line: 3, column: 8 }), [
    "1 | one",
    "2 | two",
    "3 |  three three",
    "  |        ^",
    "4 | four",
  ]);
});

Deno.test("a code frame ends with the file, and line numbers stand below each other", () => {
  assertEquals(codeFrame("a\r\nb", { line: 1, column: 1 }), ["1 | a", "  | ^", "2 | b"]);
  const ten = Array.from({ length: 10 }, (_, index) => `l${index + 1}`).join("\n");
  assertEquals(codeFrame(ten, { line: 10, column: 2 }), [
    " 8 | l8",
    " 9 | l9",
    "10 | l10",
    "   |  ^",
  ]);
});

Deno.test("there is no code frame of a line that the file does not have", () => {
  for (const line of [0, -1, 7, 100]) assertEquals(codeFrame(SOURCE, { line, column: 1 }), []);
});

Deno.test("code frame law: the caret is below the character at the place, however long the line is", () => {
  fc.assert(fc.property(
    fc.array(fc.stringMatching(/^[a-z\t (){};]{0,400}$/), { minLength: 1, maxLength: 6 }),
    fc.nat(),
    fc.nat(),
    (lines, lineSeed, columnSeed) => {
      const line = lineSeed % lines.length + 1;
      const text = lines[line - 1] ?? "";
      const column = columnSeed % (text.length + 1) + 1;
      const frame = codeFrame(lines.join("\n"), { line, column });
      const caret = frame.findIndex((each) => /^ +\| *\^$/.test(each));
      const above = frame[caret - 1] ?? "";
      assertEquals(above.split(" |", 1)[0]?.trim(), String(line));
      const below = above[frame[caret]?.indexOf("^") ?? -1] ?? " "; // trailing space is cut
      assertEquals(below, (text[column - 1] ?? " ").replace("\t", " "));
      assert(frame.every((each) => each.length < 140));
    },
  ));
});
