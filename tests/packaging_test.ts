import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { ROOT } from "./support/prose.ts";

const OK = "ok | 12 passed (3 steps) | 0 failed | 1 ignored (3s)";
const FAILED = "\x1b[31mFAILED\x1b[0m | 11 passed | 2 failed (1 step) (3s)";

const CI_RUNS: readonly (readonly [what: string, npx: string, code: number, last: string])[] = [
  ["passes on a good run", `echo '${OK}'`, 0, "12 passed, 0 failed, 1 skipped"],
  ["keeps the exit status of a bad one", `echo '${FAILED}'; exit 3`, 3, "11 passed, 2 failed"],
  ["does not believe a zero status", `echo '${FAILED}'`, 1, "11 passed, 2 failed"],
  ["fails where no test was run", "echo 'Checked 3 files'", 1, "0 passed, 0 failed"],
  ["fails with the linter", "echo 'Found 2 problems' >&2; exit 1", 1, "0 passed, 0 failed"],
];

for (const [what, npx, code, last] of CI_RUNS) {
  Deno.test(`.ci/run ${what}`, async () => {
    const dir = await Deno.makeTempDir();
    try {
      // Stand-ins, so that this neither installs anything nor runs the tests within themselves.
      for (
        const [name, script] of Object.entries({
          npx,
          "redis-server": "",
          nginx: "",
          curl: "",
          promtool: "",
          zsh: "",
          fish: "",
        })
      ) {
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
