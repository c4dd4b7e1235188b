import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { conduit, configText, scratch } from "../support/conduit.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, ROOT, type TestGateway, testGateway } from "../support/gateway.ts";
import { descendants } from "../support/proc.ts";
import { askAnew, says, twoProcesses } from "../support/two_processes.ts";

/** Each gateway process has a plugin host of its own, here with one isolate: whose mark it is tells the process. */
const PLUGINS = {
  "001-mark.ts": `const mark = crypto.randomUUID();
  export default {
    readsBodies: false,
    afterResponse(ctx) { ctx.response.setHeader("x-mark", mark); },
  };`,
};

/** `/stream` answers a first piece and waits to be released; everything else answers at once. */
function heldUpstream() {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const upstream = echoUpstream({
    respond: ({ target }) =>
      target !== "/stream" ? undefined : new Response(ReadableStream.from((async function* () {
        yield new TextEncoder().encode("first,");
        await released;
        yield new TextEncoder().encode("second");
      })())),
  });
  return {
    url: upstream.url,
    release,
    async [Symbol.asyncDispose]() {
      release();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

async function markOf(gateway: TestGateway): Promise<string> {
  using response = await askAnew(gateway.url);
  await response.body?.cancel();
  assertEquals(response.status, 200);
  return response.headers.get("x-mark") ?? "";
}

/** The marks of the processes that answer, once there are `count` (beside the `known` ones). */
async function marksOf(
  gateway: TestGateway,
  count: number,
  known: ReadonlySet<string> = new Set(),
): Promise<Set<string>> {
  const marks = new Set<string>();
  await gateway.until(async () => {
    const mark = await markOf(gateway);
    if (!known.has(mark)) marks.add(mark);
    return marks.size === count;
  }, { what: `answers of ${count} processes`, withinMs: 30_000 });
  return marks;
}

/** Responses under way, at least one through each of the two processes. */
async function streamsThroughBoth(gateway: TestGateway): Promise<Response[]> {
  const streams: Response[] = [];
  const marks = () => new Set(streams.map(({ headers }) => headers.get("x-mark")));
  while (streams.length < 4 || marks().size < 2) {
    streams.push(await askAnew(`${gateway.url}/stream`));
  }
  return streams;
}

/** What `/readyz` of the parent says: status, `processes` and `reason`. */
async function readiness(gateway: TestGateway): Promise<unknown[]> {
  const response = await fetch(`${gateway.adminUrl}/readyz`);
  const { processes, reason } = await response.json();
  return [response.status, processes, reason];
}

async function assertGone(pids: readonly number[], gateway: TestGateway): Promise<void> {
  for (const pid of pids) {
    await gateway.until(async () => !await isRunning(pid), { what: `the end of ${pid}` });
  }
}

/** Nobody listens there, so that one who wants to can. */
function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}

Deno.test("processes: two gateway processes share one port, also one that was left to the system", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
  const listening = gateway.logs.filter(says("listening"));
  assertEquals(new Set(listening.map(({ pid }) => pid)).size, 2);
  assertEquals(listening.map((line) => line.process), listening.map(({ pid }) => pid));
  assertEquals(new Set(listening.map(({ address }) => address)).size, 1);
  await marksOf(gateway, 2);
  assertEquals(await readiness(gateway), [200, { ready: 2, of: 2 }, undefined]);
});

Deno.test('processes: "auto" is one for each core, and dev is always one', async () => {
  const cores = navigator.hardwareConcurrency;
  const config = { processes: "auto", routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] };
  await using gateway = await testGateway({ config });
  const started = gateway.logs.find(says("gateway processes are started"));
  assertEquals(started?.processes, cores === 1 ? undefined : cores);
  await using dev = await testGateway({ config, command: "dev" });
  assertEquals((await dev.hostPids()).length, 1);
  assertEquals((await descendants(dev.pid)).length, 1, "one gateway with one host");
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`processes: ${signal} drains all of them, exit 0, and nothing is left`, async () => {
    await using upstream = heldUpstream();
    await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
    const below = await descendants(gateway.pid);
    assertEquals(below.length, 4, "two gateways, each with a host");
    const streams = await streamsThroughBoth(gateway);
    // A terminal sends SIGINT to the children too; that must not count as a second signal.
    if (signal === "SIGINT") {
      for (const pid of await gateway.hostPids()) Deno.kill(pid, signal);
      await marksOf(gateway, 2);
    }
    gateway.signal(signal);
    await gateway.until(() => gateway.logs.filter(says("draining")).length === 2, {
      what: "both to drain",
    });
    assertEquals(await readiness(gateway), [503, undefined, "shutting down"]);
    upstream.release();
    for (const stream of streams) assertEquals(await stream.text(), "first,second");
    assertEquals((await gateway.status).code, 0, gateway.describe());
    await assertGone(below, gateway);
    assertEquals([...Deno.readDirSync(`${gateway.dir}/run`)], [], "the private folders are gone");
    assertEquals(gateway.stderr, "");
    assertEquals(gateway.logs.filter(says("a gateway process ended")), []);
  });
}

