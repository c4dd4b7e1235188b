import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { basename, join } from "@std/path";
import { conduit, configText, scratch, writeFiles } from "../support/conduit.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { NpmRegistry } from "../support/npm_registry.ts";
import { wordsOf } from "../support/proc.ts";

const PLUGIN = `import { greeting } from "greet";
export default {
  readsBodies: false,
  beforeRequest(ctx) { ctx.reject(418, greeting("you")); },
};`;
const NAMES = JSON.stringify({ imports: { greet: "npm:greet@1.0.0" } });

/** `greet` 1.0.0, which needs some `words` 1.x. */
async function registry(): Promise<NpmRegistry> {
  const registry = new NpmRegistry();
  await registry.publish({
    name: "words",
    version: "1.0.0",
    files: { "mod.js": `export const hello = "hello";` },
  });
  await registry.publish({
    name: "greet",
    version: "1.0.0",
    dependencies: { words: "^1.0.0" },
    scripts: { postinstall: "touch ran-my-script" },
    files: {
      "mod.js":
        `import { hello } from "words"; export const greeting = (who) => hello + " " + who;`,
    },
  });
  return registry;
}

function project(files: Readonly<Record<string, string>> = {}) {
  return scratch({
    "conduit.config.json": configText(),
    "plugins/001-greet.ts": PLUGIN,
    "plugins/deno.json": NAMES,
    ...files,
  });
}

/**
 * Where a test's packages go, and where they come from. Only the installing Deno gets to know the registry: the gateway's
 * own packages come from the real one.
 */
async function environment(dir: string, registry?: NpmRegistry): Promise<Record<string, string>> {
  const cache = { CACHE_DIRECTORY: join(dir, "cache") };
  if (!registry) return cache;
  const deno = join(dir, "deno-of-the-registry");
  await writeFiles(dir, {
    [basename(deno)]: `#!/bin/sh
[ "$1" = install ] && export NPM_CONFIG_REGISTRY=${registry.url}
exec '${Deno.execPath()}' "$@"
`,
  });
  return { ...cache, CONDUIT_DENO: deno };
}

function check(dir: string, env: Record<string, string>, ...more: string[]) {
  return conduit(["check", "--config", join(dir, "conduit.config.json"), ...more], { env });
}

Deno.test("packages: a missing one says so, check --install fetches it once, and the host runs from the cache only", async () => {
  await using npm = await registry();
  await using dir = await project();
  const env = await environment(dir.path, npm);

  const missing = await check(dir.path, env);
  assertEquals([missing.code, missing.stderr], [
    1,
    `conduit: plugins did not load:\ndeno.json: npm:greet@1.0.0 not installed for this user and this deno.lock; run "conduit check --install"\n`,
  ]);
  assertEquals(npm.requests, [], "nothing is fetched that nobody asked for");

  const installed = await check(dir.path, env, "--install");
  assertEquals(installed.code, 0, installed.stderr);
  assertStringIncludes(installed.stdout, "001-greet");
  assertMatch(await Deno.readTextFile(join(dir.path, "plugins/deno.lock")), /"words@1.0.0"/);
  const found = await Array.fromAsync(walkNames(dir.path));
  assert(!found.includes("ran-my-script"), "a package's install script was run");

  const asked = npm.requests.length;
  assertEquals((await check(dir.path, env, "--install")).code, 0);
  assertEquals((await check(dir.path, env)).code, 0);
  assertEquals(npm.requests.length, asked, "a second time needs no registry");
});

