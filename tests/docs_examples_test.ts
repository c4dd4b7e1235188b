import { assert, assertEquals, assertRejects } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import { CacheStore } from "../gateway/cache.ts";
import { ConfigError, loadConfig } from "../gateway/config.ts";
import { isolateLog } from "../plugin-host/isolate_log.ts";
import { loadPlugins, pluginFiles } from "../plugin-host/loader.ts";
import type { Services } from "../plugin-host/mod.ts";
import { cacheService } from "../plugin-host/services/cache.ts";
import { httpService } from "../plugin-host/services/http.ts";
import type { HookName } from "../protocol/snapshot.ts";
import { type EchoUpstream, echoUpstream } from "./support/echo_upstream.ts";
import { testGateway } from "./support/gateway.ts";
import { codeBlocks, readDoc, ROOT, section } from "./support/prose.ts";
import { draftAfter, type HookInput, runPlugin } from "./support/run_hook.ts";

/** What a hook of an example must come to: its action, or the status of its rejection. */
interface Case {
  readonly hook: HookName;
  readonly input: HookInput;
  readonly expected: string | number;
}

const inline = (text: string) =>
  ({ kind: "inline", sizeBytes: text.length, base64: btoa(text) }) as const;
const post = (text: string): HookInput => ({ method: "POST", body: inline(text) });
const before = (expected: string | number, input: HookInput = {}): Case => {
  return { hook: "beforeRequest", input, expected };
};
const after = (expected: string | number, input: HookInput = {}): Case => {
  return { hook: "afterResponse", input, expected };
};

/** By the name of the example in plugins.md. */
const CASES: Readonly<Record<string, readonly Case[]>> = {
  "001-key.ts": [before(401), before("modify", { headers: { "x-api-key": "1" } })],
  "010-session.ts": [
    before(401),
    before(401, { headers: { authorization: "Session nobody" } }),
    before("modify", { headers: { authorization: "Session abc" } }),
  ],
  "020-rate.ts": [
    ...Array.from({ length: 10 }, () => before("continue", { timeoutMs: 10_000 })),
    before(429, { timeoutMs: 10_000 }),
  ],
  "030-order.ts": [
    before("continue"),
    before(413, { method: "POST", body: { kind: "reference", ref: "stream://1" } }),
    before(400, post("{")),
    before(400, post("[]")),
    before("modify", post('{"items":[]}')),
    after("modify", {
      draft: draftAfter({
        type: "result",
        id: 1,
        plugin: "030-order",
        durationMs: 0,
        action: "modify",
        patch: { state: { "order.checked": true } },
      }),
    }),
  ],
  "040-beta.ts": [
    before("modify"),
    before("forward", { headers: { "x-beta": "yes" } }),
    after("modify", { response: { status: 404 } }),
  ],
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

Deno.test("every plugin in plugins.md passes the type check", async () => {
  await withExamples(async (dir, files) => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--config", join(ROOT, "deno.json"), ...files.map((file) => join(dir, file))],
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
  });
});

Deno.test("every plugin in plugins.md loads and does what it says", async () => {
  await using sessions = sessionService();
  const store = new CacheStore({ maxEntries: 100, maxBytes: 100_000 });
  const services: Services = {
    http: httpService({ traceHeaders: {}, signal: () => new AbortController().signal }),
    cache: cacheService((method, args) => store.call(method, args)),
  };
  await withExamples(async (dir, files) => {
    assertEquals(files, Object.keys(CASES));
    const loaded = await loadPlugins(toFileUrl(`${dir}/`), files, {
      config: { "010-session": { sessionsUrl: sessions.url } },
      env: {},
      services,
      log: () => isolateLog(() => {}),
    });
    for (const { plugin, manifest } of loaded) {
      for (const { hook, input, expected } of CASES[manifest.file] ?? []) {
        const result = await runPlugin(plugin, hook, { timeoutMs: 5000, services, ...input });
        const outcome = result.action === "reject" ? result.status : result.action;
        assertEquals(outcome, expected, `${manifest.file} ${hook} ${JSON.stringify(result)}`);
        assert(!("error" in result), JSON.stringify(result));
      }
    }
  });
});

function sessionService(): EchoUpstream {
  return echoUpstream({
    respond: ({ target }) =>
      target === "/abc" ? Response.json({ user: "alice" }) : new Response(null, { status: 404 }),
  });
}

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
