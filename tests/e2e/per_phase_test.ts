import { assert, assertEquals } from "@std/assert";
import { dirname, fromFileUrl, join } from "@std/path";
import { type EchoUpstream, echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";

/** Says that it runs, marks both messages, and does to its isolate what the path says. */
function step(number: number): string {
  return `export default {
    readsBodies: ${number === 2},
    async beforeRequest(ctx) {
      console.log("runs ${number}");
      ctx.upstream.appendHeader("x-steps", "${number}");
      const { path } = ctx.request;
      if (path === "/loop-in-${number}") while (true) {}
      if (path === "/exit-in-${number}") Deno.exit(1);
      if (path === "/wait-in-${number}") await new Promise((resolve) => setTimeout(resolve, 30));
    },
    afterResponse(ctx) {
      ctx.response.appendHeader("x-steps", "${number}");
    },
  };`;
}

function perPhase({ url }: EchoUpstream) {
  return { hookDispatch: "per-phase", routes: [{ path: "/*", upstream: url }] };
}

const PLUGINS = Object.fromEntries([1, 2, 3, 4].map((n) => [`00${n}-step.ts`, step(n)]));

for (
  const [path, upstreamSteps] of [
    ["/plain", "1, 2, 3, 4"],
    ["/wait-in-2", "1, 2, 3, 4"],
    ["/loop-in-1", "2, 3, 4"],
    ["/loop-in-3", "1, 2, 4"],
    ["/loop-in-4", "1, 2, 3"],
    ["/exit-in-3", "1, 2, 4"],
    ["/exit-in-1", "2, 3, 4"],
  ]
) {
  Deno.test(`per-phase: of a chain only the hook that blocks or ends its isolate is lost, and no other one runs twice (${path})`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await testGateway({
      config: { ...perPhase(upstream), onHookTimeout: "continue", onHookError: "continue" },
      plugins: PLUGINS,
    });
    for (let round = 0; round < 3; round++) {
      const response = await gateway.fetch(path ?? "");
      await response.body?.cancel();
      assertEquals([response.status, response.headers.get("x-steps")], [200, "1, 2, 3, 4"]);
    }
    const seen = upstream.seen.map(({ headers }) => headers["x-steps"]);
    assertEquals(seen, Array(3).fill(upstreamSteps));
    const runs = () =>
      gateway.logs.filter(({ message }) => message === "plugin host output")
        .map(({ line }) => line);
    await gateway.until(() => runs().length >= 12, { what: "each hook to have said that it runs" });
    assertEquals(runs().sort(), [1, 2, 3, 4].flatMap((n) => Array(3).fill(`runs ${n}`)));
  });
}

Deno.test("per-phase: the time limit is that of each hook, also where hooks keep their isolate busy", async () => {
  const busy = `export default { beforeRequest(ctx) {
    for (const until = performance.now() + 300; performance.now() < until;);
    ctx.upstream.appendHeader("x-steps", "done");
  } };`;
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      ...perPhase(upstream),
      hookTimeoutMs: 600,
      hardCeilingMs: 1000,
      onHookTimeout: "continue",
    },
    plugins: { "001-a.ts": busy, "002-b.ts": busy, "003-c.ts": busy, "004-d.ts": busy },
  });
  await (await gateway.fetch("/")).body?.cancel();
  assertEquals(upstream.seen[0]?.headers["x-steps"], "done, done, done, done");
  assertEquals(gateway.logs.filter(({ level }) => level === "warn"), []);
});

Deno.test("per-phase: one message asks for a phase, and each hook has its own result, place and time", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, ...perPhase(upstream) },
    plugins: PLUGINS,
    command: "dev",
    env: { CONDUIT_TRACE_IPC: "1" },
  });
  const response = await gateway.fetch("/plain", { method: "POST", body: "secret-body" });
  await response.body?.cancel();
  assertEquals(
    response.headers.get("x-conduit-plugins")?.replaceAll(/dur=[\d.]+/g, "dur"),
    ["beforeRequest", "afterResponse"].flatMap((hook) =>
      [1, 2, 3, 4].map((n) => `00${n}-step;${hook}=modify;dur`)
    ).join(", "),
  );
  const asked = gateway.stderr.split("\n").filter((line) =>
    line.startsWith('ipc -> {"type":"hook"')
  );
  assertEquals(asked.length, 2);
  for (const line of asked) assert(line.includes(`"plugin":"*"`), line);
});

Deno.test("per-phase: a hook that reads no bodies gets none, though another one of its chain does", async () => {
  const tells = (readsBodies: boolean) =>
    `export default { readsBodies: ${readsBodies}, beforeRequest(ctx) {
      let seen; try { seen = ctx.request.text(); } catch (error) { seen = "not sent"; }
      ctx.upstream.appendHeader("x-seen", seen);
    } };`;
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, ...perPhase(upstream) },
    plugins: { "001-a.ts": tells(false), "002-b.ts": tells(true), "003-c.ts": tells(false) },
  });
  await (await gateway.fetch("/", { method: "POST", body: "hello" })).body?.cancel();
  assertEquals(upstream.seen[0]?.headers["x-seen"], "not sent, hello, not sent");
});

Deno.test("per-phase: later hooks see what the earlier ones proposed as far as it may stand", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, ...perPhase(upstream) },
    plugins: {
      "001-a.ts": `export default { afterResponse(ctx) {
        ctx.response.setHeader("content-length", "1");
        ctx.response.setHeader("x-fine", "1");
        ctx.user = { id: "alice" };
        ctx.state.list = [1];
      } };`,
      "002-b.ts": `export default { afterResponse(ctx) {
        ctx.state.list.push(2);
        ctx.response.setHeader("x-told", JSON.stringify([
          ctx.response.header("content-length") ?? null, ctx.response.header("x-fine"), ctx.user, ctx.state.list,
        ]));
      } };`,
    },
  });
  const response = await gateway.fetch("/");
  await response.body?.cancel();
  assertEquals(response.headers.get("x-told"), '[null,"1",{"id":"alice"},[1,2]]');
  const denied = await gateway.waitForLog(
    ({ message }) => message === "denied what a plugin set",
    { what: "the denial" },
  );
  assertEquals([denied.plugin, denied.what], ["001-a", 'response header "content-length"']);
});

/**
 * Where it matters how hooks are asked for. What is left out is about upstreams, frozen processes, paths and limits;
 * `CONDUIT_TEST_DISPATCH=per-phase deno test -A` runs all there is.
 */
const BOTH_MODES =
  /^(?:failure_(?!upstream|frozen)|http_(?:bodies|hooks|streaming)|reload_load|dev_way)|^(?:plugin_output|forward)_test/;

Deno.test("per-phase: the tests of hooks, failures and reloads pass as they do per hook", async () => {
  const tests = dirname(dirname(fromFileUrl(import.meta.url)));
  const files: string[] = [];
  for (const folder of ["e2e", "security"]) {
    for await (const { name } of Deno.readDir(join(tests, folder))) {
      if (BOTH_MODES.test(name)) files.push(join(tests, folder, name));
    }
  }
  assert(files.length >= 10, String(files.length));
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", "--quiet", ...files.sort()],
    env: { CONDUIT_TEST_DISPATCH: "per-phase", NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert(success, `${text}${new TextDecoder().decode(stderr)}`);
  console.log(text.trim().split("\n").at(-1));
});
