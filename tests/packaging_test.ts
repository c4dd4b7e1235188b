import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { ROOT } from "./support/prose.ts";

interface Instruction {
  readonly name: string;
  readonly rest: string;
}

/** The instructions of the Dockerfile by stage, lines joined and comments left out. */
async function stages(): Promise<Instruction[][]> {
  const text = await Deno.readTextFile(join(ROOT, "Dockerfile"));
  const lines = text.replaceAll(/^#.*\n/gm, "").replaceAll(/\\\n/g, " ").split("\n");
  const found: Instruction[][] = [];
  for (const line of lines.filter((each) => each.trim() !== "")) {
    const [, name = "", rest = ""] = /^(\S+) +(.*)$/.exec(line) ?? [];
    if (name === "FROM") found.push([]);
    found.at(-1)?.push({ name, rest });
  }
  return found;
}

Deno.test("the image is built in stages and runs without a shell, not as root", async () => {
  const [build = [], final = [], ...others] = await stages();
  assertEquals(others, []);
  const of = (name: string) => final.filter((each) => each.name === name).map(({ rest }) => rest);
  assertMatch(of("FROM").join(), /^gcr\.io\/distroless\/.*:nonroot$/);
  assertEquals(of("USER"), ["nonroot"]);
  assertEquals(of("RUN"), []);
  for (const rest of [...of("ENTRYPOINT"), ...of("CMD")]) assert(Array.isArray(JSON.parse(rest)));
  const [health = ""] = of("HEALTHCHECK");
  assert(Array.isArray(JSON.parse(health.slice(health.indexOf("[")))));
  // The wrapper of npm would not pass SIGTERM on.
  assertEquals(JSON.parse(of("ENTRYPOINT").join())[0], "/usr/local/bin/deno");
  assert(build.some(({ name, rest }) => name === "RUN" && rest.includes("linux-*-glibc/deno")));
  assert(build.some(({ name, rest }) => name === "RUN" && rest.includes("--frozen")));
});

Deno.test("the image gets every source folder, and Deno in the version of this run", async () => {
  const [build = []] = await stages();
  const copied = build.filter(({ name }) => name === "COPY").flatMap(({ rest }) =>
    rest.split(" ").slice(0, -1)
  );
  const ignore = await Deno.readTextFile(join(ROOT, ".dockerignore"));
  const kept = ignore.split("\n").filter((line) => line.startsWith("!")).map((line) =>
    line.slice(1)
  );
  assertEquals(copied.toSorted(), kept.toSorted());
  for (const path of copied) await Deno.stat(join(ROOT, path));
  for (const path of ["protocol", "gateway", "plugin-host", "main.ts"]) {
    assert(copied.includes(path));
  }
  const version = Deno.version.deno;
  assert(build.some(({ rest }) => rest.includes(`deno@${version}`)));
  assert((await Deno.readTextFile(join(ROOT, ".ci/run"))).includes(`deno@${version} task test`));
});

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
