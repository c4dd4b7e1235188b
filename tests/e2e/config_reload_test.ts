import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, type TestGateway, testGateway } from "../support/gateway.ts";
import { scrape, total } from "../support/metrics.ts";
import { PATIENT } from "../support/patient.ts";
import { usageOf, wordsOf } from "../support/proc.ts";
import { rawClient } from "../support/raw_client.ts";
import { reload, writeConfig } from "../support/reload.ts";

const REFUSED = "the configuration was not reloaded; what runs goes on";

/** Says on every answer which configuration its host was started with. */
const PLUGINS = {
  "001-mark.ts": `let mark;
  export default {
    readsBodies: false,
    onLoad(init) { mark = init.config?.mark ?? "none"; },
    beforeRequest(ctx) { ctx.upstream.setHeader("x-before", mark); },
    afterResponse(ctx) { ctx.response.setHeader("x-after", mark); },
  };`,
};

function pluginConfig(mark: string): Readonly<Record<string, unknown>> {
  return { "001-mark": { mark } };
}

async function answerOf(gateway: TestGateway, path = "/"): Promise<Response> {
  const response = await gateway.fetch(path);
  await response.bytes(); // to its end: a client that leaves before that is counted as a 499
  return response;
}

Deno.test("200 reloads under load on kept connections: no request lost, each answered by one configuration, nothing leaks", async () => {
  await using blue = echoUpstream({ name: "blue" });
  await using green = echoUpstream({ name: "green" });
  const config = (round: number, host: string) => ({
    ...PATIENT,
    pluginPoolSize: 1,
    log: { format: "json", level: "info" },
    pluginConfig: pluginConfig(host),
    routes: [{
      path: `/*`,
      upstream: round % 2 === 0 ? [blue.url, blue.url, green.url] : [green.url, blue.url],
      plugins: ["001-mark"],
    }],
    // Which upstream takes a request is by turn; this says by which configuration it was sent.
    stripInboundHeaders: [round % 2 === 0 ? "x-even" : "x-odd"],
    cors: { allowedOrigins: [`https://${round % 2 === 0 ? "odd" : "even"}.example.com`] },
  });
  await using gateway = await testGateway({ config: config(0, "0"), plugins: PLUGINS });
  const state = { done: false, answers: 0 };
  const load = Promise.all(Array.from({ length: 6 }, async () => {
    using client = await rawClient(gateway.port);
    while (!state.done) {
      await client.send(
        "GET /x HTTP/1.1\r\nhost: h\r\nx-even: 1\r\nx-odd: 1\r\norigin: https://even.example.com\r\n\r\n",
      );
      const response = await client.response();
      assertEquals(response.status, 200);
      const { headers } = JSON.parse(response.text);
      const kept = ["x-even", "x-odd"].filter((name) => name in headers);
      assertEquals(kept.length, 1, "it was routed by one configuration");
      const isGranted = response.header("access-control-allow-origin") !== undefined;
      assertEquals(isGranted, kept[0] === "x-even", "and answered by the same one");
      assertEquals(headers["x-before"], response.header("x-after"), "and had one set of plugins");
      state.answers++;
    }
  }));
  load.catch(() => {});
  const isLive = async (round: number, host: string) => {
    const response = await gateway.fetch("/x", { headers: { "x-even": "1", "x-odd": "1" } });
    const { headers } = await response.json();
    return (round % 2 === 0 ? "x-odd" : "x-even") in headers && headers["x-before"] === host;
  };
  const put = async (round: number) => {
    const host = `${Math.floor(round / 20)}`; // every 20th needs another host
    await writeConfig(gateway, config(round, host));
    gateway.signal("SIGHUP");
    await gateway.until(() => isLive(round, host), { what: `reload ${round}`, withinMs: 30_000 });
  };
  for (let round = 1; round <= 40; round++) await put(round);
  const before = await usageOf(gateway.pid);
  for (let round = 41; round <= 200; round++) await put(round);
  const after = await usageOf(gateway.pid);
  state.done = true;
  await load;
  assertEquals(gateway.logs.filter(({ level }) => level !== "info"), []);
  assert(state.answers > 200, `${state.answers} answers`);
  await gateway.until(async () => (await gateway.hostPids()).length === 1, { what: "one host" });
  const privateFolders = () => [...Deno.readDirSync(join(gateway.dir, "run"))].length;
  await gateway.until(() => privateFolders() === 1, { what: "one private folder" });
  console.log(`${state.answers} answers; ${JSON.stringify(before)} -> ${JSON.stringify(after)}`);
  assert(after.fds <= before.fds + 16 && after.threads <= before.threads + 8);
  assert(after.rssMiB <= before.rssMiB + 100, `RSS ${before.rssMiB} -> ${after.rssMiB} MiB`);
});

