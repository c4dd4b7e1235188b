/**
 * What is released, as it lies inside an executable: from another folder, its own files not writable, every cache empty, an environment of
 * three variables, the permissions and flags of the release. Where there is `denort`, the same with the executable itself.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { sha256 } from "../../deploy/stage.ts";
import { conduit, configText, scratch } from "../support/conduit.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { type Program, testGateway } from "../support/gateway.ts";
import { scrape } from "../support/metrics.ts";
import { HostServiceProcess } from "../support/host_service.ts";
import { executable, NO_DENORT, packaged } from "../support/packaged.ts";
import { PATIENT } from "../support/patient.ts";
import { NO_REDIS, RedisServer } from "../support/redis_server.ts";
import { UpstashBridge } from "../support/upstash_bridge.ts";

const PLUGIN = `import type { GatewayContext, Plugin } from "conduit/plugin";
export default {
  beforeRequest(ctx: GatewayContext) {
    if (!ctx.request.header("x-key")) ctx.reject(401, "no key");
    ctx.upstream.setHeader("x-checked", "yes");
  },
} satisfies Plugin;
`;

/** Each test of a program gets it, and a home in which nothing is. */
type Scenario = (at: { readonly program: Program; readonly home: string }) => Promise<void>;

/** An environment with nothing but what a service has. */
function bare(home: string): Record<string, string> {
  return { HOME: home, XDG_RUNTIME_DIR: join(home, "run"), PATH: "/nonexistent" };
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  async "a gateway serves, its host runs on the Deno that was unpacked, and the next start takes the same"(
    { program, home },
  ) {
    await using upstream = echoUpstream();
    const options = {
      program,
      cwd: "/",
      clearEnv: true,
      env: bare(home),
      config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: { "001-key.ts": PLUGIN },
    };
    {
      await using gateway = await testGateway(options);
      const refused = await gateway.fetch("/x");
      assertEquals([refused.status, (await refused.json()).error.message], [401, "no key"]);
      const allowed = await gateway.fetch("/x", { headers: { "x-key": "1" } });
      assertEquals((await allowed.json()).headers["x-checked"], "yes");
      assertMatch((await scrape(gateway)).text, /^conduit_info\{/m);
      const unpacked = gateway.logs.find(({ message }) => /^Deno is unpacked/.test(message));
      const [host = 0] = await gateway.hostPids();
      assertEquals(await Deno.readLink(`/proc/${host}/exe`), unpacked?.path);
      assertMatch(String(unpacked?.path), /\/\.cache\/conduit\/deno-[\d.]+-[0-9a-f]{16}$/);
      await gateway.savePlugin("001-key.ts", PLUGIN.replace("no key", "still no key"));
      await gateway.waitForLog(({ message }) => message === "plugins reloaded");
      assertEquals((await (await gateway.fetch("/x")).json()).error.message, "still no key");
      gateway.signal("SIGTERM");
      assertEquals((await gateway.status).code, 0, gateway.stderr);
    }
    await using again = await testGateway(options);
    assertEquals((await again.fetch("/x")).status, 401);
    assertEquals(again.logs.filter(({ message }) => /Deno/.test(message)), []);
  },

  async "two starts at the same time with an empty cache both run, and leave one copy"(
    { program, home },
  ) {
    await using dir = await scratch({
      "conduit.config.json": configText(),
      "plugins/001-key.ts": PLUGIN,
    });
    const options = { program, cwd: dir.path, clearEnv: true, env: bare(home) };
    const both = await Promise.all([conduit(["check"], options), conduit(["check"], options)]);
    for (const { code, stdout, stderr } of both) {
      assertEquals([code, stderr], [0, ""]);
      assertStringIncludes(stdout, "conduit.config.json: well");
    }
    const copies = await Array.fromAsync(Deno.readDir(join(home, ".cache/conduit")));
    assertEquals(copies.length, 1);
  },

  async "init, check, types, schema and dev work out of it: types are checked against its own modules"(
    { program, home },
  ) {
    await using dir = await scratch();
    const options = { program, cwd: dir.path, clearEnv: true, env: bare(home) };
    const { stdout } = await conduit(["init"], options);
    assertMatch(stdout, /^wrote\n {2}conduit\.config\.json\n/);
    const [deno = ""] = /\S+(?= test\n)/.exec(stdout) ?? [];
    assertMatch(deno, /\/\.cache\/conduit\/deno-/);
    const tested = await new Deno.Command(deno, {
      args: ["test"],
      cwd: dir.path,
      clearEnv: true,
      env: { HOME: home, NO_COLOR: "1" },
    }).output();
    assertMatch(new TextDecoder().decode(tested.stdout), /ok \| 5 passed \| 0 failed/);
    const from = (args: readonly string[]) => conduit(args, { cwd: dir.path });
    for (const args of [["types"], ["schema"], ["help"]]) {
      assertEquals(await conduit(args, options), await from(args), args.join(" "));
    }
    const { conduit: version, standalone } = JSON.parse(
      (await conduit(["version", "--json"], options)).stdout,
    );
    assertMatch(version, /^\d+\.\d+\.\d+$/);
    assertEquals(standalone, program.args.length === 0);
    const checked = await conduit(["check"], options);
    assertEquals([checked.code, checked.stderr], [0, ""]);

    await using gateway = await testGateway({
      ...options,
      command: "dev",
      config: { ...PATIENT, routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
      plugins: { "001-key.ts": PLUGIN.replace("ctx.reject(401", "ctx.refuse(401") },
    });
    await gateway.waitForLog(
      ({ message }) =>
        message.includes("Property 'refuse' does not exist on type 'GatewayContext'"),
      {
        what: "the type error",
        withinMs: 60_000, // a check on a busy machine
      },
    );
  },

  async "several processes share the port"({ program, home }) {
    await using gateway = await testGateway({
      program,
      clearEnv: true,
      env: bare(home),
      config: {
        ...PATIENT,
        processes: 2,
        pluginPoolSize: 1,
        routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }],
      },
      plugins: { "001-key.ts": PLUGIN },
      mayFail: true,
    });
    await gateway.waitForLog(({ message }) =>
      message === "all gateway processes have been started"
    );
    assertEquals(gateway.logs.filter(({ message }) => message === "ready").length, 2);
    assertEquals((await gateway.fetch("/x")).status, 401);
    gateway.signal("SIGTERM");
    assertEquals((await gateway.status).code, 0, gateway.stderr);
  },

  async "with the plugin host as a service of its own, the gateway needs no Deno beside itself"(
    { program, home },
  ) {
    await using gateway = await testGateway({
      program,
      clearEnv: true,
      env: { ...bare(home), HOME: "/proc/nowhere" },
      config: {
        ...PATIENT,
        runtime: { mode: "external", socket: "./host.sock" },
        routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }],
      },
      plugins: { "001-key.ts": PLUGIN },
    });
    assertEquals((await gateway.fetch("/x")).status, 503);
    const service = { dir: gateway.dir, program, clearEnv: true, env: bare(home) };
    await using running = new HostServiceProcess(service);
    await gateway.until(async () => (await gateway.fetch("/x")).status === 401, {
      what: `the host service; ${running.stderr}`,
      withinMs: 60_000,
    });
    const [host = 0] = await running.hosts();
    assertMatch(await Deno.readLink(`/proc/${host}/exe`), /\/\.cache\/conduit\/deno-/);
  },

  async "without a place for its Deno it ends with exit 1 and says what to do"({ program, home }) {
    await using dir = await scratch({
      "conduit.config.json": configText(),
      "plugins/001-key.ts": PLUGIN,
    });
    const { code, stdout, stderr } = await conduit(["run"], {
      program,
      cwd: dir.path,
      clearEnv: true,
      env: {
        ...bare(home),
        HOME: "/proc/nowhere",
        CACHE_DIRECTORY: join(dir.path, "conduit.config.json"),
      },
    });
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, "to run the plugin host, and none can be unpacked:\n");
    for (
      const remedy of [
        "CONDUIT_DENO",
        '/conduit" as "deno"',
        "CACHE_DIRECTORY",
        "XDG_CACHE_HOME",
        "PATH",
      ]
    ) {
      assertStringIncludes(stderr.replace(/\/conduit-[^"/]*"/, '/conduit"'), remedy);
    }
  },
};

