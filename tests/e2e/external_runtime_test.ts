import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { conduit, configText, scratch } from "../support/conduit.ts";
import { type EchoUpstream, echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, ROOT, type TestGateway, testGateway } from "../support/gateway.ts";
import { hostServiceOf, HostServiceProcess } from "../support/host_service.ts";
import { PATIENT } from "../support/patient.ts";
import { wordsOf } from "../support/proc.ts";
import { reload } from "../support/reload.ts";
import { until } from "../support/until.ts";

const PLUGINS = {
  "001-mark.ts": `let mark, env;
  export default {
    readsBodies: false,
    onLoad(init) { mark = init.config?.mark ?? "none"; env = init.env.SERVICE_ONLY ?? "unset"; },
    beforeRequest(ctx) { ctx.response.setHeader("x-env", env); },
    afterResponse(ctx) { ctx.response.setHeader("x-mark", mark); },
  };`,
};

function config(upstream: EchoUpstream, changes: Readonly<Record<string, unknown>> = {}) {
  return {
    ...PATIENT,
    runtime: { mode: "external", socket: "./host.sock" },
    pluginEnv: ["SERVICE_ONLY"],
    routes: [
      { path: "/*", upstream: upstream.url },
      { path: "/open/*", upstream: upstream.url, failPolicy: "open" },
    ],
    ...changes,
  };
}

async function answer(gateway: TestGateway, path = "/"): Promise<[number, string | null]> {
  const response = await gateway.fetch(path);
  await response.body?.cancel();
  return [response.status, response.headers.get("x-mark")];
}

async function untilPoliced(gateway: TestGateway, mark = "none"): Promise<void> {
  await gateway.until(async () => (await answer(gateway))[1] === mark, {
    what: `an answer marked ${mark}`,
    withinMs: 20_000,
  });
}

async function untilAway(gateway: TestGateway): Promise<void> {
  await gateway.until(async () => (await answer(gateway))[0] === 503, { what: "503" });
}

async function assertGone(gateway: TestGateway, pids: readonly number[]): Promise<void> {
  assert(pids.length > 0);
  for (const pid of pids) {
    await gateway.until(async () => !await isRunning(pid), { what: `the end of ${pid}` });
  }
}

Deno.test("external runtime: the gateway first; until the host service is there, failPolicy answers", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({ config: config(upstream), plugins: PLUGINS });
  assertEquals(await answer(gateway), [503, null]);
  assertEquals(await answer(gateway, "/open/x"), [200, null]);
  assertEquals(
    (await fetch(`${gateway.adminUrl}/readyz`).then((it) => it.json())).status,
    "not ready",
  );
  await using service = hostServiceOf(gateway, { SERVICE_ONLY: "of the service" });
  await untilPoliced(gateway);
  const response = await gateway.fetch("/open/x");
  await response.body?.cancel();
  assertEquals(response.headers.get("x-env"), "of the service");
  assertEquals((await gateway.hostPids()).length, 0, "no host of its own");

  // The host's permissions are those of any other, from the configuration of the service.
  const [host = 0] = await service.hosts();
  const words = await wordsOf(host, "cmdline");
  const socket = join(gateway.dir, "host.sock");
  assert(words.includes(`--allow-net=127.0.0.1:${upstream.port},unix:${socket}`), words.join(" "));
  assert(words.includes(`--allow-write=${socket}`) && words.includes("--no-prompt"));
  assert(!words.some((word) => word.includes("secret")), "the secret's file is not readable there");

  // Saved plugins go live, and broken ones do not.
  await gateway.savePlugin("001-mark.ts", PLUGINS["001-mark.ts"].replace("none", "saved"));
  await untilPoliced(gateway, "saved");
  await gateway.savePlugin("001-mark.ts", "export default {{");
  await gateway.waitForLog(({ message }) => message === "plugins did not load; what runs goes on");
  assertEquals(await answer(gateway), [200, "saved"]);

  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  await assertGone(gateway, [host]);
  assertEquals(gateway.logs.at(-1)?.message, "stopped");
  const left = [...Deno.readDirSync(gateway.dir)].map(({ name }) => name);
  assertEquals(left.filter((name) => name.startsWith("host.sock")), []);
  service.signal("SIGTERM");
  assertEquals((await service.status).code, 0, service.stderr);
  assertEquals([...Deno.readDirSync(join(gateway.dir, "run"))], []);
});