Deno.test("reload: a bad file changes nothing and the log says all that is wrong", async () => {
  await using upstream = echoUpstream();
  const good = { routes: [{ path: "/*", upstream: upstream.url }] };
  await using gateway = await testGateway({ config: good, plugins: PLUGINS });
  const hosts = await gateway.hostPids();
  const cases: readonly (readonly [Readonly<Record<string, unknown>> | string, RegExp])[] = [
    ["{", /conduit\.config\.json:1:2: is not JSON/],
    [
      { routes: [{ path: "nope", upstream: "ftp://x" }], hokTimeoutMs: 1 },
      /^routes\[0\]\.path: .*\nroutes\[0\]\.upstream: .*\nhokTimeoutMs: unknown key/,
    ],
    [{ ...good, processes: 3 }, /^processes: 1 cannot become 3 by a reload/],
    [
      { routes: [{ path: "/*", upstream: upstream.url, plugins: ["009-none"] }] },
      /there is no plugin "009-none"/,
    ],
    [{ ...good, pluginsDir: "./nowhere" }, /^pluginsDir: ".*nowhere" is not a folder/],
  ];
  for (const [config, reason] of cases) {
    const line = await reload(gateway, config);
    assertEquals([line.level, line.message], ["error", REFUSED]);
    assertMatch(String(line.reason), reason);
    assertEquals((await answerOf(gateway)).headers.get("x-after"), "none");
  }
  assertEquals(await gateway.hostPids(), hosts);
  assertEquals((await reload(gateway, good)).changed, "nothing");
});

Deno.test("reload: other upstream hosts mean a new host process with other permissions, and the old one ends when its requests are done", async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await using first = echoUpstream({
    respond: async ({ target }) => {
      if (target === "/slow") await released;
      return undefined;
    },
  });
  await using second = echoUpstream();
  const config = (url: string, mark: string) => ({
    ...PATIENT,
    routes: [{ path: "/*", upstream: url }],
    pluginConfig: pluginConfig(mark),
    pluginEnv: mark === "two" ? ["ONLY_TWO"] : [],
  });
  using _ = { [Symbol.dispose]: release }; // also where the test fails
  await using gateway = await testGateway({
    config: config(first.url, "one"),
    plugins: PLUGINS,
    env: { ONLY_TWO: "2" },
  });
  const [old = 0] = await gateway.hostPids();
  const netOf = async (pid: number) =>
    (await wordsOf(pid, "cmdline")).find((word) => word.startsWith("--allow-net="));
  assertStringIncludes(await netOf(old) ?? "", `127.0.0.1:${first.port},`);
  const slow = gateway.fetch("/slow");
  slow.catch(() => {});
  await gateway.until(() => first.seen.length === 1, { what: "the slow request" });

  const line = await reload(gateway, config(second.url, "two"));
  assertEquals(line.message, "configuration reloaded");
  assertEquals(
    line.changed,
    'pluginEnv, pluginConfig["001-mark"].mark, routes["/*"].upstreams',
  );
  const fresh = Number(line.pluginHost);
  assertEquals(await gateway.hostPids(), [old, fresh], "the old one still has a request");
  const allowed = await netOf(fresh) ?? "";
  assertStringIncludes(allowed, `127.0.0.1:${second.port},`);
  assert(!allowed.includes(`:${first.port}`), allowed);
  assert((await wordsOf(fresh, "cmdline")).includes("--allow-env=ONLY_TWO"));
  const answer = await gateway.fetch("/");
  assertEquals(answer.headers.get("x-after"), "two");
  assertEquals((await answer.json()).headers["x-before"], "two");
  assertEquals(second.seen.length, 1);

  release();
  const late = await slow;
  assertEquals([late.status, late.headers.get("x-after")], [200, "one"]);
  assertEquals((await late.json()).headers["x-before"], "one");
  await gateway.until(async () => !await isRunning(old), { what: "the end of the old host" });
});

Deno.test("reload: while a broken plugin lies in pluginsDir, a new host has the last set that loaded", async () => {
  await using upstream = echoUpstream();
  const config = (mark: string) => ({
    routes: [{ path: "/*", upstream: upstream.url }],
    pluginConfig: pluginConfig(mark),
  });
  await using gateway = await testGateway({ config: config("one"), plugins: PLUGINS });
  await gateway.savePlugin("001-mark.ts", "export default {{");
  await gateway.waitForLog(({ message }) => message.startsWith("plugins did not load"));
  assertEquals((await reload(gateway, config("two"))).message, "configuration reloaded");
  assertEquals((await answerOf(gateway)).headers.get("x-after"), "two");
  await gateway.savePlugin("001-mark.ts", PLUGINS["001-mark.ts"].replace("none", "mended"));
  await gateway.waitForLog(({ message }) => message === "plugins reloaded");
  assertEquals((await answerOf(gateway)).headers.get("x-after"), "two");
});