async function runAll(t: Deno.TestContext, program: Program): Promise<void> {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    await t.step(name, async () => {
      await using home = await scratch();
      await Deno.mkdir(join(home.path, "run"));
      await scenario({ program, home: home.path });
    });
  }
}

Deno.test("what is released, staged and run by Deno", async (t) => {
  await using staged = await packaged();
  const before = await hashes(staged.dir);
  assert(Object.keys(before).length > 20);
  await runAll(t, staged.program);
  assertEquals(await hashes(staged.dir), before, "it wrote where it lies");
});

Deno.test("conduit-slim, staged, runs the plugin host on the Deno of PATH and warns", async () => {
  await using staged = await packaged({ slim: true });
  await using home = await scratch();
  await Deno.mkdir(join(home.path, "run"));
  await Deno.mkdir(join(home.path, "bin"));
  await Deno.symlink(Deno.execPath(), join(home.path, "bin/deno"));
  await using gateway = await testGateway({
    program: staged.program,
    clearEnv: true,
    env: { ...bare(home.path), PATH: join(home.path, "bin") },
    config: { ...PATIENT, routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
    plugins: { "001-key.ts": PLUGIN },
  });
  assertEquals((await gateway.fetch("/x")).status, 401);
  const warning = gateway.logs.find(({ level }) => level === "warn");
  assertEquals(warning?.message, "the plugin host runs on the Deno of PATH");
  assertEquals(warning?.path, join(home.path, "bin/deno"));
});

for (const driver of ["redis", "upstash"] as const) {
  Deno.test({
    name: `what is released has its cache in ${driver}, whose client is in the bundle${
      NO_REDIS ?? ""
    }`,
    ignore: NO_REDIS !== undefined,
    async fn() {
      await using staged = await packaged({ slim: true });
      await using redis = await RedisServer.start();
      await using bridge = await UpstashBridge.start(redis);
      const { url, token } = bridge;
      const cache = driver === "redis" ? { driver, url: redis.url } : { driver, url, token };
      await using gateway = await testGateway({
        program: staged.program,
        cwd: "/",
        env: { CONDUIT_DENO: Deno.execPath(), DENO_DIR: "/proc/nowhere" },
        config: {
          ...PATIENT,
          services: { cache: { ...cache, timeoutMs: 10_000 } },
          routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }],
        },
        plugins: {
          "001-count.ts": `export default { async beforeRequest(ctx) {
            ctx.reject(200, String(await ctx.services.cache.increment("n", { ttlSeconds: 60 })));
          } };`,
        },
      });
      for (const count of [1, 2]) {
        const { error } = await (await gateway.fetch("/x")).json();
        assertEquals(error.message, String(count), gateway.describe());
      }
      assertEquals(await redis.command("GET", "conduit:n"), "2");
    },
  });
}

