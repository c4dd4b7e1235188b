import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { ROOT } from "./support/prose.ts";

const OK = "ok | 12 passed (3 steps) | 0 failed | 1 ignored (3s)";
const FAILED = "\x1b[31mFAILED\x1b[0m | 11 passed | 2 failed (1 step) (3s)";

/** What Deno prints at the end, where these failed. `ci` stands for one test that was run within another. */
function failures(...failed: readonly string[]): string {
  return [" FAILURES ", "ci => ./tests/inner_test.ts:1:1", "FAILED | 0 passed | 1 failed (1s)"]
    .concat(" FAILURES ", "", ...failed, "", `FAILED | 9 passed | ${failed.length} failed (3s)`)
    .join("\n");
}

/** An npx that runs `task test` with these failures, and then `test -A` of files with this exit status. */
function twice(again: number, ...failed: readonly string[]): string {
  return `[ "$3" = task ] || { echo "$@"; exit ${again}; }\necho '${failures(...failed)}'; exit 1`;
}

const A = "a => b => ./tests/a_test.ts:12:6";
const B = "b => ./tests/e2e/b_test.ts:12:6";
const C = "c => ./tests/c_test.ts:12:6";

/** What `.ci/run` installs where it is missing. */
const INSTALLED = [
  ...(await Deno.readTextFile(join(ROOT, ".ci/run"))).matchAll(/ ([a-z-]+):[a-z-]+(?=.*; do$)/gm),
].map((each) => String(each[1]));

const CI_RUNS: readonly (readonly [what: string, npx: string, code: number, last: string])[] = [
  ["passes on a good run", `echo '${OK}'`, 0, "12 passed, 0 failed, 1 skipped"],
  ["keeps the exit status of a bad one", `echo '${FAILED}'; exit 3`, 3, "11 passed, 2 failed"],
  ["does not believe a zero status", `echo '${FAILED}'`, 1, "11 passed, 2 failed"],
  ["fails where no test was run", "echo 'Checked 3 files'", 1, "0 passed, 0 failed"],
  ["runs what failed once more, alone", twice(0, A, B), 0, "11 passed, 0 failed"],
  ["keeps a failure that is one alone, too", twice(1, A, A), 1, "9 passed, 2 failed"],
  ["does not repeat many failures", twice(0, A, B, C), 1, "9 passed, 3 failed"],
  [
    "does not repeat files that did not load",
    twice(0, A, "./tests/b_test.ts (uncaught error)"),
    1,
    "9 passed, 2 failed",
  ],
  ["fails with the linter", "echo 'Found 2 problems' >&2; exit 1", 1, "0 passed, 0 failed"],
];

for (const [what, npx, code, last] of CI_RUNS) {
  Deno.test(`.ci/run ${what}`, async () => {
    const dir = await Deno.makeTempDir();
    try {
      // Stand-ins, so that this neither installs anything nor runs the tests within themselves.
      for (const name of [...INSTALLED, "promtool", "npx"]) {
        const script = name === "npx" ? npx : "";
        await Deno.writeTextFile(join(dir, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      }
      const output = await new Deno.Command("bash", {
        args: [join(ROOT, ".ci/run")],
        env: { PATH: `${dir}:${Deno.env.get("PATH")}` },
      }).output();
      const lines = new TextDecoder().decode(output.stdout).trimEnd().split("\n");
      assertEquals({ code: output.code, last: lines.at(-1) }, { code, last });
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}