Deno.test("packages: the gateway serves with them when no registry can be reached, under flags that name them", async () => {
  await using dir = await project();
  {
    await using npm = await registry();
    assertEquals((await check(dir.path, await environment(dir.path, npm), "--install")).code, 0);
  }
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      pluginsDir: join(dir.path, "plugins"),
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    env: await environment(dir.path),
  });
  const refused = await gateway.fetch("/");
  assertEquals([refused.status, (await refused.json()).error.message], [418, "hello you"]);

  const [host = 0] = await gateway.hostPids();
  const flags = await wordsOf(host, "cmdline");
  const value = (flag: string) => flags.find((it) => it.startsWith(`${flag}=`))?.split("=")[1];
  const packages = value("--config")?.replace("/deno.json", "") ?? "";
  assert(packages.startsWith(join(dir.path, "cache/plugin-packages/")), packages);
  assertEquals(value("--lock"), `${packages}/deno.lock`);
  for (const flag of ["--frozen", "--no-remote", "--cached-only", "--no-prompt", "--deny-run"]) {
    assert(flags.includes(flag), flag);
  }
  assert(!value("--allow-read")?.includes("cache"), "packages are loaded, not read");
});

Deno.test("packages: deno.lock decides what another machine installs, to the byte", async () => {
  await using npm = await registry();
  await using dir = await project();
  assertEquals((await check(dir.path, await environment(dir.path, npm), "--install")).code, 0);
  const lock = await Deno.readTextFile(join(dir.path, "plugins/deno.lock"));
  await npm.publish({
    name: "words",
    version: "1.1.0",
    files: { "mod.js": `export const hello = "newer";` },
  });
  await using other = await project({ "plugins/deno.lock": lock });
  assertEquals((await check(other.path, await environment(other.path, npm), "--install")).code, 0);
  assertEquals(await Deno.readTextFile(join(other.path, "plugins/deno.lock")), lock);
  assert(npm.requests.includes("GET words/-/words@1.0.0.tgz"));
  assert(!npm.requests.includes("GET words/-/words@1.1.0.tgz"));

  await npm.tamper("words", "1.0.0", { "mod.js": `export const hello = "evil";` });
  await using third = await project({ "plugins/deno.lock": lock });
  const { code, stderr } = await check(third.path, await environment(third.path, npm), "--install");
  assertEquals(code, 1);
  assertMatch(stderr, /^conduit: deno\.json: its packages cannot be installed\n[^]*words/);
});

Deno.test("packages: a new one is live once it is installed, what runs goes on until then, and no request is lost", async () => {
  await using npm = await registry();
  await using dir = await project({
    "plugins/deno.json": "{}",
    "plugins/001-greet.ts": plain("one"),
  });
  const env = await environment(dir.path, npm);
  await using upstream = echoUpstream();
  const pluginsDir = join(dir.path, "plugins");
  await using gateway = await testGateway({
    config: { pluginsDir, routes: [{ path: "/*", upstream: upstream.url }] },
    env,
  });
  const told = async () => {
    const response = await gateway.fetch("/");
    const message = (await response.json()).error.message;
    assertEquals(response.status, 418, message);
    return message;
  };
  const before = await gateway.hostPids();
  await Deno.writeTextFile(join(pluginsDir, "deno.json"), NAMES);
  await Deno.writeTextFile(join(pluginsDir, "001-greet.ts"), PLUGIN);
  await gateway.waitForLog(
    ({ message, reason }) =>
      message === "plugins did not load; what runs goes on" &&
      String(reason).includes("check --install"),
    { what: "the missing package in the log" },
  );
  assertEquals([await told(), await gateway.hostPids()], ["one", before]);

  const installing = check(dir.path, env, "--install");
  const seen = new Set<string>();
  await gateway.until(async () => seen.add(await told()).has("hello you"), {
    what: "the plugin with the package to be live",
  });
  assertEquals([...seen], ["one", "hello you"]);
  assertEquals((await installing).code, 0);
  await gateway.until(async () => (await gateway.hostPids()).length === 1, {
    what: "the host without the package to end",
  });
});

