/** The corpus is whole: no row is without tests, and none has only an example or two. */
import { assert, assertEquals } from "@std/assert";
import {
  ATTACK_ROWS,
  MIN_VARIANTS,
  readHeldRows,
  SANDBOX_ROWS,
  sandboxFiles,
} from "../support/attack_rows.ts";

Deno.test("every row of the corpus is held by a test that names it, with at least five variants", async () => {
  const held = await readHeldRows();
  assertEquals(held.filter(({ row }) => !(row in ATTACK_ROWS)), []);
  for (const row of Object.keys(ATTACK_ROWS).map(Number)) {
    if (SANDBOX_ROWS.includes(row)) {
      assert((await sandboxFiles(row)).length > 0, `no test names attack ${row}`);
      continue;
    }
    const its = held.filter((each) => each.row === row);
    const variants = its.reduce((sum, each) => sum + each.variants, 0);
    assert(variants >= MIN_VARIANTS, `row ${row} has ${variants} variants`);
  }
  for (const { row, test } of held) assert(names(test, row), `"${test}" does not name row ${row}`);
});

/** `attack 7: …`, `attacks 7, 8 and 10: …`, `attacks 7 to 10: …` */
function names(test: string, row: number): boolean {
  const [, list = ""] = /^attacks? ([\d, a-z]+):/.exec(test) ?? [];
  const [, from = "", to = ""] = /(\d+) to (\d+)/.exec(list) ?? [];
  return new RegExp(`\\b${row}\\b`).test(list) || (row >= Number(from) && row <= Number(to));
}
