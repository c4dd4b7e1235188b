import { assert, assertEquals } from "@std/assert";
import { assertServed, errorOf, logOf } from "../support/failure.ts";
import { isRunning } from "../support/gateway.ts";
import { whileGreedy } from "../support/greedy_plugin.ts";

/** What a thread can be kept busy or blocked by; `while (true)` is in `tests/e2e/failure_isolates_test.ts`. */
const LOOPS: Readonly<Record<string, string>> = {
  "microtasks without end":
    `const spin = () => Promise.resolve().then(spin); spin(); await forever;`,
  "await without end": `for (;;) await undefined;`,
  "a regular expression that goes back and forth": `/^(a+)+$/.test("a".repeat(40) + "b");`,
  "a wait for shared memory": `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`,
  "a getter that JSON calls":
    `ctx.state.x = { get y() { for (;;); } }; ctx.log.info("x", { x: { toJSON() { for (;;); } } });`,
  "a thenable that is asked without end":
    `const again = { then(next) { next(again); } }; await again;`,
};

for (const [what, code] of Object.entries(LOOPS)) {
  Deno.test(`sandbox: ${what}: the isolate is replaced, the host renewed, others do not notice (attack 28)`, async () => {
    await whileGreedy(code, {
      over: (gateway) =>
        gateway.waitForLog((line) => line.message === "the plugin host was renewed"),
      async check({ gateway, answer, others, host }) {
        assertEquals(answer.status, 200);
        await logOf(gateway, answer, "hook timed out; treating as continue");
        assertServed(others);
        await gateway.until(async () => !await isRunning(host), { what: "the old host to end" });
      },
    });
  });
}

Deno.test("sandbox: process.exit ends one isolate, whose hook fails; the host lives and others do not notice (attack 28)", async () => {
  await whileGreedy(`(await import("node:process")).default.exit(1); await forever;`, {
    async check({ gateway, answer, others, host }) {
      assertEquals([answer.status, errorOf(answer).code], [500, "plugin_error"]);
      await logOf(gateway, answer, "hook failed; treating as reject");
      assertServed(others);
      assert(await isRunning(host));
    },
  });
});

Deno.test("sandbox: process.abort is refused (attack 28)", async () => {
  await whileGreedy(`(await import("node:process")).default.abort();`, {
    async check({ gateway, answer, others, host }) {
      assertEquals([answer.status, errorOf(answer).code], [500, "plugin_error"]);
      const { error } = await logOf(gateway, answer, "hook failed; treating as reject");
      assert(JSON.stringify(error).includes("not supported in workers"));
      assertServed(others);
      assert(await isRunning(host));
    },
  });
});

Deno.test("sandbox: a plugin that kills its own process: closed routes answer 200 policed or 503, and the host comes back", async () => {
  await whileGreedy(`Deno.kill(Deno.pid, "SIGKILL"); await forever;`, {
    over: (gateway) => gateway.waitForLog((line) => line.message === "the plugin host is back"),
    check({ gateway, answer, others }) {
      assertEquals(errorOf(answer).code, "runtime_unavailable");
      for (const { status } of others) assert(status === 200 || status === 503, `${status}`);
      const died = gateway.logs.find((line) => line.message === "the plugin host died");
      assertEquals(died?.reason, "SIGKILL");
    },
  });
});

Deno.test("sandbox: Workers of a plugin that fail, loop and multiply cost its isolate at most", async () => {
  const worker = (body: string) =>
    `new Worker("data:text/javascript," + encodeURIComponent(${
      JSON.stringify(body)
    }), { type: "module" });`;
  const code = `for (let at = 0; at < 20; at++) ${
    worker("for (;;) postMessage(new Uint8Array(1000));")
  }
    ${worker("throw new Error('nobody catches this');")}
    ${worker("Deno.exit(1);")}`;
  await whileGreedy(code, {
    over: (gateway) =>
      gateway.waitForLog((line) => line.message === "an isolate is lost; it is replaced"),
    check({ answer, others }) {
      assert([200, 500].includes(answer.status));
      assertServed(others);
    },
  });
});
