/** `conduit help COMMAND` and `conduit completions SHELL`; the shells complete for real, where they are on this machine. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { optionsOf } from "../../gateway/cli/arguments.ts";
import { type CommandName, COMMANDS, EXIT, OPTIONS, SHELLS } from "../../gateway/cli/commands.ts";
import { completionScript } from "../../gateway/cli/completions.ts";
import { manualPage } from "../../gateway/cli/help.ts";
import { conduit, scratch } from "../support/conduit.ts";
import { readDoc } from "../support/prose.ts";

const NAMES = Object.keys(COMMANDS) as CommandName[];

Deno.test("conduit help COMMAND and conduit COMMAND --help print the same manual page", async () => {
  const page = { code: 0, stdout: manualPage("check"), stderr: "" };
  for (
    const args of [["help", "check"], ["check", "--help"], ["-h", "check"], [
      "check",
      "--install",
      "-h",
    ]]
  ) {
    assertEquals(await conduit(args), page, args.join(" "));
  }
});

for (const name of NAMES) {
  Deno.test(`the manual page of conduit ${name} is whole and fits 80 columns`, async () => {
    const page = manualPage(name);
    const titles = [...page.matchAll(/^[A-Z ]+$/gm)].map(([title]) => title);
    const order = [
      "NAME",
      "SYNOPSIS",
      "DESCRIPTION",
      "OPTIONS",
      "EXIT STATUS",
      "ENVIRONMENT",
      "FILES",
      "EXAMPLES",
      "SEE ALSO",
    ];
    assertEquals(titles, order.filter((title) => titles.includes(title)));
    for (
      const title of [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "EXIT STATUS",
        "EXAMPLES",
        "SEE ALSO",
      ]
    ) {
      assert(titles.includes(title), title);
    }
    const part = (title: string) => page.split(`${title}\n`)[1]?.split(/\n\n[A-Z]/)[0] ?? "";
    for (const option of optionsOf(name)) {
      assertMatch(part("OPTIONS"), RegExp(`^    ${OPTIONS[option].flags[0]}\\b`, "m"));
    }
    assertStringIncludes(part("SYNOPSIS"), COMMANDS[name].operand?.name ?? "");
    for (const code of Object.values(EXIT)) {
      assertMatch(part("EXIT STATUS"), RegExp(`^    ${code}$`, "m"));
    }
    assertEquals(page.split("\n").filter((line) => line.length > 80 || /\s$/.test(line)), []);
    for (const [, doc = ""] of part("SEE ALSO").matchAll(/([\w/]+\.md)/g)) await readDoc(doc);
    for (const [line] of part("EXAMPLES").matchAll(/^ {4}\S.*$/gm)) {
      assertMatch(line, /\bconduit\b/);
      const word = /\bconduit (\w+)/.exec(line)?.[1];
      if (word) assert(NAMES.includes(word as CommandName), line);
    }
  });
}

const WRONG: readonly (readonly [args: readonly string[], stderr: string])[] = [
  [["help", "serve"], 'unknown command "serve"; see conduit help'],
  [["help", "run", "dev"], 'unknown argument "dev"; see conduit help'],
  [["completions"], "completions needs one of bash, zsh, fish"],
  [["completions", "tcsh"], 'unknown shell "tcsh"; there are bash, zsh, fish'],
];
for (const [args, stderr] of WRONG) {
  Deno.test(`conduit ${args.join(" ")} is wrong usage`, async () => {
    assertEquals(await conduit(args), { code: 2, stdout: "", stderr: `conduit: ${stderr}\n` });
  });
}

Deno.test("conduit completions prints the script of each shell", async () => {
  for (const shell of SHELLS) {
    assertEquals((await conduit(["completions", shell])).stdout, completionScript(shell));
  }
});

/** What a shell offers behind each of these lines; a line's last word is being typed. */
const LINES: Readonly<Record<string, readonly string[]>> = {
  "conduit ch": ["check"],
  "conduit check --i": ["--install"],
  "conduit --config x check --i": ["--install"],
  "conduit healthcheck --r": ["--ready"],
  "conduit version --": ["--config", "--help", "--json"],
  "conduit completions ": ["bash", "fish", "zsh"],
  "conduit help ver": ["version"],
  "conduit help version ": [],
  "conduit --config ./sub/con": ["./sub/conduit.config.json"],
  "conduit init ./su": ["./sub"],
};