Deno.test("external runtime: the host service first; the gateway's first answer is policed, and either restarts alone", async () => {
  await using upstream = echoUpstream();
  await using dir = await scratch({
    "run/.keep": "",
    "plugins/001-mark.ts": PLUGINS["001-mark.ts"],
  });
  const text = configText({ ...config(upstream), log: { format: "json" } });
  await Deno.writeTextFile(join(dir.path, "conduit.config.json"), text);
  await using service = new HostServiceProcess({ dir: dir.path });
  await until(() => service.says("no gateway; trying again"), "no gateway");
  await using first = await testGateway({ config: {}, dir: dir.path });
  assertEquals(await answer(first), [200, "none"]);
  const [host = 0] = await service.hosts();

  // The gateway alone, in good order and not.
  first.signal("SIGTERM");
  assertEquals((await first.status).code, 0);
  await assertGone(first, [host]);
  await using second = await testGateway({ config: {}, dir: dir.path });
  assertEquals(await answer(second), [200, "none"]);
  const killed = await service.hosts();
  second.signal("SIGKILL");
  await second.status;
  await assertGone(second, killed);
  await using third = await testGateway({ config: {}, dir: dir.path });
  assertEquals(await answer(third), [200, "none"]);

  // The gateway alone, while a broken plugin lies there: it gets the last set that served.
  const plugin = join(dir.path, "plugins", "001-mark.ts");
  await Deno.writeTextFile(plugin, "export default {{");
  await third.waitForLog(({ message }) => message === "plugins did not load; what runs goes on");
  third.signal("SIGTERM");
  await third.status;
  await using fourth = await testGateway({ config: {}, dir: dir.path });
  assertEquals(await answer(fourth), [200, "none"]);
  await Deno.writeTextFile(plugin, PLUGINS["001-mark.ts"].replace("none", "mended"));
  await untilPoliced(fourth, "mended");

  // The service alone, in good order and not.
  let running = service;
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const hosts = await running.hosts();
    running.signal(signal);
    await running.status;
    await assertGone(fourth, hosts);
    await untilAway(fourth);
    running = new HostServiceProcess({ dir: dir.path });
    await untilPoliced(fourth, "mended");
  }
  // One host dies by itself.
  const [victim = 0] = await running.hosts();
  Deno.kill(victim, "SIGKILL");
  await fourth.waitForLog(({ message, reason }) =>
    message === "the plugin host died" && reason === "SIGKILL"
  );
  await untilPoliced(fourth, "mended");
  await running[Symbol.asyncDispose]();
});

Deno.test("external runtime: a second host service is refused in one line of the log, however often it tries, and takes over when the first one ends", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({ config: config(upstream), plugins: PLUGINS });
  await using first = hostServiceOf(gateway);
  await untilPoliced(gateway);
  await using second = new HostServiceProcess({
    dir: gateway.dir,
    env: { CONDUIT_TRACE_IPC: "1" },
  });
  await until(() => (second.stderr.match(/refused/g) ?? []).length >= 4, "four refusals");
  const hosts = await first.hosts();
  first.signal("SIGTERM");
  await assertGone(gateway, hosts);
  await gateway.waitForLog(({ message, pid }) =>
    message === "the plugin host service is connected" && pid === second.pid
  );
  await untilPoliced(gateway);
  const warnings = gateway.logs.filter(({ level }) => level === "warn");
  assertEquals(warnings.map(({ message, reason }) => [message, reason]), [
    ["a plugin host service is refused", "a plugin host service is connected already"],
  ]);
});

Deno.test("external runtime: SIGHUP gives a host with other permissions, also where only the gateway is told, without a lost request", async () => {
  await using blue = echoUpstream();
  await using green = echoUpstream();
  const of = (upstream: EchoUpstream, mark: string) =>
    config(upstream, { pluginConfig: { "001-mark": { mark } } });
  await using gateway = await testGateway({ config: of(blue, "blue"), plugins: PLUGINS });
  await using service = hostServiceOf(gateway);
  await untilPoliced(gateway, "blue");
  const state = { done: false, answers: 0 };
  const load = Promise.all(Array.from({ length: 3 }, async () => {
    while (!state.done) {
      const [status, mark] = await answer(gateway);
      assert(status === 200 && mark !== null, `${status} ${mark}`);
      state.answers++;
    }
  }));
  load.catch(() => {});
  for (const [upstream, mark] of [[green, "green"], [blue, "blue"], [green, "green"]] as const) {
    assertEquals((await reload(gateway, of(upstream, mark))).message, "configuration reloaded");
    assertEquals(await answer(gateway), [200, mark]);
  }
  state.done = true;
  await load;
  assert(state.answers > 0);
  await gateway.until(async () => (await service.hosts()).length === 1, { what: "one host" });
  const [host = 0] = await service.hosts();
  assertStringIncludes((await wordsOf(host, "cmdline")).join(" "), `:${green.port},unix:`);

  const refused = await reload(gateway, {
    ...of(green, "green"),
    runtime: { mode: "external", socket: "./other.sock" },
  });
  assertMatch(String(refused.reason), /^runtime\.socket: .* cannot become .*; restart both$/);
  // The service judges by its own file, here one with another folder.
  const moved = await reload(gateway, { ...of(green, "green"), pluginsDir: "./elsewhere" });
  assertStringIncludes(String(moved.reason), "pluginsDir has changed in ");
  assertEquals(await answer(gateway), [200, "green"]);
});

