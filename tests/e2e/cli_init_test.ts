/** `conduit init` and `conduit types`: what they write and print works as it stands. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import { denoWords } from "../../plugin-host/author_files.ts";
import { conduit, scratch } from "../support/conduit.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { FROM_SOURCE, type Program, ROOT } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { filesBelow } from "../support/prose.ts";
import { freePort } from "../support/sockets.ts";

const WRITTEN = `wrote
  conduit.config.json
  plugins/001-api-key.ts
  plugins/001-api-key_test.ts
  plugins/002-response-headers.ts
  plugins/002-response-headers_test.ts
  plugins/deno.json
  deno.json
`;

/** Every file below `dir`. */
async function filesIn(dir: string, prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) found.push(...await filesIn(join(dir, name), `${prefix}${name}/`));
    else found.push(prefix + name);
  }
  return found.sort();
}

/** The command lines below "next": those that are indented by two. */
function commands(stdout: string): string[] {
  const [, next = ""] = stdout.split("\nnext\n");
  return [...next.matchAll(/^ {2}(\S.*)$/gm)].map(([, line = ""]) => line);
}

interface Shell {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a line as a shell does, to its end. */
async function shell(line: string, { cwd, env = {} }: Shell) {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", line],
    cwd,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    signal: AbortSignal.timeout(60_000),
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/** Conduit by a Deno that somebody has installed: this one may come from npx, where other words are printed. */
async function installed(dir: string): Promise<Program> {
  const command = join(dir, "deno");
  await Deno.copyFile(Deno.execPath(), command);
  return { ...FROM_SOURCE, command };
}

Deno.test("conduit init in an empty folder: every command that it prints works as printed", async () => {
  await using dir = await scratch();
  await using home = await scratch();
  const { code, stdout, stderr } = await conduit(["init"], {
    cwd: dir.path,
    program: await installed(home.path),
  });
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, WRITTEN);
  const [check = "", test = "", dev = "", ...curls] = commands(stdout);
  const shown = commands(stdout).map((line) => line.replace(/^(?:deno|'.*deno'|\/\S*deno) /, ""));
  assertEquals(shown.slice(0, 3), [
    `run -A ${ROOT}main.ts check`,
    "test",
    `run -A ${ROOT}main.ts dev`,
  ]);
  assertEquals(curls.length, 2);

  await using runtime = await scratch();
  const at = { cwd: dir.path, env: { XDG_RUNTIME_DIR: runtime.path } };
  const checked = await shell(check, at);
  assertEquals([checked.code, checked.stderr], [0, ""]);
  assertMatch(checked.stdout, /beforeRequest: 001-api-key\n +afterResponse: 002-response-headers/);
  // The tests need nothing that this machine has in its cache.
  const tested = await shell(test, {
    cwd: dir.path,
    env: { DENO_DIR: join(runtime.path, "deno") },
  });
  assertEquals(tested.code, 0, tested.stderr);
  assertMatch(tested.stdout, /ok \| 5 passed \| 0 failed/);
  const deno = test.replace(/ test$/, "");
  const text = await shell(`${deno} fmt --check && ${deno} lint`, at);
  assertEquals(text.code, 0, text.stderr);

  // Its ports may be taken on this machine, so others stand in for them; and it may be busy.
  await using upstream = echoUpstream();
  const port = freePort();
  const file = join(dir.path, "conduit.config.json");
  const config = JSON.parse(
    (await Deno.readTextFile(file)).replace("8080", `${port}`).replace("3000", `${upstream.port}`),
  );
  await Deno.writeTextFile(
    file,
    JSON.stringify({ ...config, ...PATIENT, admin: { listen: "127.0.0.1:0" } }),
  );
  await using _gateway = await started(dev, at);
  const [refused = "", allowed = ""] = curls.map((line) => line.replace("8080", `${port}`));
  assertMatch((await shell(refused, at)).stdout, /^HTTP\/1.1 401 [^]*missing x-api-key/);
  const answer = (await shell(allowed, at)).stdout;
  assertMatch(answer, /^HTTP\/1.1 200 [^]*x-content-type-options: nosniff/);
  assertEquals(upstream.seen.map(({ headers }) => headers["x-gateway-user"]), ["alice"]);
  await upstream[Symbol.asyncDispose]();
  assertMatch((await shell(allowed, at)).stdout, /^HTTP\/1.1 502 [^]*upstream_unreachable/);
});

/** Starts a command that serves and waits until it is ready; stops it with SIGTERM and expects exit 0. */
async function started(line: string, { cwd, env = {} }: Shell): Promise<AsyncDisposable> {
  const process = new Deno.Command("sh", {
    args: ["-c", `exec ${line}`],
    cwd,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let output = "";
  while (!/ ready /.test(output)) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`it ended before it was ready: ${output}`);
    output += value;
  }
  const rest = (async () => {
    while (!(await reader.read()).done);
  })();
  return {
    async [Symbol.asyncDispose]() {
      process.kill("SIGTERM");
      await rest;
      assertEquals((await process.status).code, 0);
    },
  };
}

Deno.test("conduit init DIR makes the folder, whatever its name, and says how to get there", async () => {
  await using dir = await scratch();
  const { code, stdout } = await conduit(["init", "deep/my 'first' gateway"], { cwd: dir.path });
  assertEquals(code, 0);
  const [cd = "", check = ""] = commands(stdout);
  assertEquals(cd, `cd 'deep/my '\\''first'\\'' gateway'`);
  const { code: checked, stderr } = await shell(`${cd} && ${check}`, { cwd: dir.path });
  assertEquals([checked, stderr], [0, ""]);
});

Deno.test("where npx has brought Deno, the next one is to bring it too", async () => {
  const bin = "/home/a/.npm/_npx/7a40/node_modules";
  assertEquals(
    (await denoWords(`${bin}/deno/deno`, `${bin}/.bin:/usr/bin`)).join(" "),
    `npx --yes deno@${Deno.version.deno}`,
  );
});

Deno.test("conduit init names Deno by its path, unless a shell finds this very one by its name", async () => {
  await using dir = await scratch({ "other/deno": "#!/bin/sh\n" });
  await Deno.mkdir(join(dir.path, "this"));
  const [own, other] = [join(dir.path, "this"), join(dir.path, "other")];
  const program = await installed(own);
  for (
    const [path, word] of [
      [dir.path, program.command],
      [`${dir.path}:${own}:${other}`, "deno"],
      [`${other}:${own}`, program.command],
    ] as const
  ) {
    const project = await Deno.makeTempDir({ dir: dir.path });
    const { stdout } = await conduit(["init"], { cwd: project, env: { PATH: path }, program });
    assertEquals(commands(stdout)[1], `${word} test`, path);
  }
});

Deno.test("conduit init overwrites nothing: it names what is in its way and writes no file", async () => {
  await using dir = await scratch({
    "deno.json": "{}",
    "plugins/001-api-key.ts": "mine",
    "notes": "",
  });
  const { code, stdout, stderr } = await conduit(["init", dir.path]);
  assertEquals([code, stdout], [1, ""]);
  assertEquals(
    stderr,
    `conduit: nothing was written to ${
      JSON.stringify(dir.path)
    }, since these files are there already:
  plugins/001-api-key.ts
  deno.json
`,
  );
  assertEquals(await filesIn(dir.path), ["deno.json", "notes", "plugins/001-api-key.ts"]);
});

Deno.test("conduit init writes beside files that it does not name", async () => {
  await using dir = await scratch({ "README.md": "mine", "plugins/_helper.ts": "export {};" });
  assertEquals((await conduit(["init", dir.path])).code, 0);
  assertEquals(await Deno.readTextFile(join(dir.path, "README.md")), "mine");
});

Deno.test("conduit init in a folder that it made refreshes .conduit and leaves the rest", async () => {
  await using dir = await scratch();
  await conduit(["init"], { cwd: dir.path });
  const before = await filesIn(dir.path);
  await Deno.writeTextFile(join(dir.path, "plugins/001-api-key.ts"), "mine");
  await Deno.remove(join(dir.path, "plugins/002-response-headers.ts"));
  await Deno.writeTextFile(join(dir.path, ".conduit/protocol/outdated.ts"), "");
  await Deno.writeTextFile(join(dir.path, ".conduit/plugin-host/mod.ts"), "outdated");
  const { code, stdout } = await conduit(["init"], { cwd: dir.path });
  assertEquals(code, 0);
  assertMatch(stdout, /^refreshed \.conduit\/ \(\d+ files: .*all other files are yours/);
  assertEquals(await Deno.readTextFile(join(dir.path, "plugins/001-api-key.ts")), "mine");
  const after = before.filter((name) => name !== "plugins/002-response-headers.ts");
  assertEquals(await filesIn(dir.path), after);
  for (const name of after.filter((each) => /^\.conduit\/p/.test(each))) {
    const [copy, source] = [join(dir.path, name), join(ROOT, name.replace(".conduit/", ""))];
    assertEquals(await Deno.readTextFile(copy), await Deno.readTextFile(source), name);
  }
});

for (
  const [what, path] of [["a file", "file"], ["in a file", "file/below"], [
    "not writable",
    "/proc/x",
  ]]
) {
  Deno.test(`conduit init DIR that is ${what} ends with exit 1 and says so`, async () => {
    await using dir = await scratch({ "file": "mine" });
    const target = join(dir.path, path as string).replace(/^.*\/proc\//, "/proc/");
    const { code, stdout, stderr } = await conduit(["init", target]);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, `conduit: cannot write to ${JSON.stringify(target)}: `);
    assertEquals(stderr.split("\n").length, 2);
    assertEquals(await filesIn(dir.path), ["file"]);
  });
}

for (const args of [["init", "a", "b"], ["init", "-x"], ["types", "a"]]) {
  Deno.test(`conduit ${args.join(" ")} is wrong usage`, async () => {
    const { code, stderr } = await conduit(args);
    assertEquals([code, stderr], [
      2,
      `conduit: unknown argument "${args.at(-1)}"; see conduit help\n`,
    ]);
  });
}

Deno.test("examples/init holds what conduit init writes, and nothing else", async () => {
  const templates = (await filesBelow("examples/init")).map((name) =>
    name.slice("examples/init/".length)
  );
  const [, ...listed] = WRITTEN.trimEnd().split("\n").map((line) => line.trim());
  assertEquals(
    templates.toSorted(),
    listed.filter((name) => !name.endsWith("deno.json")).toSorted(),
  );
});

Deno.test("conduit types prints one file that imports nothing, has every type and suits the shipped plugins", async () => {
  const { code, stdout, stderr } = await conduit(["types"]);
  assertEquals([code, stderr], [0, ""]);
  const mod = await Deno.readTextFile(join(ROOT, "plugin-host/mod.ts"));
  const own = mod.slice(mod.indexOf("/** The default export of a plugin file"));
  assert(own.length > 5000 && stdout.endsWith(own), "it is not plugin-host/mod.ts");
  assertEquals(stdout.match(/^(?:import|export .* from) /m), null);
  assertEquals([...stdout.matchAll(/^export type (\w+)/gm)].map(([, name]) => name).slice(0, 2), [
    "BodyInfo",
    "Json",
  ]);

  const plugins = (await filesBelow("plugins")).filter((name) => /\/\d{3}-[a-z-]+\.ts$/.test(name));
  assertEquals(plugins.length, 4);
  await using dir = await scratch({
    "conduit.d.ts": stdout,
    "wrong.ts": `import type { Plugin } from "conduit/plugin";
export default { beforeRequest(ctx) { ctx.nothing; } } satisfies Plugin;`,
    "deno.json": JSON.stringify({
      imports: { "conduit/plugin": "./conduit.d.ts" },
      compilerOptions: { strict: true, noUncheckedIndexedAccess: true },
    }),
  });
  for (const name of plugins) {
    await Deno.copyFile(join(ROOT, name), join(dir.path, name.slice("plugins/".length)));
  }
  const copies = plugins.map((name) => name.slice("plugins/".length));
  const checked = await shell(`"${Deno.execPath()}" check conduit.d.ts ${copies.join(" ")}`, {
    cwd: dir.path,
  });
  assertEquals(checked.code, 0, checked.stderr);
  const wrong = await shell(`"${Deno.execPath()}" check wrong.ts`, { cwd: dir.path });
  assertStringIncludes(wrong.stderr, "'nothing' does not exist on type 'GatewayContext'");
  assert(!checked.stderr.includes(toFileUrl(ROOT).href), "it reads the sources of this repository");
});
