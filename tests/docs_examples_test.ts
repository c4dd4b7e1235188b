import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import { createTestContext, runHook, type TestContextOptions } from "conduit/testing";
import type { Plugin } from "conduit/plugin";
import { ConfigError, loadConfig } from "../gateway/config.ts";
import { namedPackages } from "../gateway/plugin_packages.ts";
import { isolateLog } from "../plugin-host/isolate_log.ts";
import { loadPlugins, pluginFiles } from "../plugin-host/loader.ts";
import type { HookName } from "../protocol/snapshot.ts";
import { conduit } from "./support/conduit.ts";
import { echoUpstream } from "./support/echo_upstream.ts";
import { testGateway } from "./support/gateway.ts";
import { codeBlocks, readDoc, ROOT, section } from "./support/prose.ts";

/** What a hook of an example must come to: its action, or the status of its rejection. */
interface Case {
  readonly hook: HookName;
  readonly input: TestContextOptions;
  readonly expected: string | number;
}

const before = (expected: string | number, input: TestContextOptions = {}): Case => {
  return { hook: "beforeRequest", input, expected };
};
const after = (expected: string | number, input: TestContextOptions = {}): Case => {
  return { hook: "afterResponse", input, expected };
};
const order = (body: TestContextOptions["body"]): TestContextOptions => ({ method: "POST", body });
const score = (score: number) => ({ http: () => Response.json({ score }) });
const HANGS: TestContextOptions = { http: () => new Promise(() => {}), timeoutMs: 20 };
const PADDED = order({ amount: 5000, padding: " ".repeat(70_000) });

/** By the name of the example in plugins.md. Those of one plugin share a cache. */
const CASES: Readonly<Record<string, readonly Case[]>> = {
  "003-session.ts": [before(401)], // more of it in its own test, below
  "020-rate.ts": [
    ...Array.from({ length: 10 }, () => before("continue")),
    before(429),
    before("error", { cache: "down" }),
  ],
  "030-order.ts": [
    before("continue"),
    before(413, order({ reference: 1_000_000 })),
    before(400, order("{")),
    before(400, order([])),
    before("modify", order({ items: [] })),
    after("modify", { state: { "order.checked": true } }),
  ],
  "040-beta.ts": [
    before("modify"),
    before("forward", { headers: { "x-beta": "yes" } }),
    after("modify", { response: { status: 404 } }),
  ],
  "110-risk-right.ts": [
    before("timed_out", HANGS),
    before("continue", score(10)),
    before("continue", HANGS), // known by now
    before(403, { ...score(91), remoteAddr: "203.0.113.8" }),
  ],
  "110-risk-wrong.ts": [before("timed_out", HANGS), before(403, score(91))],
  "120-count-right.ts": [before("continue"), before("continue"), before(429)],
  "120-count-wrong.ts": [before("continue"), before("continue"), before(429)],
  "130-amount-right.ts": [
    before(403, order({ amount: 5000 })),
    before("continue", order({ amount: 5 })),
    before(413, PADDED),
  ],
  "130-amount-wrong.ts": [before(403, order({ amount: 5000 })), before("error", PADDED)],
};

async function withExamples(use: (dir: string, files: string[]) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    for (const { info, text } of codeBlocks(await readDoc("docs/plugins.md"), "ts")) {
      assert(/^\d{3}-[\w-]+\.ts$/.test(info), `an example has no file name: ${text}`);
      await Deno.writeTextFile(join(dir, info), text);
    }
    await use(dir, await pluginFiles(toFileUrl(`${dir}/`)));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("every plugin and test in plugins.md passes the type check", async () => {
  await withExamples(async (dir) => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--config", join(ROOT, "deno.json"), dir],
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
  });
});

Deno.test("every plugin in plugins.md loads and does what it says", async () => {
  await withExamples(async (dir, files) => {
    assertEquals(files, Object.keys(CASES));
    const loaded = await loadPlugins(toFileUrl(`${dir}/`), files, {
      config: { "003-session": { sessionsUrl: "http://sessions.test" } },
      env: {},
      services: createTestContext().services(() => new AbortController().signal),
      log: () => isolateLog(() => {}),
    });
    for (const { plugin, manifest } of loaded) {
      const { cache } = createTestContext();
      for (const { hook, input, expected } of CASES[manifest.file] ?? []) {
        const ctx = createTestContext({ timeoutMs: 10_000, cache, ...input });
        const { action, rejected, error } = await runHook(plugin, hook, ctx);
        const told = `${manifest.file} ${hook} ${JSON.stringify(input)} ${error?.message}`;
        assertEquals(rejected?.status ?? action, expected, told);
      }
    }
  });
});

