/** `deno task compile`: its whole course, with `/bin/true` in the place of `denort`; what it makes cannot run, but holds all that it should. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { Buffer } from "node:buffer";
import { executableName } from "../deploy/compile.ts";
import { type Manifest } from "../gateway/shipped.ts";
import { sha256, type Target } from "../deploy/stage.ts";
import { scratch } from "./support/conduit.ts";
import { packaged } from "./support/packaged.ts";
import { ROOT } from "./support/prose.ts";

const TARGET = Deno.build.target as Target;

async function task(...args: string[]) {
  return await taskWith({}, ...args);
}

async function taskWith(env: Readonly<Record<string, string>>, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "compile", ...args],
    cwd: ROOT,
    env: { DENORT_BIN: "/bin/true", NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/** Every file below `dir`, by its path in it. */
async function filesIn(dir: string, prefix = ""): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for await (const { name, isDirectory } of Deno.readDir(join(dir, prefix))) {
    const path = `${prefix}${name}`;
    if (!isDirectory) found.set(path, await Deno.readFile(join(dir, path)));
    else for (const entry of await filesIn(dir, `${path}/`)) found.set(...entry);
  }
  return found;
}

Deno.test("deno task compile embeds every file that is staged, byte for byte, and sums up what it made", async () => {
  await using out = await scratch();
  const { code, stdout, stderr } = await task("--level", "3", "--out", out.path);
  assertEquals(code, 0, stderr);
  const path = join(out.path, executableName(TARGET));
  assertEquals(stdout, `${path}\n`);
  assertMatch(stderr, /Embedded Files\n\n.*\n├── embedded\/\* \(.*MB\)\n└── main\.mjs \(.*MB\)\n/);

  await using staged = await packaged();
  const files = await filesIn(staged.dir);
  const names = [...files.keys()].filter((name) => !name.startsWith("embedded/source/"));
  assertEquals(names.sort(), [
    "embedded/deno.zst",
    "embedded/host.mjs",
    "embedded/manifest.json",
    "embedded/worker.mjs",
    "main.mjs",
  ]);
  for (
    const name of [
      "plugin-host/mod.ts",
      "plugin-host/testing.ts",
      "protocol/snapshot.ts",
      "examples/init/conduit.config.json",
    ]
  ) {
    assert(files.has(`embedded/source/${name}.txt`), name);
  }
  const executable = Buffer.from(await Deno.readFile(path));
  for (const [name, bytes] of files) {
    assert(executable.indexOf(bytes) >= 0, `${name} is not in the executable`);
    assert(executable.indexOf(`"${name.split("/").at(-1)}"`) >= 0, `${name} has no name in it`);
  }
  assert(executable.indexOf('"code_cache_key":null') >= 0, "it would read a cache from /tmp");
  const manifest: Manifest = JSON.parse(
    new TextDecoder().decode(files.get("embedded/manifest.json")),
  );
  const cli = await Deno.readFile(Deno.execPath());
  assertEquals(manifest, {
    deno: {
      version: Deno.version.deno,
      sha256: sha256(cli),
      sizeBytes: cli.length,
      archive: "deno.zst",
    },
  });

  const slim = await task("--slim", "--out", out.path);
  assertEquals(slim.code, 0, slim.stderr);
  const { size } = await Deno.stat(join(out.path, executableName(TARGET, { slim: true })));
  assert(size < executable.length - (files.get("embedded/deno.zst")?.length ?? 0) + 1000);

  const sums = await Deno.readTextFile(join(out.path, "SHA256SUMS"));
  const named = sums.trimEnd().split("\n").map((line) => line.split("  ")[1]);
  assertEquals(named, [executableName(TARGET), executableName(TARGET, { slim: true })]);
  const check = await new Deno.Command("sha256sum", {
    args: ["--check", "--strict", "SHA256SUMS"],
    cwd: out.path,
  }).output();
  assert(check.success, new TextDecoder().decode(check.stdout));
});

Deno.test("whether an executable exports traces is an option of deno task compile, and not what its environment says", async () => {
  await using out = await scratch();
  for (
    const [options, env, isOn] of [[[], { OTEL_DENO: "true" }, false], [
      ["--traces"],
      {},
      true,
    ]] as const
  ) {
    const { code, stdout, stderr } = await taskWith(env, "--slim", ...options, "--out", out.path);
    assertEquals(code, 0, stderr);
    assertEquals(stdout.includes("-traces-"), isOn);
    const text = new TextDecoder("latin1").decode(await Deno.readFile(stdout.trim()));
    const [, written = ""] = /"otel_config":({[^}]*})/.exec(text) ?? [];
    const { tracing_enabled, metrics_enabled, console } = JSON.parse(written);
    assertEquals([tracing_enabled, metrics_enabled, console], [isOn, false, "Ignore"]);
  }
});

for (
  const args of [["--target", "wasm32"], ["--level", "0"], ["--level", "20"], ["--out"], ["fast"]]
) {
  Deno.test(`deno task compile ${args.join(" ")} prints its usage and exits 2`, async () => {
    const { code, stdout, stderr } = await task(...args);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, /^usage: deno task compile /);
  });
}
