import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { echoUpstream } from "../support/echo_upstream.ts";
import { conduit, configText, scratch } from "../support/conduit.ts";
import { ask, type HostProgram, hostProgram } from "../support/failure.ts";
import { isRunning, type TestGateway, testGateway } from "../support/gateway.ts";
import { NpmRegistry } from "../support/npm_registry.ts";
import { PATIENT } from "../support/patient.ts";

const FILE = "001-a.ts";
const CHECKED = /the plugins have type errors|types of the plugins/;

/** A plugin that puts `version` into each answer, with these lines before it. */
const plugin = (version: string, ...lines: readonly string[]) =>
  `import type { GatewayContext, Plugin } from "conduit/plugin";

export default {
  afterResponse(ctx: GatewayContext) {
    ${lines.join("\n    ")}
    ctx.response.setHeader("x-version", "${version}");
  },
} satisfies Plugin;
`;

const WRONG = "const wrong: number = ctx.request.path;";

/** What its log says, line by line, from record `from` on. */
const printed = (gateway: TestGateway, from = 0): string =>
  gateway.logs.slice(from).map((line) => line.message).join("\n");

async function untilVersion(gateway: TestGateway, version: string): Promise<void> {
  await gateway.until(
    async () => (await ask(gateway, "/")).headers.get("x-version") === version,
    { what: `version ${version}` },
  );
}

/** What the program noted of each check. */
async function checks({ dir }: HostProgram): Promise<number[]> {
  const text = await Deno.readTextFile(join(dir, "deno.checks")).catch(() => "");
  return text.split("\n").filter(Boolean).map(Number);
}

Deno.test("dev: a saved plugin is live whatever its types; its type errors are shown once, with file, line, column and a code frame", async () => {
  await using upstream = echoUpstream();
  await using program = await hostProgram(`
    if [ "$1" != check ]; then exec $DENO "$@"; fi
    $DENO "$@"
    code=$?
    echo $code >> "$0.checks"
    exit $code`);
  await using gateway = await testGateway({
    command: "dev",
    env: program.env,
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      [FILE]: plugin("one"),
      "001-a_test.ts": "const neverChecked: number = '';",
      "002-plain.js": "export default { beforeRequest(ctx) { ctx.nothing; } };",
    },
  });
  await gateway.savePlugin(FILE, plugin("two", WRONG));
  await untilVersion(gateway, "two");
  await gateway.waitForLog((line) => CHECKED.test(line.message));
  await gateway.waitForLog((line) => line.message.trim() === "at 001-a.ts:5:11");
  assert(
    printed(gateway).includes(
      `the plugins have type errors count=1
    TS2322 [ERROR]: Type 'string' is not assignable to type 'number'.
        const wrong: number = ctx.request.path;
              ~~~~~
        at 001-a.ts:5:11`,
    ),
    printed(gateway),
  );

  // The same errors again: nothing new.
  const made = (await checks(program)).length;
  await gateway.savePlugin(FILE, plugin("three", WRONG));
  await gateway.until(async () => (await checks(program)).length > made, { what: "a check" });
  await gateway.savePlugin(FILE, plugin("four"));
  await gateway.waitForLog((line) =>
    line.message.endsWith("the types of the plugins are well again")
  );
  assertEquals(gateway.logs.filter((line) => CHECKED.test(line.message)).length, 2);
  assert(!printed(gateway).includes("neverChecked"), printed(gateway));
});

Deno.test("dev: a check of types keeps nobody waiting, one runs at a time for the latest state, and none outlives the gateway", async () => {
  await using upstream = echoUpstream();
  await using program = await hostProgram(`
    if [ "$1" = check ]; then echo $$ >> "$0.checks"; exec sleep 600; fi
    exec $DENO "$@"`);
  await using gateway = await testGateway({
    command: "dev",
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { [FILE]: plugin("one") },
    env: program.env,
  });
  const started = (count: number) =>
    gateway.until(async () => (await checks(program)).length === count, {
      what: `${count} checks`,
    });
  await started(1);
  await untilVersion(gateway, "one");
  await gateway.savePlugin(FILE, plugin("two"));
  await untilVersion(gateway, "two");
  await started(2);
  const [first = 0, second = 0] = await checks(program);
  assertEquals([await isRunning(first), await isRunning(second)], [false, true]);
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  await gateway.until(async () => !await isRunning(second), { what: "the end of the check" });
  assertEquals(CHECKED.test(printed(gateway)), false, "a check that was ended says nothing");
});

Deno.test("dev: types of installed npm packages are known, without the network", async () => {
  await using npm = new NpmRegistry();
  await npm.publish({
    name: "greet",
    version: "1.0.0",
    files: {
      "mod.js": `export const greeting = (who) => "hello " + who;`,
      "mod.d.ts": `export declare function greeting(who: string): string;`,
    },
  });
  await using upstream = echoUpstream();
  await using program = await hostProgram(
    `[ "$1" = install ] && export NPM_CONFIG_REGISTRY=${npm.url}\nexec $DENO "$@"`,
  );
  const env = { ...program.env, CACHE_DIRECTORY: program.dir };
  const routes = [{ path: "/*", upstream: upstream.url }];
  const uses = `import { greeting } from "greet";
    export default { onLoad() { const wrong: number = greeting("you"); console.log(wrong); } };`;
  await using project = await scratch({
    "conduit.config.json": configText({ routes }),
    "plugins/001-a.ts": uses,
    "plugins/deno.json": JSON.stringify({ imports: { greet: "npm:greet@1.0.0" } }),
  });
  // Only the installing Deno knows this registry: everything after it must do without.
  const installed = await conduit(
    ["check", "--install", "--config", join(project.path, "conduit.config.json")],
    { env },
  );
  assertEquals(installed.code, 0, installed.stderr);
  const asked = npm.requests.length;
  const lock = await Deno.readTextFile(join(project.path, "plugins/deno.lock"));

  await using gateway = await testGateway({
    command: "dev",
    config: { ...PATIENT, routes },
    plugins: {
      [FILE]: uses,
      "deno.json": JSON.stringify({ imports: { greet: "npm:greet@1.0.0" } }),
      "deno.lock": lock,
    },
    env: { CACHE_DIRECTORY: program.dir },
  });
  await gateway.waitForLog((line) =>
    line.message.trim() === "TS2322 [ERROR]: Type 'string' is not assignable to type 'number'."
  );
  assertEquals(npm.requests.length, asked);
});

Deno.test("dev: types that cannot be checked are told in one line", async () => {
  await using upstream = echoUpstream();
  await using program = await hostProgram(`
    if [ "$1" = check ]; then echo "no checker here" >&2; exit 3; fi
    exec $DENO "$@"`);
  await using gateway = await testGateway({
    command: "dev",
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { [FILE]: plugin("one", WRONG) },
    env: program.env,
  });
  const line = await gateway.waitForLog((line) => CHECKED.test(line.message));
  assert(
    line.message.endsWith('the types of the plugins cannot be checked reason="no checker here"'),
    line.message,
  );
});

Deno.test("run: types are not checked", async () => {
  await using upstream = echoUpstream();
  await using program = await hostProgram(`
    if [ "$1" = check ]; then echo $$ >> "$0.checks"; fi
    exec $DENO "$@"`);
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { [FILE]: plugin("one", WRONG) },
    env: program.env,
  });
  await untilVersion(gateway, "one");
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  assertEquals([await checks(program), CHECKED.test(printed(gateway))], [[], false]);
});