Deno.test("external runtime: another version, a wrong secret and one that others can read are refused with a clear log", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({ config: config(upstream), plugins: PLUGINS });
  await using tree = await scratch();
  for (const name of ["gateway", "plugin-host", "protocol", "types", "main.ts", "deno.lock"]) {
    const { success } = await new Deno.Command("cp", {
      args: ["-r", join(ROOT, name), tree.path],
    }).output();
    assert(success, name);
  }
  const project = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
  await Deno.writeTextFile(
    join(tree.path, "deno.json"),
    JSON.stringify({ ...project, version: "9.9.9" }),
  );
  await using other = new HostServiceProcess({ dir: gateway.dir, root: tree.path });
  await until(() => other.says("no gateway; trying again"), "no gateway");
  assertMatch(
    String(other.says("no gateway; trying again")?.reason),
    /^the gateway refuses this plugin host service: version 9\.9\.9 is not \S+; run gateway and plugin host service from one build$/,
  );
  await gateway.waitForLog(({ message, reason }) =>
    message === "a plugin host service is refused" &&
    String(reason).startsWith("version 9.9.9 is not")
  );
  await other[Symbol.asyncDispose]();

  const secret = join(gateway.dir, "host.sock.secret");
  for (const path of [secret, join(gateway.dir, "host.sock")]) {
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600, path);
  }
  const good = await Deno.readTextFile(secret);
  await using service = hostServiceOf(gateway);
  await untilPoliced(gateway);
  service.signal("SIGTERM");
  await service.status;
  await Deno.writeTextFile(secret, "0".repeat(64));
  await using wrong = hostServiceOf(gateway);
  await until(() => wrong.says("no gateway; trying again"), "no gateway");
  assertStringIncludes(String(wrong.says("no gateway; trying again")?.reason), "the secret is not");
  await wrong[Symbol.asyncDispose]();
  await Deno.chmod(secret, 0o640);
  await using open = hostServiceOf(gateway);
  await until(() => open.says("no gateway; trying again"), "no gateway");
  assertStringIncludes(
    String(open.says("no gateway; trying again")?.reason),
    "host.sock.secret is open to other users",
  );
  // It goes on trying.
  await Deno.writeTextFile(secret, good);
  await Deno.chmod(secret, 0o600);
  await untilPoliced(gateway);
});

Deno.test("external runtime: what cannot be is refused before anything starts", async () => {
  await using dir = await scratch({ "plugins/.keep": "" });
  const file = join(dir.path, "conduit.config.json");
  await Deno.writeTextFile(file, configText());
  const embedded = await conduit(["host", "--config", file]);
  assertEquals(embedded.code, 1);
  assertStringIncludes(embedded.stderr, `runtime.mode: "embedded" means that the gateway starts`);
  const external = { mode: "external", socket: "./host.sock" };
  await Deno.writeTextFile(file, configText({ processes: 2, runtime: external }));
  const many = await conduit(["run", "--config", file]);
  assertEquals(many.code, 1);
  assertStringIncludes(many.stderr, `runtime.mode: "external" serves one gateway process`);
  // check loads the plugins here.
  await Deno.writeTextFile(file, configText({ runtime: external }));
  assertEquals((await conduit(["check", "--config", file])).code, 0);
  // Somebody listens there.
  await Deno.writeTextFile(file, configText({ runtime: external }));
  using _ = Deno.listen({ transport: "unix", path: join(dir.path, "host.sock") });
  const taken = await conduit(["run", "--config", file]);
  assertEquals(taken.code, 1);
  assertMatch(taken.stderr, /cannot listen on runtime\.socket unix:.*host\.sock: another gateway/);
});
