import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import type { TestGateway } from "../support/gateway.ts";
import { descendants, wordsOf } from "../support/proc.ts";
import { reload, writeConfig } from "../support/reload.ts";
import { askAnew, TWO_PROCESSES, twoProcesses } from "../support/two_processes.ts";

const PLUGINS = {
  "001-mark.ts": `let mark;
  const isolate = crypto.randomUUID();
  export default {
    readsBodies: false,
    async onLoad({ config }) {
      mark = config.mark;
      if (mark === "broken") throw new Error("as it is told");
      const gate = config.gate && await fetch(config.gate);
      await gate?.body?.cancel();
      if (gate?.status === 503) throw new Error("the gate is closed");
    },
    afterResponse(ctx) {
      ctx.response.setHeader("x-mark", mark);
      ctx.response.setHeader("x-isolate", isolate);
    },
  };`,
};

function config(upstream: string, mark: string): Record<string, unknown> {
  return {
    ...TWO_PROCESSES,
    pluginConfig: { "001-mark": { mark } },
    routes: [{ path: "/*", upstream }],
  };
}

/** Marks by isolate, over connections of their own, once both processes have answered. */
async function marks(gateway: TestGateway, url = gateway.url): Promise<string[]> {
  const seen = new Map<string, string>();
  await gateway.until(async () => {
    using response = await askAnew(url);
    const { headers, body, status } = response;
    await body?.cancel();
    assertEquals(status, 200);
    seen.set(headers.get("x-isolate") ?? "", headers.get("x-mark") ?? "");
    return seen.size === 2;
  }, { what: "answers of both", withinMs: 30_000 });
  return [...seen.values()];
}

Deno.test("processes: SIGHUP gives each of them the new configuration, one after another, without a lost request", async () => {
  await using first = echoUpstream({ name: "first" });
  await using second = echoUpstream({ name: "second" });
  await using gateway = await twoProcesses({ plugins: PLUGINS, config: config(first.url, "one") });
  const members = await gateway.hostPids();
  const state = { done: false, answers: 0 };
  const load = Promise.all(Array.from({ length: 4 }, async () => {
    while (!state.done) {
      const response = await gateway.fetch("/");
      const { name } = await response.json();
      assertEquals([response.status, response.headers.get("x-mark")], [
        200,
        name === "first" ? "one" : "two",
      ]);
      state.answers++;
    }
  }));
  load.catch(() => {});
  for (let round = 1; round <= 5; round++) {
    const [url, mark] = round % 2 === 1 ? [second.url, "two"] : [first.url, "one"];
    const line = await reload(gateway, config(url, mark));
    assertEquals([line.message, line.processes], ["configuration reloaded", 2]);
    assertEquals(await marks(gateway), [mark, mark]);
  }
  state.done = true;
  await load;
  assert(state.answers > 0);
  assertEquals(await gateway.hostPids(), members, "the processes are the same");
  await gateway.until(async () => (await descendants(gateway.pid)).length === 4, {
    what: "one host each",
  });
  for (const member of members) {
    const [host = 0] = await descendants(member);
    const words = (await wordsOf(host, "cmdline")).join(" ");
    assertStringIncludes(words, `--allow-net=127.0.0.1:${second.port},unix:`);
  }
  // What replaces one that dies has it too.
  const [victim = 0] = members;
  Deno.kill(victim, "SIGKILL");
  await gateway.waitForLog(({ message }) => message === "a gateway process is back");
  assertEquals(await marks(gateway), ["two", "two"]);
});

