import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, ROOT } from "../support/gateway.ts";
import { scrape, total } from "../support/metrics.ts";
import { freePort } from "../support/sockets.ts";
import { until } from "../support/until.ts";

const PATIENTLY = { withinMs: 60_000 } as const;

const encoder = new TextEncoder();

/** A gateway whose standard output is a file: a device, or a named pipe. */
async function gatewayInto(file: string, upstream: string, processes = 1) {
  const dir = await Deno.makeTempDir({ prefix: "conduit-test-" });
  for (const name of ["plugins", "run"]) await Deno.mkdir(join(dir, name));
  const [port, adminPort] = [freePort(), freePort()];
  const config = {
    listen: `127.0.0.1:${port}`,
    admin: { listen: `127.0.0.1:${adminPort}` },
    pluginsDir: "./plugins",
    processes,
    pluginPoolSize: 1,
    log: { format: "json" },
    routes: [{ path: "/*", upstream }],
  };
  await Deno.writeTextFile(join(dir, "c.json"), JSON.stringify(config));
  const child = new Deno.Command("sh", {
    args: [
      "-c",
      'exec "$1" run -A "$2" run --config "$3" > "$4"',
      "sh",
      Deno.execPath(),
      join(ROOT, "main.ts"),
      join(dir, "c.json"),
      file,
    ],
    env: { XDG_RUNTIME_DIR: join(dir, "run") },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const stderr = new Response(child.stderr).text();
  const gateway = {
    pid: child.pid,
    adminUrl: `http://127.0.0.1:${adminPort}`,
    async status(): Promise<number> {
      const response = await fetch(`http://127.0.0.1:${port}/x`);
      await response.body?.cancel();
      return response.status;
    },
    /** Many requests, each with its line in the log. */
    async requests(count: number): Promise<void> {
      for (let n = 0; n < count; n += 50) {
        const statuses = await Promise.all(Array.from({ length: 50 }, () => gateway.status()));
        assertEquals(statuses.filter((status) => status !== 200), []);
      }
    },
    async lostLines(): Promise<number> {
      return total(await scrape(gateway), "conduit_log_lines_lost_total");
    },
    /** SIGTERM. @returns the exit code */
    async stop(): Promise<number> {
      child.kill("SIGTERM");
      return (await child.status).code;
    },
    async [Symbol.asyncDispose]() {
      if (await isRunning(child.pid)) child.kill("SIGKILL");
      assertEquals(await stderr, "");
      await Deno.remove(dir, { recursive: true });
    },
  };
  await until(
    () => gateway.status().then((status) => status === 200, () => false),
    "the gateway to answer",
    PATIENTLY,
  );
  return gateway;
}

/** A named pipe, opened to read and to write: it then takes what fits into it, whether anybody reads or not. */
async function namedPipe() {
  const dir = await Deno.makeTempDir({ prefix: "conduit-pipe-" });
  const path = join(dir, "log");
  const { success } = await new Deno.Command("mkfifo", { args: [path] }).output();
  assert(success);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }) };
}

/** Reads a named pipe until `enough` is in what came. */
async function readUntil(file: Deno.FsFile, enough: RegExp): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65536);
  for (let text = "";;) {
    const length = await file.read(buffer);
    assert(length !== null, `it ended before ${enough}`);
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
    if (enough.test(text)) return text;
  }
}

for (const processes of [1, 2]) {
  Deno.test(`failure: the log cannot be written; the disk is full: ${processes} process(es) serve on, count the lines and end well`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await gatewayInto("/dev/full", upstream.url, processes);
    await gateway.requests(200);
    await until(async () => await gateway.lostLines() >= 200, "lost lines", PATIENTLY);
    assertEquals(await gateway.stop(), 0);
  });
}

Deno.test("failure: the log cannot be written; its reader goes and another one comes: the log says how many lines are lost", async () => {
  await using upstream = echoUpstream();
  await using pipe = await namedPipe();
  const first = Deno.open(pipe.path);
  await using gateway = await gatewayInto(pipe.path, upstream.url);
  const reader = await first;
  await readUntil(reader, /"message":"ready"/);
  reader.close();
  await gateway.requests(100);
  await until(async () => await gateway.lostLines() >= 100, "lost lines", PATIENTLY);
  const lost = await gateway.lostLines();
  using second = await Deno.open(pipe.path);
  assertEquals(await gateway.status(), 200);
  const text = await readUntil(second, /"message":"log lines were lost".*\n/);
  const line = text.split("\n").find((each) => each.includes("log lines were lost")) ?? "";
  const { level, lines, reason } = JSON.parse(line);
  // The line of that request may still have been one of them.
  assertEquals([level, lines], ["warn", await gateway.lostLines()]);
  assert(lines >= lost, `${lines}, of ${lost} before`);
  assert(/broken pipe/i.test(reason), reason);
  assertEquals(await gateway.stop(), 0);
});

Deno.test("failure: the reader of the log stands still; the gateway serves on, keeps a little and ends well", async () => {
  await using upstream = echoUpstream();
  await using pipe = await namedPipe();
  // Both ends are open, and nobody reads.
  using file = await Deno.open(pipe.path, { read: true, write: true });
  await using gateway = await gatewayInto(pipe.path, upstream.url);
  // The pipe is full from here on.
  await file.write(encoder.encode("x".repeat(8000)));
  await until(
    async () => {
      await gateway.requests(1000);
      return await gateway.lostLines() > 0;
    },
    "a lost line",
    PATIENTLY,
  );
  const startedAt = performance.now();
  assertEquals(await gateway.stop(), 0);
  assert(performance.now() - startedAt < 15_000, "the end waited for the reader");
});