Deno.test("what is released tells a request that ended well from one whose client left, also where Deno's no-legacy-abort has no effect", async () => {
  await using staged = await packaged({ slim: true });
  await using upstream = echoUpstream();
  const { command, args } = staged.program;
  const program = { command, args: args.filter((each) => each !== "--unstable-no-legacy-abort") };
  assertEquals(program.args.length, args.length - 1);
  await using gateway = await testGateway({
    program,
    env: { CONDUIT_DENO: Deno.execPath() },
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { "001-key.ts": PLUGIN },
  });
  const answers = [["/a", {}, 401], ["/b", { "x-key": "1" }, 200]] as const;
  for (const [path, headers, status] of answers) {
    const response = await gateway.fetch(path, { headers });
    assertEquals(response.status, status);
    await response.body?.cancel();
    const line = await gateway.waitForLog((line) => line.path === path && "durationMs" in line);
    assertEquals(line.status, status);
  }
});

Deno.test({
  name: `what is released, as one executable${NO_DENORT ?? ""}`,
  ignore: NO_DENORT !== undefined,
  async fn(t) {
    await using made = await executable();
    await runAll(t, made.program);
  },
});

/** The SHA-256 of every file below `dir`. */
async function hashes(dir: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = join(dir, name);
    if (isDirectory) Object.assign(found, await hashes(path));
    else found[path] = sha256(await Deno.readFile(path));
  }
  return found;
}