Deno.test("processes: a second signal ends all of them at once, exit 70", async () => {
  await using upstream = heldUpstream();
  await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
  const below = await descendants(gateway.pid);
  const streams = await streamsThroughBoth(gateway);
  gateway.signal("SIGTERM");
  await gateway.waitForLog(says("draining"));
  gateway.signal("SIGINT"); // the same one at once would count as one that came twice
  assertEquals((await gateway.status).code, 70);
  await assertGone(below, gateway);
  for (const stream of streams) await stream.body?.cancel().catch(() => {});
});

Deno.test("failure: one of several gateway processes dies; its requests are cut, the others' are not, and it is replaced", async () => {
  await using upstream = heldUpstream();
  await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
  const streams = await streamsThroughBoth(gateway);
  const before = await marksOf(gateway, 2);
  const [victim = 0] = await gateway.hostPids();
  Deno.kill(victim, "SIGKILL");
  const died = await gateway.waitForLog(says("a gateway process ended"));
  assertEquals([died.level, died.pid, died.reason], ["error", victim, "SIGKILL"]);
  // Nobody is turned away while it is replaced.
  const back = await gateway.until(async () => {
    await markOf(gateway);
    return gateway.logs.find(says("a gateway process is back"));
  }, { what: "the replacement" });
  assert(await isRunning(Number(back?.pid)));
  await marksOf(gateway, 1, before);

  upstream.release();
  const ends = await Promise.all(streams.map(async (stream) => ({
    mark: stream.headers.get("x-mark"),
    whole: await stream.text().then((text) => text === "first,second", () => false),
  })));
  const cut = new Set(ends.filter(({ whole }) => !whole).map(({ mark }) => mark));
  const whole = new Set(ends.filter(({ whole }) => whole).map(({ mark }) => mark));
  assertEquals([cut.size, whole.size], [1, 1], "all of one process, and none of the other");
  assert(!cut.isSubsetOf(whole));
});

Deno.test("processes: SIGTERM to one of them drains that one, and it is replaced", async () => {
  await using upstream = heldUpstream();
  await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
  const streams = await streamsThroughBoth(gateway);
  const [first = 0] = await gateway.hostPids();
  Deno.kill(first, "SIGTERM");
  await gateway.waitForLog(says("draining"));
  upstream.release();
  for (const stream of streams) assertEquals(await stream.text(), "first,second");
  const ended = await gateway.waitForLog(says("a gateway process ended"));
  assertEquals([ended.pid, ended.reason], [first, "exit code 0"]);
  await gateway.waitForLog(says("a gateway process is back"));
});

Deno.test("failure: the gateway is killed; of several processes none is left, and the port is free", async () => {
  await using gateway = await twoProcesses({ plugins: PLUGINS });
  await gateway.hostPids(); // so that none is left if this fails
  const below = await descendants(gateway.pid);
  assertEquals(below.length, 4);
  const { port } = gateway;
  assert(!isFree(port));
  gateway.signal("SIGKILL");
  await gateway.status;
  await gateway.until(() => isFree(port), { what: "the port to be free" });
  await assertGone(below, gateway);
});

