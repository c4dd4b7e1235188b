import { assert, assertEquals } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import { ask, assertPoliced, errorOf, POLICY, untilReady } from "../support/failure.ts";
import { isRunning, testGateway } from "../support/gateway.ts";
import { hostServiceOf } from "../support/host_service.ts";
import { pause } from "../../gateway/waiting.ts";

const UNAVAILABLE = { code: "runtime_unavailable", message: "plugin runtime unavailable" };

function signalAll(pids: readonly number[], signal: Deno.Signal): void {
  for (const pid of pids) Deno.kill(pid, signal);
}

Deno.test("failure: the host service is frozen with its hosts; failPolicy answers, it is taken again when it goes on, and nobody waits for it at the end", async () => {
  await using closed = echoUpstream();
  await using open = echoUpstream();
  await using gateway = await testGateway({
    config: {
      runtime: { mode: "external", socket: "./host.sock" },
      routes: [
        { path: "/closed", upstream: closed.url },
        { path: "/open", upstream: open.url, failPolicy: "open" },
      ],
    },
    plugins: { "001-policy.ts": POLICY },
  });
  await using service = hostServiceOf(gateway);
  await untilReady(gateway);
  const before = await service.hosts();
  const all = [service.pid, ...before];
  signalAll(all, "SIGSTOP"); // as a cgroup is frozen
  const signal = AbortSignal.timeout(15_000);
  for (let round = 0; round < 2; round++) {
    const [refused, passed] = await Promise.all([
      ask(gateway, "/closed", { signal }),
      ask(gateway, "/open", { signal }),
    ]);
    assertEquals([refused.status, errorOf(refused)], [503, UNAVAILABLE]);
    assertEquals(passed.status, 200);
  }
  signalAll(all, "SIGCONT");
  await untilReady(gateway);
  assertEquals((await ask(gateway, "/closed")).status, 200);
  assertPoliced(closed);
  await gateway.until(async () => (await service.hosts()).length === 1, { what: "one host alone" });
  const hosts = await service.hosts();
  for (const pid of before) assert(!await isRunning(pid), "the frozen host serves on");

  signalAll([service.pid, ...hosts], "SIGSTOP");
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  signalAll([service.pid, ...hosts], "SIGCONT");
  for (const pid of hosts) {
    await gateway.until(async () => !await isRunning(pid), { what: "the end of the host" });
  }
});

Deno.test("failure: the host process dies; or is frozen while it loads a save: another one loads that, and what runs goes on until then", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { "001-policy.ts": POLICY },
  });
  const [frozen = 0] = await gateway.hostPids();
  Deno.kill(frozen, "SIGSTOP");
  await gateway.savePlugin("001-policy.ts", `${POLICY}\n// saved`);
  const failed = await gateway.waitForLog(
    ({ message }) => message === "the plugin host failed while it loaded plugins",
    { withinMs: 40_000 },
  );
  assertEquals(failed.reason, "the plugin host did not answer within 20000 ms");
  await gateway.waitForLog(({ message }) => message === "plugins reloaded");
  assertEquals((await ask(gateway, "/")).status, 200);
  assertPoliced(upstream);
  await gateway.until(async () => !await isRunning(frozen), { what: "the end of the frozen one" });
});

Deno.test("failure: the host process dies; with its service, in the very moment in which it has loaded: the next one is taken", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      pluginPoolSize: 1,
      runtime: { mode: "external", socket: "./host.sock" },
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: {
      "001-policy.ts": POLICY,
      "002-slow.ts": `console.log("loading");
        await new Promise((resolve) => setTimeout(resolve, 500));
        export default {};`,
    },
  });
  for (let round = 0; round < 3; round++) {
    await using service = hostServiceOf(gateway);
    await gateway.until(() => service.logs.some(({ line }) => line === "loading"), {
      what: "its host to load",
    });
    // The gateway hears of both at once: that the plugins have loaded, and that all of it is gone.
    gateway.signal("SIGSTOP");
    await pause(1000);
    signalAll([service.pid, ...await service.hosts()], "SIGKILL");
    await service.status;
    gateway.signal("SIGCONT");
  }
  await using _service = hostServiceOf(gateway);
  await untilReady(gateway);
  await gateway.until(async () => (await ask(gateway, "/")).status === 200, { what: "200" });
  assertPoliced(upstream);
});
