/**
 * The corpus of what broke other gateways: its rows, and for each the tests that hold it with how many variants.
 *
 * @module
 */

import { filesBelow, markdownTable, readDoc, ROOT } from "./prose.ts";

/** What is tried, and what must come of it, by the number under which tests speak of it. */
export const ATTACK_ROWS: Readonly<Record<number, readonly [attack: string, outcome: string]>> = {
  1: [
    "`Connection` names fields that the gateway or a plugin sets (CVE-2022-31813)",
    "they arrive all the same",
  ],
  2: ["`Connection` names the framing, with a request in the body", "400, or one request"],
  3: [
    "two lengths, length and chunked, lengths that are no number (CVE-2021-40346)",
    "400, connection closed",
  ],
  4: ["a transfer coding that is nearly `chunked` (CVE-2019-16276, CVE-2019-20444)", "400 or 501"],
  5: [
    "chunk lines with bare LF, odd sizes, line breaks in extensions (CVE-2023-46589, CVE-2025-22871)",
    "the connection ends, no complete request goes upstream",
  ],
  6: [
    "a refused request with another one in its body (CVE-2020-11724)",
    "the body is never a request",
  ],
  7: [
    "dot segments in any spelling (CVE-2021-41773, CVE-2025-32431)",
    "the canonical path decides",
  ],
  8: [
    "escapes that a second decoding would change (CVE-2021-42013, CVE-2025-66490)",
    "400, or kept as they are",
  ],
  9: ["what only begins like a prefix (the alias traversal of nginx)", "no match, or 400"],
  10: [
    "other spellings of a guarded path (CVE-2021-43557, CVE-2021-32779)",
    "the policy of the plain form",
  ],
  11: ["forwarding fields of a client that nobody trusts", "replaced or dropped"],
  12: ["aliases of managed fields with `_` and `.` (CVE-2015-0219)", "dropped"],
  13: ["a client brings the identity field itself", "dropped"],
  14: ["no Host, several, or one that the target contradicts", "400"],
  15: ["CR, LF, NUL in what a plugin sets", "that part is refused and logged"],
  16: ["a plugin sets framing, `Host` or forwarding fields", "refused and logged"],
  17: ["`forward()` to the machine or the metadata service, in any spelling", "refused"],
  18: ["`forward()` to IPv4 within IPv6 (CVE-2024-29415)", "refused"],
  19: ["names with private, mixed and changing answers", "refused; the checked address is dialled"],
  20: ["an upstream that redirects to where nobody may go", "passed on, not followed"],
  21: ["`forward()` with other schemes, credentials, look-alike names", "refused"],
  22: [
    "a plugin reaches for files, processes, the network, other isolates",
    "refused by the sandbox",
  ],
  23: ["too many fields, too large a head, too long a target", "4xx, closed"],
  24: ["2,000 connections with heads that never end", "others are served as before"],
  25: ["bodies over the limit, declared or not", "413, no complete request goes upstream"],
  26: ["`__proto__` and the like as keys (CVE-2019-10744)", "inert data"],
  27: ["anything on the plugin socket", "that connection is dropped, the gateway lives"],
  28: ["a hook that loops, allocates, exits, answers late", "isolated, in time"],
  29: ["origins that are nearly allowed", "no grant, `Vary: Origin`"],
  30: ["upgrades, also such as the upstream accepts", "no tunnel past the hooks"],
  31: ["line breaks, quotes, escapes on their way to the log", "each record stays one line"],
  32: ["browsers and rebound names at the admin listener", "403"],
  33: ["upstreams that break their framing (CVE-2019-18277)", "502 or cut; never reused"],
  34: ["clients that leave at any time", "the upstream request ends, 499 in the log"],
};

/** Rows about the sandbox: a plugin is what attacks there, and tests name the row as `(attack 22)`. */
export const SANDBOX_ROWS: readonly number[] = [22, 28];
export const MIN_VARIANTS = 5;

/** One row as one test holds it. */
export interface HeldRow {
  readonly row: number;
  readonly test: string;
  readonly file: string;
  readonly variants: number;
}

const held: Omit<HeldRow, "file">[] = [];

/**
 * A test of one or more rows of the corpus.
 *
 * @param rows the variants by the number of their row; all of them are handed to `run` in one list
 */
export function attackTest<V>(
  test: string,
  rows: Readonly<Record<number, readonly V[]>>,
  run: (variants: readonly V[], test: Deno.TestContext) => Promise<void>,
): void {
  for (const [row, variants] of Object.entries(rows)) {
    held.push({ row: Number(row), test, variants: variants.length });
  }
  Deno.test(test, (context) => run(Object.values(rows).flat(), context));
}

/** Every row that a test below `tests/security/` holds. Loads those tests, which `deno run` does not carry out. */
async function heldRows(): Promise<HeldRow[]> {
  const found: HeldRow[] = [];
  for (const file of await filesBelow("tests/security")) {
    await import(`file://${ROOT}${file}`);
    found.push(...held.splice(0).map((each) => ({ ...each, file })));
  }
  return found;
}

/** The same, asked of a process of its own: within a test, loading tests would run them. */
export async function readHeldRows(): Promise<HeldRow[]> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "tests/support/attack_rows.ts"],
    cwd: ROOT,
  }).output();
  const text = new TextDecoder().decode(stdout);
  if (text === "") throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(text);
}

/** The files with tests of a row about the sandbox. */
export async function sandboxFiles(row: number): Promise<string[]> {
  const files = await filesBelow("tests/security");
  const texts = await Promise.all(files.map(readDoc));
  return files.filter((_, at) => texts[at]?.includes(`(attack ${row})`));
}

/** The table of `docs/security-corpus.md`. */
export async function corpusTable(): Promise<string> {
  const held = await readHeldRows();
  const rows = await Promise.all(
    Object.entries(ATTACK_ROWS).map(async ([row, [attack, outcome]]) => {
      const its = held.filter((each) => each.row === Number(row));
      const isSandbox = SANDBOX_ROWS.includes(Number(row));
      const files = isSandbox ? await sandboxFiles(Number(row)) : its.map(({ file }) => file);
      const variants = its.reduce((sum, each) => sum + each.variants, 0);
      const names = [...new Set(files)].map((file) => `\`${file}\``).join(", ");
      return [row, attack, outcome, names, isSandbox ? "a plugin each" : String(variants)];
    }),
  );
  return markdownTable(["Row", "Attack", "Outcome", "Held by", "Variants"], rows);
}

// Not awaited: the tests import this module, which has to be evaluated by then.
if (import.meta.main) void heldRows().then((rows) => console.log(JSON.stringify(rows)));
