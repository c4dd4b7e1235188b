import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join, toFileUrl } from "@std/path";
import fc from "fast-check";
import { loadConfig } from "../../gateway/config.ts";
import { isolateLog } from "../../plugin-host/isolate_log.ts";
import { loadPlugins, pluginFiles } from "../../plugin-host/loader.ts";
import type { Services } from "../../plugin-host/mod.ts";
import { CONFIG_FILE, exampleConfig, PORTS, startServices } from "./example.ts";
import { shellWord, tries, tryText } from "./try.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const NO_ENV = { env: () => undefined };

Deno.test("the example's configuration is valid, and its upstreams are the services' ports", async () => {
  const config = await loadConfig(CONFIG_FILE, NO_ENV);
  const ports = config.routes.map(({ path, upstreams }) => [path, upstreams[0]?.port]);
  for (const [path, port] of ports) {
    const [, name = ""] = /^\/(\w+)-service/.exec(String(path)) ?? [];
    assertEquals(port, { ...PORTS, "": PORTS.user }[name], String(path));
  }
  assertEquals(config.forward.allowedHosts.map(({ port }) => port), [PORTS.beta]);
  assertEquals(config.stripInboundHeaders, ["x-gateway-*"]);
});

Deno.test("the example's plugins load with its configuration, in the order of their names", async () => {
  const { pluginsDir, pluginConfig } = await loadConfig(CONFIG_FILE, NO_ENV);
  const dir = toFileUrl(join(pluginsDir, "/"));
  const loaded = await loadPlugins(dir, await pluginFiles(dir), {
    config: pluginConfig,
    env: { ADMIN_JWT_SECRET: SECRET },
    services: {
      http: { fetch: () => Promise.reject(new Error("no network")) },
    } as unknown as Services,
    log: () => isolateLog(() => {}),
  });
  assertEquals(loaded.map(({ manifest: { name, hooks } }) => [name, ...hooks]), [
    ["001-session-hmac", "beforeRequest"],
    ["002-admin-jwt", "beforeRequest"],
    ["003-logging", "beforeRequest", "afterResponse"],
    ["004-rate-limit", "beforeRequest"],
    ["005-route-control", "beforeRequest"],
    ["006-session-issue", "afterResponse"],
  ]);
});

Deno.test("only where a session begins or ends are answers held back for a plugin", async () => {
  const { routes } = await loadConfig(CONFIG_FILE, NO_ENV);
  const chain = [
    "001-session-hmac",
    "002-admin-jwt",
    "003-logging",
    "004-rate-limit",
    "005-route-control",
  ];
  assertEquals(Object.fromEntries(routes.map(({ path, plugins }) => [path, plugins])), {
    "/user-service/api/v1/*": chain,
    "/user-service/api/v1/login": "all",
    "/user-service/api/v1/refresh": "all",
    "/user-service/api/v1/logout": "all",
    "/chat-service/api/v1/*": chain,
    "/admin-service/api/v1/*": chain,
    "/health": [],
  });
});

Deno.test("each plugin of the example has its own test", async () => {
  const { pluginsDir } = await loadConfig(CONFIG_FILE, NO_ENV);
  const files = await pluginFiles(toFileUrl(join(pluginsDir, "/")));
  assertEquals(files.length, 6);
  for (const file of files) {
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
    redis: false,
  });
  const dir = await Deno.makeTempDir();
  try {
    const file = join(dir, "conduit.config.json");
    await Deno.writeTextFile(file, text);
    const config = await loadConfig(file, NO_ENV);
    const original = await loadConfig(CONFIG_FILE, NO_ENV);
    assertEquals(config.pluginsDir, original.pluginsDir);
    const service = (path: string) => config.routes.find((route) => route.path.startsWith(path));
    assertEquals(service("/user-service")?.upstreams[0]?.port, 2002);
    assertEquals(service("/admin-service")?.upstreams[0]?.port, 2003);
    assertEquals(service("/chat-service")?.upstreams[0]?.port, 2004);
    const plugins = JSON.stringify(config.pluginConfig);
    assertStringIncludes(plugins, '"jwksUrl":"http://127.0.0.1:2003/admin-service/api/v1/auth/');
    assertStringIncludes(plugins, '"/chat-service/api/v1/messages":"http://127.0.0.1:2001"');
    assertEquals(config.services.cache.driver, "memory");
    assertEquals(config.listen, { kind: "tcp", hostname: "127.0.0.1", port: 0 });
    assert(config.admin && config.admin.listen.kind === "tcp");
    assertEquals(config.admin.listen.port, 12345);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the example's configuration can have the Redis of the environment as its cache", async () => {
  const [listen, adminListen] = ["127.0.0.1:8080", "127.0.0.1:9901"];
  const text = await exampleConfig({ listen, adminListen, ports: PORTS, redis: true });
  const file = await Deno.makeTempFile({ suffix: ".json" });
  try {
    await Deno.writeTextFile(file, text);
    const url = "redis://127.0.0.1:6380/1";
    const { services } = await loadConfig(file, {
      env: (name) => name === "REDIS_URL" ? url : undefined,
    });
    assertEquals([services.cache.driver, "url" in services.cache && services.cache.url], [
      "redis",
      url,
    ]);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("a port that is taken is named, and no service is left running", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  try {
    // The sanitizers would find what was left of the other three.
    await assertRejects(
      () => startServices({ user: 0, admin: 0, chat: 0, beta: port }, { secret: SECRET }),
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
  const text = tryText({ baseUrl: "http://127.0.0.1:8080", token: "a.b.c", deno: ["deno"] });
  for (const { title, expectStatus, args } of tries("http://127.0.0.1:8080", "a.b.c")) {
    const words = args.map(shellWord).join(" ");
    assertStringIncludes(text, `# ${expectStatus}  ${title}\ncurl ${words}\n`);
  }
  assertStringIncludes(text, `curl -i -H 'authorization: Bearer a.b.c' http://`);
  assertStringIncludes(
    text,
    "\ndeno run -A examples/three-services/client.ts http://127.0.0.1:8080\n",
  );
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