Deno.test("processes: one that cannot start again is tried with growing pauses, and comes back once the cause is gone", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
  const plugins = join(gateway.dir, "plugins");
  await Deno.rename(plugins, `${plugins}-away`);
  const [victim = 0] = await gateway.hostPids();
  Deno.kill(victim, "SIGKILL");
  const pauses = () =>
    gateway.logs.filter(says("a gateway process is started again")).map(({ delayMs }) =>
      Number(delayMs)
    );
  await gateway.until(() => pauses().length === 4, { what: "four starts", withinMs: 30_000 });
  pauses().forEach((pause, index) => {
    const limit = 100 * 2 ** index;
    assert(pause >= limit / 2 && pause <= limit, `${pauses()}`);
  });
  assertStringIncludes(gateway.stderr, `conduit: pluginsDir: "${plugins}" is not a folder`);
  // What takes no connections does not make the gateway unready.
  assertEquals(await readiness(gateway), [200, { ready: 1, of: 2 }, undefined]);
  await markOf(gateway);

  await Deno.rename(`${plugins}-away`, plugins);
  await gateway.waitForLog(says("a gateway process is back"), { withinMs: 30_000 });
  await marksOf(gateway, 2);
});

Deno.test("processes: one that is replaced while a broken plugin lies there has the last set that loaded, and the next save", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoProcesses({ upstream: upstream.url, plugins: PLUGINS });
  const [first = ""] = await marksOf(gateway, 2);
  assert(first !== "");
  const source = PLUGINS["001-mark.ts"];
  for (const round of [1, 2]) {
    const from = gateway.logs.length;
    const failures = () =>
      gateway.logs.slice(from).filter(({ message }) => /^plugins did not load/.test(message));
    await gateway.savePlugin("001-mark.ts", `export default {{ // ${round}`);
    await gateway.until(() => failures().length === 2, { what: "both to refuse it" });
    const before = await marksOf(gateway, 2);
    const [victim = 0] = await gateway.hostPids();
    Deno.kill(victim, "SIGKILL");
    await gateway.waitForLog(says("a gateway process is back"), { from });
    await gateway.waitForLog(
      says("the plugin files on disk do not load; the last set that did is loaded again"),
      { from },
    );
    await marksOf(gateway, 1, before);
    await gateway.savePlugin("001-mark.ts", `${source} // ${round}`);
    await gateway.until(
      () => gateway.logs.slice(from).filter(says("plugins reloaded")).length === 2,
      { what: "both to have the save" },
    );
    await marksOf(gateway, 2);
  }
});

Deno.test("processes: one that takes connections and does not answer makes the gateway unready", async () => {
  await using gateway = await twoProcesses({ plugins: PLUGINS });
  const [hung = 0] = await gateway.hostPids();
  Deno.kill(hung, "SIGSTOP");
  assertEquals(await readiness(gateway), [
    503,
    { ready: 1, of: 2 },
    `process ${hung}: no answer`,
  ]);
  assertEquals((await fetch(`${gateway.adminUrl}/healthz`).then((it) => it.json())).status, "ok");
  Deno.kill(hung, "SIGCONT");
  await gateway.until(async () => (await readiness(gateway))[0] === 200, { what: "200" });
});

Deno.test("processes: one that hangs is killed when the others have drained and its time is over, exit 0", async () => {
  await using gateway = await twoProcesses({ plugins: PLUGINS, config: { shutdownGraceMs: 100 } });
  const [hung = 0, other = 0] = await gateway.hostPids();
  const hosts = await descendants(hung);
  Deno.kill(hung, "SIGSTOP");
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0);
  assertEquals(
    gateway.logs.filter(says("a gateway process does not end; it is killed")).map(({ pid }) => pid),
    [hung],
  );
  await assertGone([hung, other, ...hosts], gateway);
  assertEquals([...Deno.readDirSync(`${gateway.dir}/run`)].length, 1, "the killed one's folder");
});

