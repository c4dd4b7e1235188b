import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join, toFileUrl } from "@std/path";
import fc from "fast-check";
import { loadConfig } from "../../gateway/config.ts";
import { isolateLog } from "../../plugin-host/isolate_log.ts";
import { loadPlugins, pluginFiles } from "../../plugin-host/loader.ts";
import type { Services } from "../../plugin-host/mod.ts";
import { CONFIG_FILE, exampleConfig, PORTS, startServices } from "./example.ts";
import { shellWord, tries, tryText } from "./try.ts";

const TOKENS = { alice: "alice-secret", root: "root-secret" };
const NO_ENV = { env: () => undefined };

Deno.test("the example's configuration is valid, and its upstreams are the services' ports", async () => {
  const config = await loadConfig(CONFIG_FILE, NO_ENV);
  const ports = config.routes.flatMap(({ upstreams }) => upstreams.map(({ port }) => port));
  assertEquals(ports, [PORTS.user, PORTS.admin, PORTS.chat, PORTS.chat, PORTS.user]);
  assertEquals(config.forward.allowedHosts.map(({ port }) => port), [PORTS.beta]);
});

Deno.test("the shipped plugins load with the example's configuration, in the order of their names", async () => {
  const { pluginsDir, pluginConfig } = await loadConfig(CONFIG_FILE, NO_ENV);
  const dir = toFileUrl(join(pluginsDir, "/"));
  const loaded = await loadPlugins(dir, await pluginFiles(dir), {
    config: pluginConfig,
    env: {},
    services: {} as Services,
    log: () => isolateLog(() => {}),
  });
  assertEquals(loaded.map(({ manifest }) => [manifest.name, manifest.readsBodies]), [
    ["001-auth", false],
    ["002-logging", false],
    ["003-header-rewrite", false],
    ["004-route-control", false],
  ]);
});

Deno.test("each shipped plugin has fewer than 60 lines and its own test", async () => {
  const { pluginsDir } = await loadConfig(CONFIG_FILE, NO_ENV);
  for (const file of await pluginFiles(toFileUrl(join(pluginsDir, "/")))) {
    const lines = (await Deno.readTextFile(join(pluginsDir, file))).split("\n").length - 1;
    assert(lines < 60, `${file} has ${lines} lines`);
    assert((await Deno.stat(join(pluginsDir, file.replace(".ts", "_test.ts")))).isFile);
  }
});

Deno.test("the example's configuration can be had with other ports and anywhere on the disk", async () => {
  // Ports that are also the old ones, in another order: nothing is replaced twice.
  const ports = { user: 2002, admin: 2003, chat: 2004, beta: 2001 };
  const text = await exampleConfig({
    listen: "127.0.0.1:0",
    adminListen: "127.0.0.1:12345",
    ports,
  });
  const dir = await Deno.makeTempDir();
  try {
    const file = join(dir, "conduit.config.json");
    await Deno.writeTextFile(file, text);
    const config = await loadConfig(file, NO_ENV);
    const original = await loadConfig(CONFIG_FILE, NO_ENV);
    assertEquals(config.pluginsDir, original.pluginsDir);
    assertEquals(config.routes.map(({ upstreams }) => upstreams[0]?.port), [
      2002,
      2003,
      2004,
      2004,
      2002,
    ]);
    const control = config.pluginConfig["004-route-control"];
    assertStringIncludes(JSON.stringify(control), '"/beta":"http://127.0.0.1:2001"');
    assertEquals(config.listen, { kind: "tcp", hostname: "127.0.0.1", port: 0 });
    assert(config.admin && config.admin.listen.kind === "tcp");
    assertEquals(config.admin.listen.port, 12345);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a port that is taken is named, and no service is left running", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  try {
    // The sanitizers would find what was left of the other three.
    await assertRejects(
      () => startServices({ user: 0, admin: 0, chat: 0, beta: port }),
      Error,
      `cannot start chat-service-beta: port ${port} is taken; end what listens there`,
    );
  } finally {
    listener.close();
  }
});

Deno.test("dev.ts ends with exit code 1 and one line where a port is taken", async () => {
  using _taken = listenUnlessTaken(PORTS.user);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", fromFileUrl(new URL("dev.ts", import.meta.url))],
    env: { NO_COLOR: "1" },
  }).output();
  assertEquals([code, new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)], [
    1,
    "",
    `cannot start user-service: port ${PORTS.user} is taken; end what listens there\n`,
  ]);
});

Deno.test("what is printed has every line of curl with its status", () => {
  const text = tryText("http://127.0.0.1:8080", TOKENS);
  for (const { title, expectStatus, args } of tries("http://127.0.0.1:8080", TOKENS)) {
    const words = args.map(shellWord).join(" ");
    assertStringIncludes(text, `# ${expectStatus}  ${title}\ncurl ${words}\n`);
  }
  assertStringIncludes(text, `curl -i -H 'authorization: Bearer alice-secret' http://`);
});

Deno.test("a shell reads what is printed as the words that were meant", async () => {
  const words = fc.array(fc.string({ unit: "grapheme-ascii" }), { minLength: 20, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(words, async (words) => {
      const script = `printf '%s\\0' ${words.map(shellWord).join(" ")}`;
      const { stdout } = await new Deno.Command("sh", { args: ["-c", script] }).output();
      assertEquals(new TextDecoder().decode(stdout), words.map((word) => `${word}\0`).join(""));
    }),
    { numRuns: 20, examples: [[["", "'", "a b", "$HOME", "a'b'", "\\", "*", "?a=1&b"]]] },
  );
});

function listenUnlessTaken(port: number): Disposable {
  try {
    const listener = Deno.listen({ hostname: "127.0.0.1", port });
    return { [Symbol.dispose]: () => listener.close() };
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    return { [Symbol.dispose]() {} };
  }
}
