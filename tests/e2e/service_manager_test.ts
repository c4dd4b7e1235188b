import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { scratch } from "../support/conduit.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { NotifySocket } from "../support/notify_socket.ts";
import { reload } from "../support/reload.ts";

Deno.test("the service manager hears when the gateway is ready, reloads, stops, and that it lives", async () => {
  await using dir = await scratch();
  await using upstream = echoUpstream();
  const path = join(dir.path, "notify.sock");
  using manager = new NotifySocket(path);
  const config = { routes: [{ path: "/*", upstream: upstream.url }] };
  await using gateway = await testGateway({
    config,
    env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: "100000" },
  });
  const ready = `READY: serving with ${join(gateway.dir, "conduit.config.json")}`;
  await gateway.until(() => manager.told.length === 1, { what: "READY" });
  const alive = manager.messages.filter((each) => each.WATCHDOG === "1").length;
  await gateway.until(
    () => manager.messages.filter((each) => each.WATCHDOG === "1").length > alive + 2,
    { what: "the watchdog" },
  );
  const askedUs = uptimeUs();
  await reload(gateway, { ...config, maxInFlight: 5 });
  await reload(gateway, { ...config, maxInFlight: 0 });
  await gateway.until(() => manager.told.length === 5, { what: "both reloads" });
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  assertEquals(manager.told.map((each) => each.replace(/: maxInFlight.*/, "")), [
    ready,
    "RELOADING: reloading",
    "READY: configuration reloaded",
    "RELOADING: reloading",
    "READY: not reloaded",
    "STOPPING: draining",
  ]);
  for (const { MONOTONIC_USEC } of manager.messages.filter((each) => each.RELOADING === "1")) {
    assertMatch(MONOTONIC_USEC ?? "", /^\d+$/);
    const us = Number(MONOTONIC_USEC);
    assert(us >= askedUs && us <= uptimeUs() + 20_000, `${askedUs} ${us}`);
  }
});

function uptimeUs(): number {
  return Number(Deno.readTextFileSync("/proc/uptime").split(" ")[0]) * 1_000_000;
}

Deno.test("the service manager hears of several processes from their parent alone, also in the abstract namespace", async () => {
  const path = `@conduit-test-${crypto.randomUUID()}`;
  using manager = new NotifySocket(path);
  await using gateway = await testGateway({
    config: { processes: 2, routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
    env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: "100000", WATCHDOG_PID: "1" },
  });
  await gateway.waitForLog(({ message }) => message === "all gateway processes have been started");
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  await gateway.until(() => manager.messages.length >= 2, { what: "STOPPING" });
  assertEquals(manager.told.map((each) => each.split(":")[0]), ["READY", "STOPPING"]);
  assertEquals(manager.messages.length, 2, "a watchdog of another process is not ours to feed");
});

Deno.test("a service manager that is not there is told of once, and the gateway serves", async () => {
  await using upstream = echoUpstream();
  const config = { routes: [{ path: "/*", upstream: upstream.url }] };
  await using gateway = await testGateway({ config, env: { NOTIFY_SOCKET: "/nowhere/notify" } });
  await reload(gateway, config);
  const response = await gateway.fetch("/");
  await response.body?.cancel();
  assertEquals(response.status, 200);
  const warnings = gateway.logs.filter(({ level }) => level === "warn");
  assertEquals(warnings.map(({ message }) => message), ["the service manager cannot be told"]);
});