Deno.test("processes: plugins that do not load are told once, exit 1, and nothing is left", async () => {
  await using gateway = await testGateway({
    mayFail: true,
    plugins: { "001-a.ts": "export default {{" },
    config: { processes: 3, routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
  });
  assertEquals((await gateway.status).code, 1);
  await gateway.until(() => gateway.stderr !== "", { what: "the reason" });
  assertStringIncludes(gateway.stderr, "conduit: plugins did not load:\n001-a.ts:1:17: ");
  assertEquals(gateway.stderr.match(/001-a\.ts:1:17: /g)?.length, 1, gateway.stderr);
  assertEquals(gateway.logs.filter(says("listening")), []);
  assertEquals([...Deno.readDirSync(`${gateway.dir}/run`)], [], "the private folders are gone");
});

Deno.test("processes: a taken port is refused, also where its holder shares it", async () => {
  await using holder = await twoProcesses({ plugins: PLUGINS });
  const listen = `127.0.0.1:${holder.port}`;
  await using dir = await scratch({
    "conduit.config.json": configText({ listen, processes: 2 }),
    "plugins/.keep": "",
  });
  const { code, stderr, stdout } = await conduit(["run"], { cwd: dir.path });
  assertEquals([code, stderr, stdout], [
    1,
    `conduit: cannot listen on ${listen}: another process listens there already\n`,
    "",
  ]);
});

Deno.test("processes: check says how many there will be, and that each has a memory cache of its own", async () => {
  await using dir = await scratch({
    "conduit.config.json": configText({ processes: 2 }),
    "plugins/.keep": "",
  });
  const { code, stdout } = await conduit(["check"], { cwd: dir.path });
  assertEquals(code, 0);
  assertStringIncludes(stdout, "processes: 2, each with a plugin host\n");
  assertStringIncludes(stdout, 'services.cache.driver: "memory" is one store for each');
});

Deno.test('processes: "process" is the command of a parent, and of one of the same version', async () => {
  const run = async (stdin: string) => {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", join(ROOT, "main.ts"), "process"],
      stdin: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(stdin));
    await writer.close();
    const { code, stderr } = await child.output();
    return { code, stderr: new TextDecoder().decode(stderr) };
  };
  for (const stdin of ["", "hello\n", "{}\n"]) {
    const { code, stderr } = await run(stdin);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "is started by conduit itself; use conduit run");
  }
  const other = await run(`${JSON.stringify({ version: "0.0.1", config: {} })}\n`);
  assertEquals(other.code, 1);
  assertStringIncludes(other.stderr, "and its parent 0.0.1; restart the whole of it");
});

Deno.test("processes: lines of the log that they share come out whole, however slowly they are read", async () => {
  const output = JSON.stringify(join(ROOT, "gateway/log_output.ts"));
  const script = `import { LogOutput } from ${output};
    const output = new LogOutput({ stream: Deno.stdout, isShared: true, onBack() {} });
    const line = (length) => Deno.args[0].repeat(length) + "\\n";
    for (let at = 0; at < 300; at++) {
      output.write(Array.from({ length: 40 }, (_, each) => line(100 + (at * 37 + each * 101) % 900)).join(""));
      await output.end();
    }`;
  await using dir = await scratch({ "write.ts": script });
  const config = join(ROOT, "deno.json"); // names the packages that modules of the gateway import
  const write = `"${Deno.execPath()}" run -A --config "${config}" "${join(dir.path, "write.ts")}"`;
  const child = new Deno.Command("sh", {
    args: ["-c", `${write} a & ${write} b & wait`],
    stdout: "piped",
  }).spawn();
  let text = "";
  for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += piece;
    await new Promise((resolve) => setTimeout(resolve, 1)); // the pipe is full for most of the time
  }
  const lines = text.split("\n").slice(0, -1);
  assertEquals(lines.length, 2 * 300 * 40);
  assertEquals(lines.filter((line) => !/^(?:a+|b+)$/.test(line)).length, 0, "mixed lines");
  const turns = lines.filter((line, at) => line[0] !== lines[at - 1]?.[0]).length;
  assert(turns > 10, `they did not write at the same time: ${turns}`);
});
