import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { scratch } from "../support/conduit.ts";
import {
  type Answer,
  ask,
  assertAllServed,
  assertNothingLeft,
  assertPoliced,
  assertServed,
  duringLoad,
  errorOf,
  hostProgram,
  kill,
  POLICY,
  readyStatus,
} from "../support/failure.ts";
import { type EchoUpstream, echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, type TestGateway, testGateway } from "../support/gateway.ts";

const UNAVAILABLE = { code: "runtime_unavailable", message: "plugin runtime unavailable" };
const REAL_HOST = `exec $DENO "$@"`;
const VERSIONED = `export default {
  afterResponse(ctx) { ctx.response.setHeader("x-more", "yes"); },
};`;

interface Upstreams {
  readonly closed: EchoUpstream;
  readonly open: EchoUpstream;
}

function policed(
  { closed, open }: Upstreams,
  env: Readonly<Record<string, string>> = {},
): Promise<TestGateway> {
  return testGateway({
    config: {
      routes: [
        { path: "/closed", upstream: closed.url },
        { path: "/open", upstream: open.url, failPolicy: "open" },
        { path: "/plain", upstream: open.url, plugins: false },
      ],
    },
    plugins: { "001-policy.ts": POLICY },
    env,
  });
}

async function endAll(...upstreams: readonly EchoUpstream[]): Promise<void> {
  for (const each of upstreams) await each[Symbol.asyncDispose]();
}

async function killHost(gateway: TestGateway): Promise<void> {
  for (const pid of await gateway.hostPids()) kill(pid);
}

/** What the table promises while the host is away. */
async function assertAway(gateway: TestGateway, { closed, open }: Upstreams): Promise<void> {
  assertEquals(await readyStatus(gateway), 503);
  const refused = await ask(gateway, "/closed");
  assertEquals([refused.status, errorOf(refused)], [503, UNAVAILABLE]);
  assertEquals((await ask(gateway, "/plain")).status, 200);
  const bare = open.seen.length;
  assertEquals((await ask(gateway, "/open")).status, 200);
  assertEquals(open.seen[bare]?.headers["x-policed"], undefined);
  assertPoliced(closed);
}

async function assertBack(gateway: TestGateway, { closed }: Upstreams): Promise<void> {
  await gateway.waitForLog((line) => line.message === "the plugin host is back");
  assertEquals(await readyStatus(gateway), 200);
  assertEquals((await ask(gateway, "/closed")).status, 200);
  assertPoliced(closed);
}

function assertEachExplained(answers: readonly Answer[]): void {
  for (const answer of answers) {
    if (answer.status !== 200) assertEquals([answer.status, errorOf(answer)], [503, UNAVAILABLE]);
  }
}

Deno.test("failure: the host process dies; under load a closed route answers 200 policed or 503, an open one always, and both again when it is back", async () => {
  await using closed = echoUpstream();
  await using open = echoUpstream();
  await using gateway = await policed({ closed, open });
  const back = () => gateway.logs.filter((line) => line.message === "the plugin host is back");
  const { result, others } = await duringLoad(gateway, () =>
    duringLoad(gateway, async () => {
      for (let times = 1; times <= 3; times++) {
        await killHost(gateway);
        await gateway.until(() => back().length === times, { what: `the host, ${times}` });
      }
    }, { path: "/open", clients: 15 }), { path: "/closed", clients: 50 });
  assertAllServed(result.others);
  assertEachExplained(others);
  assert(others.some((each) => each.status === 503), "the host was never missed");
  assertPoliced(closed);
  assertEquals((await ask(gateway, "/closed")).status, 200);
});

Deno.test("failure: the host process dies; failPolicy while it is away, and the log says when it is back", async () => {
  await using closed = echoUpstream();
  await using open = echoUpstream();
  await using host = await hostProgram(REAL_HOST);
  await using gateway = await policed({ closed, open }, host.env);
  assertEquals(await readyStatus(gateway), 200);
  await host.write("exit 1");
  await killHost(gateway);
  const died = await gateway.waitForLog((line) => line.message === "the plugin host died");
  assertEquals(died.reason, "SIGKILL");
  await assertAway(gateway, { closed, open });
  await host.write(REAL_HOST);
  await assertBack(gateway, { closed, open });
});