Deno.test("reload: another port is listened on before the old one is left, and what runs there ends", async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await using upstream = echoUpstream({
    respond: async ({ target }) => {
      if (target !== "/held") return undefined;
      await released;
      return new Response("held");
    },
  });
  const config = (listen: string, admin: unknown = { listen: "127.0.0.1:0" }) => ({
    listen,
    admin,
    routes: [{ path: "/*", upstream: upstream.url }],
  });
  using _ = { [Symbol.dispose]: release }; // also where the test fails
  await using gateway = await testGateway({ config: config("127.0.0.1:0"), plugins: PLUGINS });
  const old = gateway.port;
  const hosts = await gateway.hostPids();
  using idle = await rawClient(old);
  using busy = await rawClient(old);
  using upload = await rawClient(old);
  await busy.send("GET /held HTTP/1.1\r\nhost: h\r\n\r\n");
  await upload.send("POST /up HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nfirst");
  await gateway.until(() => upstream.seen.length === 1, { what: "the held request" });

  // A port that another process has: refused as a whole.
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const refused = await reload(gateway, {
    ...config(`127.0.0.1:${taken.addr.port}`),
    stripInboundHeaders: ["x-half"],
  });
  assertEquals(
    refused.reason,
    `cannot listen on 127.0.0.1:${taken.addr.port}: another process listens there already`,
  );
  taken.close();
  // One that overlaps with its own.
  const overlap = await reload(gateway, config(`0.0.0.0:${old}`));
  assertStringIncludes(String(overlap.reason), "it is this gateway's own: a new address is bound");

  assertEquals((await reload(gateway, config("127.0.0.2:0"))).message, "configuration reloaded");
  const addresses = gateway.logs.filter(({ message }) => message === "listening")
    .map(({ address }) => String(address));
  assertEquals(addresses.length, 2);
  const moved = await fetch(`http://${addresses[1]}/`);
  assertEquals([moved.status, (await moved.json()).name], [200, "upstream"]);
  // While an upload runs the old address answers, and asks its clients to go.
  await idle.send("GET /late HTTP/1.1\r\nhost: h\r\n\r\n");
  const late = await idle.response();
  assertEquals([late.status, late.header("connection")], [200, "close"]);
  await upload.send("other");
  assertEquals((await upload.response()).status, 200);
  await gateway.until(() => isRefused(old), { what: "the old port to be closed" });
  release();
  assertEquals((await busy.response()).text, "held");
  assertEquals(await gateway.hostPids(), hosts, "no new host for that");

  const adminBefore = gateway.adminUrl;
  await reload(gateway, config("127.0.0.2:0", false));
  await gateway.until(() => isRefused(Number(new URL(adminBefore).port)), { what: "no admin" });
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0, gateway.describe());
});

function isRefused(port: number): Promise<boolean> {
  return Deno.connect({ hostname: "127.0.0.1", port }).then(
    (conn) => (conn.close(), false),
    () => true,
  );
}

Deno.test("reload: limits, log, cache, folder and pool take effect, and the cache stays where it is the same", async () => {
  await using upstream = echoUpstream();
  const plugin = (text: string) =>
    `export default { readsBodies: false, async beforeRequest(ctx) {
      const { cache } = ctx.services;
      ctx.response.setHeader("x-count", "${text}" + await cache.increment("n"));
    } };`;
  const base = { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] };
  await using gateway = await testGateway({ config: base, plugins: { "001-a.ts": plugin("") } });
  const count = async () => (await answerOf(gateway)).headers.get("x-count");
  assertEquals(await count(), "1");

  // A new pool means a new host; the counters stay.
  await reload(gateway, { ...base, pluginPoolSize: 3, bodies: { maxRequestBytes: 3 } });
  assertEquals(await count(), "2");
  const tooLarge = await gateway.fetch("/", { method: "POST", body: "four" });
  await tooLarge.body?.cancel();
  assertEquals(tooLarge.status, 413);
  const page = await scrape(gateway);
  assertEquals(page.series.get("conduit_isolates"), 3);
  // A request is counted when it has ended, which a client may see a moment before.
  await gateway.until(
    async () => total(await scrape(gateway), "conduit_requests_total", { status: "200" }) === 2,
    { what: "counts that go on" },
  );

  // Another cache begins empty.
  await reload(gateway, { ...base, services: { cache: { driver: "memory", maxEntries: 5 } } });
  assertEquals(await count(), "1");

  // Another folder.
  await Deno.mkdir(join(gateway.dir, "other"));
  await Deno.writeTextFile(join(gateway.dir, "other", "001-a.ts"), plugin("other "));
  await reload(gateway, { ...base, pluginsDir: "./other" });
  assertEquals(await count(), "other 1");
  await Deno.writeTextFile(join(gateway.dir, "other", "001-a.ts"), plugin("saved "));
  await gateway.until(async () => (await count())?.startsWith("saved"), { what: "the save" });

  // The log: text, and errors alone.
  await writeConfig(gateway, {
    ...base,
    pluginsDir: "./other",
    log: { format: "text", level: "error" },
  });
  gateway.signal("SIGHUP");
  const from = gateway.logs.length;
  await gateway.until(async () => {
    const { length } = gateway.logs;
    await answerOf(gateway);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return gateway.logs.length === length;
  }, { what: "no more access lines" });
  await writeConfig(gateway, "{");
  gateway.signal("SIGHUP");
  const line = await gateway.waitForLog(({ level }) => level === "text", { from });
  assertMatch(line.message, /^\S+ ERROR the configuration was not reloaded; what runs goes on/);
});

