import { assert, assertEquals } from "@std/assert";
import { assertServed, errorOf, hostProgram, logOf } from "../support/failure.ts";
import { isRunning } from "../support/gateway.ts";
import { whileGreedy } from "../support/greedy_plugin.ts";

Deno.test("sandbox: a heap that grows without end ends the host: closed routes answer 200 policed or 503, and it comes back (attack 28)", async () => {
  await using program = await hostProgram(
    `shift; exec $DENO run --v8-flags=--max-old-space-size=100 "$@"`,
  );
  const code = `for (;;) {
    for (let at = 0; at < 1000; at++) kept.push(new Array(1000).fill({ at }));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }`;
  await whileGreedy(code, {
    env: program.env,
    config: { hookTimeoutMs: 10_000, hardCeilingMs: 10_000 },
    over: (gateway) => gateway.waitForLog((line) => line.message === "the plugin host is back"),
    check({ gateway, answer, others }) {
      assertEquals(errorOf(answer).code, "runtime_unavailable");
      for (const { status } of others) assert(status === 200 || status === 503, `${status}`);
      const said = JSON.stringify(gateway.logs);
      assert(
        said.includes("the plugin host died") && /JavaScript out of memory/.test(said),
      );
    },
  });
});

Deno.test("sandbox: buffers without end are an error of the hook where the system has a limit, and others do not notice (attack 28)", async () => {
  await using program = await hostProgram(`ulimit -d 2500000; exec $DENO "$@"`);
  // Large ones, so that what is left when the next one fails is enough for the rest of the process.
  await whileGreedy(`for (;;) kept.push(new Uint8Array(500e6).fill(1));`, {
    env: program.env,
    config: { hookTimeoutMs: 10_000, hardCeilingMs: 10_000 },
    async check({ gateway, answer, others, host }) {
      assertEquals(errorOf(answer).code, "plugin_error");
      const record = await logOf(gateway, answer, "hook failed; treating as reject");
      assert(JSON.stringify(record.error).includes("Array buffer allocation failed"));
      assertServed(others);
      assert(await isRunning(host));
    },
  });
});

const LARGE: Readonly<Record<string, string>> = {
  "header": `ctx.upstream.setHeader("x-large", "a".repeat(100e6));`,
  "body": `ctx.response.setBody("a".repeat(100e6));`,
  "state": `ctx.state.large = "a".repeat(100e6);`,
  "rejection": `ctx.reject(400, "a".repeat(100e6));`,
};

for (const [what, code] of Object.entries(LARGE)) {
  Deno.test(`sandbox: a ${what} of 100 MB fails its hook, and others do not notice`, async () => {
    await whileGreedy(code, {
      config: { hookTimeoutMs: 10_000, hardCeilingMs: 10_000 },
      async check({ gateway, upstream, answer, others, host }) {
        assertEquals(errorOf(answer).code, "plugin_error");
        const record = await logOf(gateway, answer, "hook failed; treating as reject");
        assert(JSON.stringify(record.error).includes("larger than a frame may be"));
        assertEquals(upstream.seen.filter(({ target }) => target !== "/ordinary"), []);
        assertServed(others);
        assert(await isRunning(host));
      },
    });
  });
}