Deno.test("processes: a bad file reaches none of them, and what one of them cannot do is done by none", async () => {
  let asked = 0;
  await using upstream = echoUpstream({
    respond: ({ target }) =>
      target === "/gate" && ++asked > 1 ? new Response(null, { status: 503 }) : undefined,
  });
  await using gateway = await twoProcesses({
    plugins: PLUGINS,
    config: config(upstream.url, "one"),
  });
  const cases: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ ...config(upstream.url, "two"), routes: [] }, /^routes: \[\] is empty/],
    [{ ...config(upstream.url, "two"), processes: 3 }, /^processes: 2 cannot become 3/],
    // It is one process that finds out about its plugins: the first one.
    [config(upstream.url, "broken"), /^process \d+: plugins did not load:\n001-mark\.ts/],
  ];
  for (const [next, reason] of cases) {
    const line = await reload(gateway, next);
    assertEquals(line.level, "error");
    assertMatch(String(line.reason), reason);
    assertEquals(await marks(gateway), ["one", "one"]);
  }

  // The first one can, the second one cannot: the first goes back.
  const [first = 0, second = 0] = await gateway.hostPids();
  const from = gateway.logs.length;
  const line = await reload(gateway, {
    ...config(upstream.url, "two"),
    pluginConfig: { "001-mark": { mark: "two", gate: `${upstream.url}/gate` } },
  });
  assertMatch(String(line.reason), RegExp(`^process ${second}: plugins did not load:\n.*gate`));
  // Each process writes its own lines, so only the order of one's is certain.
  const told = (of: number | undefined) =>
    gateway.logs.slice(from)
      .filter(({ message, process }) =>
        process === of && /^(configuration reloaded|the conf)/.test(message)
      )
      .map(({ level }) => level);
  await gateway.until(() => told(first).length === 2, { what: "the first one to go back" });
  assertEquals([told(first), told(second), told(undefined)], [["info", "info"], ["error"], [
    "error",
  ]]);
  assertEquals(await marks(gateway), ["one", "one"]);
  const [victim = 0] = await gateway.hostPids();
  Deno.kill(victim, "SIGKILL");
  await gateway.waitForLog(({ message }) => message === "a gateway process is back");
  assertEquals(await marks(gateway), ["one", "one"]);
});

Deno.test("processes: one that hangs during a reload has what the others have when it goes on", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoProcesses({
    plugins: PLUGINS,
    config: config(upstream.url, "one"),
  });
  const [, hung = 0] = await gateway.hostPids();
  Deno.kill(hung, "SIGSTOP");
  const line = await reload(gateway, config(upstream.url, "two"));
  assertEquals(line.reason, `process ${hung}: it did not reload within 30000 ms`);
  Deno.kill(hung, "SIGCONT");
  const reloads = () =>
    gateway.logs.filter(({ message, process }) =>
      process === hung && message === "configuration reloaded"
    );
  await gateway.until(() => reloads().length === 2, { what: "there and back" });
  assertEquals(await marks(gateway), ["one", "one"]);
});

Deno.test("processes: another port and another log are taken on by all", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoProcesses({
    plugins: PLUGINS,
    config: config(upstream.url, "one"),
  });
  const old = gateway.port;
  const oldAdmin = gateway.adminUrl;
  const next = { ...config(upstream.url, "one"), listen: "127.0.0.2:0" };
  const line = await reload(gateway, next);
  assertEquals(line.changed, "listen");
  const address = gateway.logs.findLast(({ message }) => message === "listening")?.address;
  assertEquals(await marks(gateway, `http://${address}/`), ["one", "one"]);
  await gateway.until(
    () =>
      Deno.connect({ hostname: "127.0.0.1", port: old }).then(
        (conn) => (conn.close(), false),
        () => true,
      ),
    { what: "the old port to be closed" },
  );
  assertEquals((await fetch(`${oldAdmin}/readyz`).then((it) => it.json())).status, "ready");
  await writeConfig(gateway, { ...next, log: { format: "text", level: "error" } });
  gateway.signal("SIGHUP");
  await gateway.until(async () => {
    const { length } = gateway.logs;
    await marks(gateway, `http://${address}/`);
    return gateway.logs.length === length;
  }, { what: "no more access lines" });
});