Deno.test("failure: the host process dies; it is restarted with exponential backoff, also when it lives for a moment each time", async () => {
  await using closed = echoUpstream();
  await using open = echoUpstream();
  await using gateway = await policed({ closed, open });
  for (let times = 1; times <= 5; times++) {
    await killHost(gateway);
    await gateway.until(
      () =>
        gateway.logs.filter((line) => line.message === "the plugin host is back").length === times,
      { what: `the host, ${times}` },
    );
  }
  const delays = gateway.logs.filter((line) => line.message === "the plugin host is restarted")
    .map((line) => Number(line.delayMs));
  assertEquals(delays.length, 5);
  delays.forEach((delayMs, times) => {
    const limitMs = 100 * 2 ** times;
    assert(delayMs >= limitMs / 2 && delayMs <= limitMs, `delays are ${delays}`);
  });
});

Deno.test("failure: the host process dies; of the memory that a plugin takes without end", async () => {
  await using upstream = echoUpstream();
  await using host = await hostProgram(
    `shift; exec $DENO run --v8-flags=--max-old-space-size=64 "$@"`,
  );
  await using gateway = await testGateway({
    config: {
      hookTimeoutMs: 20_000,
      hardCeilingMs: 20_000,
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: {
      "001-hog.ts": `export default {
        beforeRequest(ctx) {
          for (const hog = []; ctx.request.path === "/hog";) hog.push(new Array(1e5).fill(Math.random()));
        },
      };`,
    },
    env: host.env,
  });
  const answer = await ask(gateway, "/hog");
  assertEquals([answer.status, errorOf(answer)], [503, UNAVAILABLE]);
  await gateway.waitForLog((line) => line.message === "the plugin host is back");
  assertEquals((await ask(gateway, "/after")).status, 200);
  assertEquals(upstream.seen.map((each) => each.target), ["/after"]);
});

Deno.test("failure: the host process dies; or stops and answers nothing: it is renewed, and what it held is answered by failPolicy", async () => {
  await using closed = echoUpstream();
  await using open = echoUpstream();
  await using gateway = await policed({ closed, open });
  const [host = 0] = await gateway.hostPids();
  Deno.kill(host, "SIGSTOP");
  const [refused, passed] = await Promise.all([ask(gateway, "/closed"), ask(gateway, "/open")]);
  assertEquals([refused.status, errorOf(refused)], [503, UNAVAILABLE]);
  assertEquals(passed.status, 200);
  await gateway.until(async () => !await isRunning(host), { what: "the stopped host to be gone" });
  assertEquals((await ask(gateway, "/closed")).status, 200);
  assertPoliced(closed);
});

for (const failing of ["exit 1", "kill -9 $$"]) {
  Deno.test(`failure: the host is absent at start; the gateway listens and answers by failPolicy, until it is there ("${failing}")`, async () => {
    await using closed = echoUpstream();
    await using open = echoUpstream();
    await using host = await hostProgram(failing);
    await using gateway = await policed({ closed, open }, host.env);
    await assertAway(gateway, { closed, open });
    await host.write(REAL_HOST);
    await assertBack(gateway, { closed, open });
  });
}

Deno.test("failure: the host process dies; its program is away too, and that passes as well", async () => {
  await using closed = echoUpstream();
  await using open = echoUpstream();
  await using host = await hostProgram(REAL_HOST);
  await using gateway = await policed({ closed, open }, host.env);
  await host.remove();
  await killHost(gateway);
  await gateway.waitForLog((line) => String(line.reason).includes("No such file"));
  await assertAway(gateway, { closed, open });
  await host.write(REAL_HOST);
  await assertBack(gateway, { closed, open });
});

Deno.test("failure: the host process dies; what its plugins need to load may be away for a while too", async () => {
  let isUp = true;
  await using upstream = echoUpstream({
    respond: ({ target }) =>
      target === "/keys" && !isUp ? new Response(null, { status: 500 }) : undefined,
  });
  await using gateway = await testGateway({
    config: { pluginPoolSize: 1, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-keys.ts": `export default {
        async onLoad(init) {
          const response = await init.services.http.fetch("${upstream.url}/keys");
          if (!response.ok) throw new Error("there are no keys");
        },
        beforeRequest(ctx) {
          if (ctx.request.path === "/exit") Deno.exit(1);
          ctx.upstream.setHeader("x-policed", "yes");
        },
      };`,
    },
  });
  isUp = false;
  assertEquals((await ask(gateway, "/exit")).status, 500);
  await gateway.waitForLog((line) => line.message === "an isolate could not be replaced");
  isUp = true;
  await gateway.until(async () => (await ask(gateway, "/again")).status === 200, { what: "a 200" });

  isUp = false;
  await killHost(gateway);
  await gateway.waitForLog((line) => /^plugins did not load/.test(line.message));
  assertEquals(errorOf(await ask(gateway, "/away")), UNAVAILABLE);
  isUp = true;
  await gateway.waitForLog((line) => line.message === "the plugin host is back");
  assertEquals((await ask(gateway, "/back")).status, 200);
  const asked = upstream.seen.filter((each) => each.target !== "/keys");
  assert(asked.every((each) => each.headers["x-policed"] === "yes"));
});

Deno.test("failure: renewals and deaths of the host leave nothing open in the gateway", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      pluginPoolSize: 1,
      hookTimeoutMs: 20,
      hardCeilingMs: 30,
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: {
      "001-wild.ts": `export default {
        beforeRequest(ctx) { while (ctx.request.path === "/loop") {} },
      };`,
    },
  });
  const openFiles = async () => {
    let count = 0;
    for await (const _ of Deno.readDir(`/proc/${gateway.pid}/fd`)) count++;
    return count;
  };
  const renew = async () => {
    const [old = 0] = await gateway.hostPids();
    await ask(gateway, "/loop");
    await gateway.until(async () => {
      const pids = await gateway.hostPids();
      return pids.length === 1 && !pids.includes(old);
    }, { what: `another host than ${old}` });
  };
  const die = async () => {
    const from = gateway.logs.length;
    await killHost(gateway);
    await gateway.waitForLog((line) => line.message === "the plugin host is back", { from });
  };
  await renew();
  await die();
  const before = await openFiles();
  for (let times = 0; times < 25; times++) await renew();
  for (let times = 0; times < 3; times++) await die();
  await gateway.until(async () => await openFiles() <= before + 2, {
    what: `${before} open files, not ${await openFiles()}`,
    withinMs: 3000,
  });
});

const TAKEN: readonly (readonly [what: string, take: (run: string) => Promise<void>])[] = [
  ["the private folder", takeAway], // as logind does with XDG_RUNTIME_DIR
  ["the plugin socket", (run) => Deno.remove(join(privateDirs(run)[0] ?? "", "host.sock"))],
  ["the plugins' copies", (run) => takeAway(join(privateDirs(run)[0] ?? "", "plugins"))],
];

/** Takes a folder away at once: one that is removed file by file may get new ones meanwhile, and then stays. */
async function takeAway(path: string): Promise<void> {
  const taken = `${path}.taken-${crypto.randomUUID()}`;
  await Deno.rename(path, taken);
  await Deno.remove(taken, { recursive: true });
}

function privateDirs(run: string): string[] {
  return [...Deno.readDirSync(run)].map((each) => join(run, each.name));
}

for (const [what, take] of TAKEN) {
  Deno.test(`${what} taken away: the plugin host moves, no request is lost, and saves and deaths are as ever`, async () => {
    const [closed, open] = [echoUpstream(), echoUpstream()];
    await using upstreams = { closed, open, [Symbol.asyncDispose]: () => endAll(closed, open) };
    await using tmp = await scratch();
    await using gateway = await policed(upstreams, { TMPDIR: tmp.path });
    const run = join(gateway.dir, "run");
    const { others } = await duringLoad(gateway, async () => {
      await take(run);
      await gateway.waitForLog((line) => line.message === "the plugin host was moved");
    }, { path: "/closed", clients: 10 });
    assertServed(others);
    await gateway.savePlugin("002-more.ts", VERSIONED);
    await gateway.until(async () => (await ask(gateway, "/closed")).headers.has("x-more"), {
      what: "the save to be live",
    });
    await killHost(gateway);
    await assertBack(gateway, upstreams);
    await assertNothingLeft(gateway);
    const left = [...Deno.readDirSync(tmp.path)];
    assertEquals(left.map((each) => each.name), [], "nothing of the new folder stays");
  });
}

Deno.test("the private folder is taken away while a broken plugin lies on the disk: what runs goes on until that is mended", async () => {
  const [closed, open] = [echoUpstream(), echoUpstream()];
  await using upstreams = { closed, open, [Symbol.asyncDispose]: () => endAll(closed, open) };
  await using gateway = await policed(upstreams);
  await gateway.savePlugin("002-more.ts", "export default {");
  await gateway.waitForLog((line) => line.message.startsWith("plugins did not load"));
  await takeAway(privateDirs(join(gateway.dir, "run"))[0] ?? "");
  const line = await gateway.waitForLog((each) =>
    each.message === "the plugin host cannot be moved"
  );
  assertMatch(String(line.reason), /^plugins did not load:\n002-more\.ts:1:/);
  assertEquals((await ask(gateway, "/closed")).status, 200);
  await gateway.savePlugin("002-more.ts", VERSIONED);
  await gateway.waitForLog((each) => each.message === "the plugin host was moved");
  assert((await ask(gateway, "/closed")).headers.has("x-more"));
  assertPoliced(closed);
});

Deno.test("failure: the gateway is killed; its host ends, also while an isolate of it loops, and the next start finds nothing in its way", async () => {
  await using upstream = echoUpstream();
  const runtime = await Deno.makeTempDir({ prefix: "conduit-runtime-" });
  const listen = `unix:${runtime}/http.sock`;
  const options = {
    config: {
      listen,
      hookTimeoutMs: 20_000,
      hardCeilingMs: 20_000,
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: {
      "001-loop.ts": `export default {
        beforeRequest(ctx) {
          if (ctx.request.path !== "/loop") return;
          console.log("looping");
          while (true) {}
        },
      };`,
    },
    env: { XDG_RUNTIME_DIR: runtime },
  };
  const privateFolders = () =>
    [...Deno.readDirSync(runtime)].map((each) => each.name).filter((name) =>
      name.startsWith("conduit-")
    );
  try {
    await using killed = await testGateway(options);
    const [host = 0] = await killed.hostPids();
    const [left = ""] = privateFolders();
    const looping = askUnix(listen, "/loop").catch(() => "");
    await killed.waitForLog((line) => line.line === "looping");
    kill(killed.pid);
    await killed.status;
    assertEquals(await looping, "");
    await killed.until(async () => !await isRunning(host), {
      what: "the host to end",
      withinMs: 5000,
    });

    await using next = await testGateway(options);
    const folders = privateFolders();
    assertEquals([folders.length, folders.includes(left)], [1, false]);
    assert((await askUnix(listen, "/after")).startsWith("HTTP/1.1 200 "));
    next.signal("SIGTERM");
    assertEquals((await next.status).code, 0);
    assertEquals(privateFolders(), []);
  } finally {
    await Deno.remove(runtime, { recursive: true });
  }
});

async function askUnix(listen: string, path: string): Promise<string> {
  using conn = await Deno.connect({ transport: "unix", path: listen.replace("unix:", "") });
  await conn.write(
    new TextEncoder().encode(
      `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`,
    ),
  );
  return await new Response(conn.readable).text();
}