Deno.test("packages: what deno.json does not name is not loaded, wherever it would come from", async () => {
  const remedy =
    `; name npm packages in deno.json of the plugins folder, and run "conduit check --install"`;
  for (
    const [from, told] of [
      ["words", `"words" is no installed package${remedy}`],
      ["npm:words@1.0.0", `"words" is no installed package${remedy}`],
      ["jsr:@std/assert@1", `"@std/assert" is no installed package${remedy}`],
      [
        "https://esm.sh/words",
        `"esm.sh:443" is a host, and plugins import nothing from the network${remedy}`,
      ],
      [
        "conduit/plugin",
        '"conduit/plugin" has nothing but types; write "import type" instead of "import"',
      ],
      [
        "conduit/testing",
        '"conduit/testing" is for tests; import it in files like "001-name_test.ts"',
      ],
    ]
  ) {
    await using dir = await project({
      "plugins/001-greet.ts": `import * as x from "${from}";\nexport default { x };`,
      "plugins/deno.json": "{}",
    });
    const { code, stderr } = await check(dir.path, await environment(dir.path));
    assertEquals([code, stderr], [
      1,
      `conduit: plugins did not load:\n001-greet.ts:1:20: ${told}\n`,
    ]);
  }
});

const MISTAKES: readonly (readonly [name: string, text: string, tells: string])[] = [
  ["no JSON", `{"imports": {`, `deno.json: expected`],
  ["a list", `{"imports": []}`, `deno.json: is not an object like {"imports"`],
  [
    "a name without a version",
    `{"imports": {"a": "npm:a"}}`,
    `imports["a"]: "npm:a" is not an npm`,
  ],
  ["a JSR package", `{"imports": {"a": "jsr:@a/b@1"}}`, `imports["a"]: "jsr:@a/b@1" is not an npm`],
  ["an address", `{"imports": {"a": "https://a/b.ts"}}`, `"https://a/b.ts" is not an npm package`],
  ["a file", `{"imports": {"a": "./_a.ts"}}`, `imports["a"]: "./_a.ts" is not an npm package`],
  ["a number", `{"imports": {"a": 1}}`, `imports["a"]: 1 is not an npm package`],
];

for (const [name, text, tells] of MISTAKES) {
  Deno.test(`packages: ${name} in deno.json is refused with the place`, async () => {
    await using dir = await project({ "plugins/deno.json": text });
    for (const more of [[], ["--install"]]) {
      const { code, stderr } = await check(dir.path, await environment(dir.path), ...more);
      assertEquals(code, 1);
      assertStringIncludes(stderr, tells);
    }
  });
}

Deno.test("packages: types and test tools of conduit in deno.json are no packages", async () => {
  await using dir = await project({
    "plugins/deno.json": `{"imports": {"conduit/plugin": "../types.d.ts"}}`,
    "plugins/001-greet.ts": plain("one"),
  });
  assertEquals((await check(dir.path, await environment(dir.path))).code, 0);
});

Deno.test("packages: a package that is not in the registry says what Deno said", async () => {
  await using npm = new NpmRegistry();
  await using dir = await project();
  const { code, stderr } = await check(dir.path, await environment(dir.path, npm), "--install");
  assertEquals(code, 1);
  assertMatch(stderr, /cannot be installed\n[^]*npm package 'greet' does not exist/);
  const left = await Array.fromAsync(Deno.readDir(join(dir.path, "cache/plugin-packages")));
  assertEquals(left, [], "nothing half-done stays");
});

Deno.test("packages: where deno.lock cannot be written nothing is installed, and it says what to do", async () => {
  await using npm = await registry();
  await using dir = await project();
  await Deno.symlink("/nowhere/deno.lock", join(dir.path, "plugins/deno.lock"));
  const { code, stderr } = await check(dir.path, await environment(dir.path, npm), "--install");
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /deno\.lock: cannot be written: .*; install where it can be, and bring the file along$/m,
  );
  const left = await Array.fromAsync(Deno.readDir(join(dir.path, "cache/plugin-packages")));
  assertEquals(left, [], "nothing half-done stays");
});

function plain(text: string): string {
  return `export default { readsBodies: false, beforeRequest(ctx) { ctx.reject(418, "${text}"); } };`;
}

async function* walkNames(dir: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    yield name;
    if (isDirectory) yield* walkNames(join(dir, name));
  }
}