Deno.test("reload: maxInFlight counts requests of the configuration before, and SIGTERM waits for them", async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await using upstream = echoUpstream({
    respond: async () => {
      await released;
      return undefined;
    },
  });
  const config = (maxInFlight: number) => ({
    ...PATIENT,
    maxInFlight,
    pluginPoolSize: maxInFlight === 10 ? 2 : 1, // another host, beside which the old one goes on
    routes: [{ path: "/*", upstream: upstream.url }],
  });
  using _ = { [Symbol.dispose]: release }; // also where the test fails
  await using gateway = await testGateway({ config: config(10), plugins: PLUGINS });
  const slow = [gateway.fetch("/"), gateway.fetch("/")];
  for (const each of slow) each.catch(() => {});
  await gateway.until(() => upstream.seen.length === 2, { what: "both requests" });
  assertEquals((await reload(gateway, config(2))).changed, "pluginPoolSize, maxInFlight");
  assertEquals((await answerOf(gateway)).status, 503);
  gateway.signal("SIGTERM");
  const draining = await gateway.waitForLog(({ message }) => message === "draining");
  assertEquals(draining.inFlight, 2);
  release();
  for (const each of slow) assertEquals((await (await each).json()).name, "upstream");
  assertEquals((await gateway.status).code, 0);
});

Deno.test("reload: SIGTERM during one that waits for plugins ends all, and a SIGHUP during the start is not lost", async () => {
  await using upstream = echoUpstream();
  const config = (mark: string) => ({
    routes: [{ path: "/*", upstream: upstream.url }],
    pluginConfig: pluginConfig(mark),
  });
  const plugins = {
    "001-wait.ts": `export default { async onLoad({ config }) {
      console.log("loading", config.mark);
      if (config.mark === "wait") await new Promise(() => setInterval(() => {}, 1000));
    } };`,
    "002-mark.ts": PLUGINS["001-mark.ts"],
  };
  await using gateway = await testGateway({
    config: {
      ...config("one"),
      pluginConfig: { "001-wait": { mark: "one" }, "002-mark": { mark: "one" } },
    },
    plugins,
    mayFail: true,
  });
  await gateway.waitForLog(({ line }) => line === "loading one");
  await writeConfig(gateway, {
    ...config("x"),
    pluginConfig: { "001-wait": { mark: "two" }, "002-mark": { mark: "two" } },
  });
  gateway.signal("SIGHUP");
  await gateway.waitForLog(({ message }) => message === "configuration reloaded");
  assertEquals((await answerOf(gateway)).headers.get("x-after"), "two");

  await writeConfig(gateway, { ...config("x"), pluginConfig: { "001-wait": { mark: "wait" } } });
  gateway.signal("SIGHUP");
  await gateway.waitForLog(({ line }) => line === "loading wait");
  const hosts = await gateway.until(async () => {
    const pids = await gateway.hostPids();
    return pids.length === 2 ? pids : undefined;
  }, { what: "the host before the last reload to end" });
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0, gateway.describe());
  for (const pid of hosts ?? []) assert(!await isRunning(pid));
  assertEquals([...Deno.readDirSync(join(gateway.dir, "run"))], []);
});

Deno.test("reload: SIGTERM while another plugin host is being prepared leaves no folder behind", async () => {
  await using upstream = echoUpstream();
  const config = { routes: [{ path: "/*", upstream: upstream.url }] };
  await using gateway = await testGateway({
    config,
    plugins: { ...PLUGINS, "data.txt": "x".repeat(40_000_000) },
  });
  const folders = () => [...Deno.readDirSync(join(gateway.dir, "run"))].length;
  await writeConfig(gateway, { ...config, pluginPoolSize: 3 });
  gateway.signal("SIGHUP");
  await gateway.until(() => folders() === 2, { what: "the other private folder" });
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  assertEquals(folders(), 0);
  assertEquals(gateway.logs.at(-1)?.message, "stopped");
});
