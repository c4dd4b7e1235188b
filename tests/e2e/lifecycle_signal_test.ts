import { assert, assertEquals } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, testGateway } from "../support/gateway.ts";
import { pause } from "../../gateway/waiting.ts";

const ROUTES = [{ path: "/*", upstream: "http://127.0.0.1:9" }];

/** Plugins whose load does not end, by waiting and by blocking its thread. */
const LOADING: readonly (readonly [how: string, source: string])[] = [
  ["waits", `console.log("loading"); await new Promise(() => setInterval(() => {}, 1000));`],
  ["blocks its thread", `console.log("loading"); while (true) {}`],
];
for (const [how, source] of LOADING) {
  Deno.test(`SIGTERM while a plugin ${how} in its load ends both processes, exit 0, before anything listens`, async () => {
    await using gateway = await testGateway({
      config: { routes: ROUTES },
      plugins: { "001-slow.ts": `${source}\nexport default {};` },
      mayFail: true,
    });
    await gateway.waitForLog((line) => line.line === "loading");
    const hosts = await gateway.hostPids();
    const startedAt = performance.now();
    gateway.signal("SIGTERM");
    assertEquals((await gateway.status).code, 0, gateway.describe());
    assert(performance.now() - startedAt < 8000, "it does not wait for the load's time limit");
    assert(!gateway.logs.some((each) => each.message === "listening"));
    for (const pid of hosts) assert(!await isRunning(pid));
    assertEquals([...Deno.readDirSync(`${gateway.dir}/run`)], []);
    assertEquals(gateway.stderr, "");
  });
}

Deno.test("SIGTERM while the plugin host is being restarted ends in good order, and starts no further host", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { "001-a.ts": "export default { beforeRequest() {} };" },
  });
  const [host = 0] = await gateway.hostPids();
  Deno.kill(host, "SIGKILL");
  await gateway.waitForLog((line) => line.message === "the plugin host is restarted");
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0, gateway.describe());
  assertEquals(gateway.logs.at(-1)?.message, "stopped");
  assertEquals([...Deno.readDirSync(`${gateway.dir}/run`)], []);
  assertEquals(gateway.stderr, "");
});

Deno.test("SIGTERM while a save is being loaded ends in good order", async () => {
  await using gateway = await testGateway({
    config: { routes: ROUTES },
    plugins: { "001-a.ts": "export default { beforeRequest() {} };" },
  });
  const [host = 0] = await gateway.hostPids();
  await gateway.savePlugin("001-a.ts", `${LOADING[0]?.[1]}\nexport default {};`);
  await gateway.waitForLog((line) => line.line === "loading");
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0, gateway.describe());
  assert(!await isRunning(host));
  assertEquals([...Deno.readDirSync(`${gateway.dir}/run`)], []);
  assertEquals(gateway.stderr, "");
});

Deno.test("SIGTERM at any moment of the start leaves no folder and no process behind", async () => {
  for (const afterMs of [0, 10, 20, 30, 45, 60, 80]) {
    await using gateway = await testGateway({
      config: { routes: ROUTES },
      plugins: { "001-a.ts": "export default {};" },
      mayFail: true,
    });
    const folders = () => [...Deno.readDirSync(`${gateway.dir}/run`)];
    await gateway.until(() => folders().length > 0, { what: "the private folder" });
    await pause(afterMs);
    const hosts = await gateway.hostPids();
    gateway.signal("SIGTERM");
    assertEquals((await gateway.status).code, 0, gateway.describe());
    for (const pid of hosts) {
      await gateway.until(async () => !await isRunning(pid), { what: `the end of ${pid}` });
    }
    assertEquals(folders(), [], `${afterMs} ms after the folder`);
  }
});