Deno.test("the mistakes in plugins.md let requests in, and what stands below them does not", async () => {
  await withExamples(async (dir) => {
    const load = async (name: string, isolate = 1): Promise<Plugin> =>
      (await import(`${toFileUrl(join(dir, name)).href}?isolate=${isolate}`)).default;
    // A hook that has no answer, or an error: without a rule of its own the request goes on, as it does for `continue`.
    assertEquals((await load("110-risk-wrong.ts")).onTimeout, undefined);
    assertEquals((await load("110-risk-right.ts")).onTimeout, "reject");
    assertEquals((await load("130-amount-wrong.ts")).onHookError, "continue");
    assertEquals((await load("130-amount-right.ts")).onHookError, undefined);
    const last = async (name: string) => {
      const isolates = [await load(name, 1), await load(name, 2)];
      const { cache } = createTestContext();
      let action = "";
      for (const plugin of [...isolates, ...isolates]) {
        ({ action } = await runHook(plugin, "beforeRequest", createTestContext({ cache })));
      }
      return action;
    };
    assertEquals(await last("120-count-wrong.ts"), "continue");
    assertEquals(await last("120-count-right.ts"), "reject");
  });
});

Deno.test("the tutorial of plugins.md works step by step", async () => {
  const dir = await Deno.makeTempDir();
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args,
      cwd: dir,
      env: { NO_COLOR: "1" },
    }).output();
    const text = new TextDecoder();
    return { code, output: text.decode(stdout) + text.decode(stderr) };
  };
  try {
    assertEquals((await conduit(["init"], { cwd: dir })).code, 0);
    const page = section(await readDoc("docs/plugins.md"), "From nothing to a tested auth plugin");
    const files = codeBlocks(page, "ts");
    assertEquals(files.map(({ info }) => info), ["003-session.ts", "003-session_test.ts"]);
    for (const { info, text } of files) await Deno.writeTextFile(join(dir, "plugins", info), text);
    const tested = await run("test");
    assertEquals(tested.code, 0, tested.output);
    assertMatch(tested.output, /ok \| 9 passed/);
    const [config] = codeBlocks(page, "json");
    assertEquals(config?.info, "conduit.config.json");
    await Deno.writeTextFile(join(dir, "conduit.config.json"), config?.text ?? "");
    const checked = await conduit(["check"], { cwd: dir });
    assertEquals([checked.code, checked.stderr], [0, ""]);
    assertMatch(checked.stdout, /\/partners\/\* [^]*beforeRequest: 001-api-key\n/);
    assertMatch(checked.stdout, / {2}\/\* [^]*beforeRequest: 003-session\n/);
    // The tests of the page can fail: without its check of the status the plugin believes an error page.
    const plugin = join(dir, "plugins/003-session.ts");
    const source = await Deno.readTextFile(plugin);
    await Deno.writeTextFile(plugin, source.replace(/ {2}if \(!response\.ok\).*\n/, ""));
    assertEquals((await run("test")).code, 1);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the packages of plugins.md are named as the gateway reads them", async () => {
  const page = section(await readDoc("docs/plugins.md"), "Packages from npm");
  const [block] = codeBlocks(page, "json");
  assertEquals(block?.info, "plugins/deno.json");
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(dir, "deno.json"), block?.text ?? "");
    const packages = await namedPackages(dir, () => dir);
    assertEquals(packages?.imports, JSON.parse(block?.text ?? "{}").imports);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the smallest gateway of README.md does what the page says", async () => {
  const page = section(await readDoc("README.md"), "The smallest gateway");
  const [config] = codeBlocks(page, "json");
  const [plugin] = codeBlocks(page, "ts");
  const file = /plugins\/(\d{3}-\w+\.ts)/.exec(page)?.[1] ?? "";
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: JSON.parse((config?.text ?? "").replace("http://127.0.0.1:3000", upstream.url)),
    plugins: { [file]: plugin?.text ?? "" },
  });
  const refused = await gateway.fetch("/hello");
  assertEquals(refused.status, 401);
  const { error } = await refused.json();
  const [example] = codeBlocks(
    section(await readDoc("README.md"), "When something is wrong"),
    "json",
  );
  const told = JSON.parse(example?.text ?? "{}").error;
  assertEquals(error, { ...told, traceId: refused.headers.get("x-request-id") });
  const allowed = await gateway.fetch("/hello", { headers: { "x-api-key": "1" } });
  assertEquals((await allowed.json()).headers["x-checked"], "yes");
});

for (const doc of ["README.md", "docs/configuration.md"]) {
  Deno.test(`${doc} shows what a configuration with mistakes ends with, word for word`, async () => {
    const [mistakes] = codeBlocks(await readDoc("README.md"), "json").filter(({ info }) => info);
    const [told] = codeBlocks(await readDoc(doc), "text");
    const file = await Deno.makeTempFile({ suffix: ".json" });
    try {
      await Deno.writeTextFile(file, mistakes?.text ?? "");
      const error = await assertRejects(() => loadConfig(file), ConfigError) as Error;
      assertEquals(`conduit: ${error.message}\n`, told?.text);
    } finally {
      await Deno.remove(file);
    }
  });
}

Deno.test("the smallest configuration in configuration.md is one", async () => {
  const file = await Deno.makeTempFile({ suffix: ".json" });
  try {
    const [block] = codeBlocks(await readDoc("docs/configuration.md"), "json");
    await Deno.writeTextFile(file, block?.text ?? "");
    assertEquals((await loadConfig(file)).routes.length, 1);
  } finally {
    await Deno.remove(file);
  }
});
