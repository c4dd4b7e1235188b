import { assert, assertEquals } from "@std/assert";
import { basename, dirname, join } from "@std/path";
import { echoUpstream } from "../support/echo_upstream.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { usageOf } from "../support/proc.ts";

const CONCURRENCY = 8;

/**
 * One state of the folder. Each file tells its own number and the helper's; 001 in both of its hooks, so that a request
 * which met two generations shows it.
 */
function files(version: number): readonly (readonly [name: string, source: string])[] {
  const plugin = (name: string) =>
    `import { version as lib } from "./_lib.ts";
    export default {
      readsBodies: false,
      beforeRequest(ctx) { ctx.response.setHeader("x-${name}-before", "${version}/" + lib); },
      afterResponse(ctx) { ctx.response.setHeader("x-${name}-after", "${version}/" + lib); },
    };`;
  return [
    ["_lib.ts", `export const version = ${version};`],
    ["001-first.ts", plugin("first")],
    ["002-second.ts", plugin("second")],
  ];
}

/** How a new state gets onto the disk. */
const WAYS = [
  {
    saves: 100,
    way: "the files are written one after the other",
    save: async (path: string, source: string) => await Deno.writeTextFile(path, source),
  },
  {
    saves: 25,
    way: "each file is replaced by rename",
    save: async (path: string, source: string) => {
      const draft = join(dirname(path), `.${basename(path)}.swp`);
      await Deno.writeTextFile(draft, source);
      await Deno.rename(draft, path);
    },
  },
] as const;

/** One answer: the version pairs of both plugins in both phases. */
type Seen = Readonly<Record<"first" | "second", readonly (string | null)[]>>;

async function ask(gateway: TestGateway): Promise<Seen> {
  const response = await gateway.fetch("/x");
  await response.body?.cancel();
  assertEquals(response.status, 200);
  const of = (name: string) =>
    ["before", "after"].map((hook) => response.headers.get(`x-${name}-${hook}`));
  return { first: of("first"), second: of("second") };
}

/** Two files cannot be saved in one step, so their numbers may differ by one save; a file's own two hooks never do. */
function checkOneGeneration({ first, second }: Seen): void {
  for (const [before, after] of [first, second]) {
    assert(before !== null && before !== undefined, "a plugin did not run");
    assertEquals(before, after, "the two phases of one request met two generations");
  }
  const lib = [first, second].map(([before]) => before?.split("/")[1]);
  assertEquals(lib[0], lib[1], "the plugins of one request met two versions of the helper");
}

async function isLive(gateway: TestGateway, version: number): Promise<boolean> {
  const { first, second } = await ask(gateway);
  return [first, second].every(([before]) => before === `${version}/${version}`);
}

for (const { saves, way, save } of WAYS) {
  Deno.test(`${saves} reloads under load, where ${way}: no request lost, none served by two generations, nothing leaks`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await testGateway({
      config: {
        routes: [{ path: "/*", upstream: upstream.url }],
        log: { format: "json", level: "info" },
        hookTimeoutMs: 5000,
        hardCeilingMs: 6000,
      },
      plugins: Object.fromEntries(files(0)),
    });
    const dir = join(gateway.dir, "plugins");
    const [host = 0] = await gateway.hostPids();
    const state = { done: false, answers: 0 };
    const load = Array.from({ length: CONCURRENCY }, async () => {
      while (!state.done) {
        checkOneGeneration(await ask(gateway));
        state.answers++;
      }
    });
    const loading = Promise.all(load);
    loading.catch(() => {});
    const saveAndWait = async (version: number) => {
      for (const [name, source] of files(version)) await save(join(dir, name), source);
      const savedAt = performance.now();
      await gateway.until(() => isLive(gateway, version), {
        what: `version ${version} to be live`,
      });
      return performance.now() - savedAt;
    };

    const delays: number[] = [];
    for (let version = 1; version <= 10; version++) delays.push(await saveAndWait(version));
    const before = [await usageOf(gateway.pid), await usageOf(host)];
    for (let version = 11; version <= saves; version++) delays.push(await saveAndWait(version));
    const after = [await usageOf(gateway.pid), await usageOf(host)];
    state.done = true;
    await loading;

    assertEquals((await gateway.hostPids()).length, 1);
    assertEquals((await gateway.hostPids())[0], host, "reloading needs no new process");
    assert(state.answers > saves, `only ${state.answers} answers`);
    delays.sort((a, b) => a - b);
    const medianMs = delays[Math.floor(delays.length / 2)] ?? Infinity;
    console.log(
      `${state.answers} answers; live after ${Math.round(medianMs)} ms (median), ` +
        `${Math.round(delays.at(-1) ?? 0)} ms (worst); gateway and host ` +
        `${JSON.stringify(before)} -> ${JSON.stringify(after)}`,
    );
    assert(medianMs < 3000, `${medianMs} ms`);
    for (const [index, use] of after.entries()) {
      const first = before[index];
      assert(first);
      assert(use.threads <= first.threads + 8, `threads ${first.threads} -> ${use.threads}`);
      assert(use.fds <= first.fds + 16, `fds ${first.fds} -> ${use.fds}`);
      assert(use.rssMiB <= first.rssMiB + 150, `RSS ${first.rssMiB} -> ${use.rssMiB} MiB`);
    }
    const copies = [...Deno.readDirSync(await pluginsRoot(gateway))];
    assert(copies.length <= 12, `${copies.length} private copies are left`);
  });
}

async function pluginsRoot(gateway: TestGateway): Promise<string> {
  const run = join(gateway.dir, "run");
  const [privateDir] = await Array.fromAsync(Deno.readDir(run));
  return join(run, privateDir?.name ?? "", "plugins");
}

Deno.test("reload: after 128 sets of plugins another host process takes over, and no request is lost", async () => {
  await using upstream = echoUpstream();
  const source = (version: number) =>
    `export default { readsBodies: false, afterResponse(ctx) { ctx.response.setHeader("x-version", "${version}"); } };`;
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }], pluginPoolSize: 1 },
    plugins: { "001-version.ts": source(0) },
  });
  const hosts = new Set(await gateway.hostPids());
  for (let version = 1; version <= 128; version++) {
    await gateway.savePlugin("001-version.ts", source(version));
    await gateway.until(async () => {
      const response = await gateway.fetch("/");
      await response.body?.cancel();
      assertEquals(response.status, 200);
      return response.headers.get("x-version") === String(version);
    }, { what: `version ${version} to be live` });
    if (version === 127) assertEquals(new Set(await gateway.hostPids()), hosts);
  }
  await gateway.until(async () => {
    const pids = await gateway.hostPids();
    return pids.length === 1 && !hosts.has(pids[0] ?? 0);
  }, { what: "one other host process to run alone" });
});
