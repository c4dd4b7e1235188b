import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { COMMANDS, EXIT, OPTIONS } from "../../gateway/cli/commands.ts";
import { PROTOCOL_VERSION } from "../../protocol/messages.ts";
import { conduit, configText, scratch } from "../support/conduit.ts";
import { ROOT, testGateway } from "../support/gateway.ts";
import { filesBelow, readDoc } from "../support/prose.ts";

const GOOD_PLUGIN = `export default { beforeRequest() {}, onTimeout: "reject" };`;
const GOOD = { "conduit.config.json": configText(), "plugins/001-good.ts": GOOD_PLUGIN };

const USAGE: readonly (readonly [args: readonly string[], stderr: string])[] = [
  [["serve"], 'unknown command "serve"; see conduit help'],
  [["constructor"], 'unknown command "constructor"; see conduit help'],
  [["--verbose"], 'unknown argument "--verbose"; see conduit help'],
  [["run", "-x"], 'unknown argument "-x"; see conduit help'],
  [["run", "dev"], 'unknown argument "dev"; see conduit help'],
  [["check", "--config"], "--config needs a file"],
  [["check", "--config="], "--config needs a file"],
  [["check", "-config"], "-config needs a file"],
  [["run", "--install"], "--install goes with check, not with run"],
  [["check", "--json"], "--json goes with version, not with check"],
  [["check", "--install=yes"], 'unknown argument "--install=yes"; see conduit help'],
];
for (const [args, stderr] of USAGE) {
  Deno.test(`conduit ${args.join(" ")} is wrong usage: exit 2, one line on stderr`, async () => {
    assertEquals(await conduit(args), { code: 2, stdout: "", stderr: `conduit: ${stderr}\n` });
  });
}

for (const args of [["help"], ["--help"], ["-h"]]) {
  Deno.test(`conduit ${args.join(" ")} prints the help and exits 0`, async () => {
    const { code, stdout, stderr } = await conduit(args);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^conduit \d+\.\d+\.\d+: /);
  });
}

Deno.test("conduit help names every command, flag, variable and exit code that there is, and no other", async () => {
  const { stdout } = await conduit(["help"]);
  const set = (text: string, pattern: RegExp) =>
    [...new Set([...text.matchAll(pattern)].map((match) => match[1] as string))].sort();
  const sources = ["main.ts", ...await filesBelow("gateway")].filter((name) => !/cli\//.test(name));
  const source = (await Promise.all(sources.map(readDoc))).join("\n");

  assertEquals(set(stdout, /^ {2}([a-z]+) /gm), Object.keys(COMMANDS).sort());
  assertEquals(
    set(stdout, /(--[a-z]+)/g),
    Object.values(OPTIONS).map(({ flags: [flag] }) => flag as string).sort(),
  );
  assertEquals(
    set(stdout, /\b(CONDUIT_\w+)/g),
    set(source, /\benv(?:\.get)?\("(CONDUIT_\w+)"\)/g),
  );
  const told = /exit codes: (.*)/.exec(stdout)?.[1] ?? "";
  assertEquals(set(told, /(\d+)/g), Object.values(EXIT).map(String).sort());
});

for (const args of [["version"], ["--version"]]) {
  Deno.test(`conduit ${args[0]} prints its version and Deno's`, async () => {
    const { version } = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
    assertEquals(await conduit(args), {
      code: 0,
      stdout: `conduit ${version} (deno ${Deno.version.deno})\n`,
      stderr: "",
    });
  });
}

Deno.test("conduit version --json says what this program is made of", async () => {
  const { version } = JSON.parse(await readDoc("deno.json"));
  const { code, stdout } = await conduit(["version", "--json"]);
  assertEquals(code, 0);
  assertEquals(JSON.parse(stdout), {
    conduit: version,
    protocol: PROTOCOL_VERSION,
    ...Deno.version,
    target: Deno.build.target,
    standalone: false,
  });
});

Deno.test("--config FILE, --config=FILE, -config FILE and the default file all do, from any working directory", async () => {
  await using dir = await scratch(GOOD);
  const file = join(dir.path, "conduit.config.json");
  const ways: readonly (readonly [args: readonly string[], cwd: string])[] = [
    [["check", "--config", file], "/"],
    [["--config", file, "check"], "/"],
    [["check", `--config=${file}`], "/"],
    [["check", "-config", file], "/"],
    [["check", "--config", "../conduit.config.json"], join(dir.path, "plugins")],
    [["check"], dir.path],
  ];
  const results = await Promise.all(ways.map(([args, cwd]) => conduit(args, { cwd })));
  for (const [index, { code, stdout, stderr }] of results.entries()) {
    assertEquals([code, stderr], [0, ""], `conduit ${ways[index]?.[0].join(" ")}`);
    assertStringIncludes(stdout, `${file}: well`);
  }
});

Deno.test("conduit check prints routes, the chain on each, plugins and the permissions of the host", async () => {
  await using dir = await scratch({
    "conduit.config.json": configText({
      pluginEnv: ["SESSION_SECRET", "UNSET_ONE"],
      routes: [
        { path: "/a/*", upstream: "http://127.0.0.1:9" },
        { path: "/health", upstream: "http://[::1]:10", plugins: false, failPolicy: "open" },
      ],
    }),
    "plugins/001-good.ts": GOOD_PLUGIN,
    "plugins/002-after.ts": "export default { afterResponse() {} };",
  });
  const { code, stdout, stderr } = await conduit(["check"], {
    cwd: dir.path,
    env: { SESSION_SECRET: "hush-hush" },
  });
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(
    stdout,
    `routes
  /a/* -> http://127.0.0.1:9 [failPolicy closed, hooks 100 ms]
    beforeRequest: 001-good
    afterResponse: 002-after
  /health -> http://[::1]:10 [failPolicy open, hooks 100 ms]
    beforeRequest: none
    afterResponse: none
`,
  );
  assertMatch(stdout, /001-good \(001-good\.ts, sha256 [0-9a-f]{12}\): .*onTimeout reject/);
  assertMatch(stdout, /--allow-net=127\.0\.0\.1:9,\[::1\]:10,unix:/);
  assertStringIncludes(stdout, "--allow-env=SESSION_SECRET\n");
  assertEquals(stdout.includes("hush-hush"), false);
});

for (const command of ["run", "dev"] as const) {
  Deno.test(`a gateway whose output nobody reads any more goes on serving (conduit ${command} | head -1)`, async () => {
    await using gateway = await testGateway({
      command,
      config: { routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
    });
    await gateway.closeStdout();
    for (let count = 0; count < 20; count++) {
      const response = await gateway.fetch("/x");
      assertEquals(response.status, 502);
      await response.body?.cancel();
    }
    gateway.signal("SIGTERM");
    assertEquals((await gateway.status).code, 0, gateway.stderr);
  });
}

Deno.test("conduit help into a closed pipe is no internal error", async () => {
  const main = join(ROOT, "main.ts");
  const { stdout } = await new Deno.Command("bash", {
    args: ["-c", `"$0" run -A "$1" help 2>&1 >&- ; echo "exit $?"`, Deno.execPath(), main],
  }).output();
  assertEquals(new TextDecoder().decode(stdout), "exit 0\n");
});