async function has(shell: string): Promise<boolean> {
  return await new Deno.Command(shell, { args: ["-c", "true"] }).output()
    .then(({ success }) => success, () => false);
}

async function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    cwd,
    stdin: "null",
    env: { HOME: cwd, NO_COLOR: "1", TERM: "dumb" },
    signal: AbortSignal.timeout(60_000),
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** How each shell is asked what it offers behind a line. */
const ASK: Readonly<Record<string, (line: string, script: string) => readonly string[]>> = {
  bash: (line, script) => [
    "--norc",
    "-c",
    `source "$0"; IFS=" " read -ra COMP_WORDS <<<"$1"; [[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _conduit; printf "%s\\n" "\${COMPREPLY[@]}"`,
    script,
    line,
  ],
  fish: (
    line,
    script,
  ) => ["--no-config", "-c", `source "$argv[1]"; complete -C "$argv[2]"`, script, line],
};

for (const [shell, ask] of Object.entries(ASK)) {
  const isThere = await has(shell);
  Deno.test({
    name: `${shell} completes commands, options, their values and arguments${
      isThere ? "" : ` (ignored: no ${shell} on this machine)`
    }`,
    ignore: !isThere,
    async fn() {
      await using dir = await scratch({
        "sub/conduit.config.json": "",
        script: completionScript(shell as "bash" | "fish"),
      });
      for (const [line, offered] of Object.entries(LINES)) {
        const output = await run(shell, ask(line, join(dir.path, "script")), dir.path);
        const words = output.split("\n").map((each) =>
          each.split("\t")[0]?.replace(/\/$/, "") ?? ""
        )
          .filter((word) => word !== "" && word !== "script");
        assertEquals(words.sort(), offered, line);
      }
    },
  });
}

Deno.test("bash completes the value of --config=FILE, which readline takes apart", async () => {
  await using dir = await scratch({ "conduit.config.json": "", script: completionScript("bash") });
  const ask = (words: string) =>
    run("bash", [
      "--norc",
      "-c",
      `source ./script; COMP_WORDS=(${words}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _conduit; echo "\${COMPREPLY[@]}"`,
    ], dir.path);
  assertEquals(await ask(`conduit check --config = con`), "conduit.config.json\n");
  assertEquals(await ask(`conduit --config = con check --ins`), "--install\n");
});

const hasZsh = await has("zsh");
Deno.test({
  name: `zsh completes commands, options and arguments${
    hasZsh ? "" : " (ignored: no zsh on this machine)"
  }`,
  ignore: !hasZsh,
  async fn() {
    await using dir = await scratch({ "functions/_conduit": completionScript("zsh") });
    // An interactive shell on a terminal of its own; each read waits for what it names.
    const ask = (line: string, expected: string) =>
      run("zsh", [
        "-f",
        "-c",
        `zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u -D; bindkey "^I" list-choices; print REA""DY'
zpty -r z seen '*READY*'
zpty -w -n z "$1"$'\\t'
zpty -r z seen "*$2*"
zpty -d z
print found`,
        "zsh",
        line,
        expected,
      ], dir.path);
    assertEquals(await ask("conduit ch", "check*-- validate the configuration"), "found\n");
    assertEquals(await ask("conduit check --", "--install*-- fetch the npm packages"), "found\n");
    assertEquals(await ask("conduit completions ", "bash*fish*zsh"), "found\n");
  },
});
