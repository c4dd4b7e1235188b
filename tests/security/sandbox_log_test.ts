import { assert, assertEquals } from "@std/assert";
import { assertServed } from "../support/failure.ts";
import { isRunning, type LogLine } from "../support/gateway.ts";
import { whileGreedy } from "../support/greedy_plugin.ts";

/** What is over 10 a second, with a hundred in advance, is dropped. */
const LIMITED = {
  hookTimeoutMs: 10_000,
  hardCeilingMs: 10_000,
  log: { format: "json", level: "info", pluginRecordsPerSecond: 10 },
};

function written(logs: readonly LogLine[], kind: RegExp): number {
  return logs.filter((line) => kind.test(line.message) || kind.test(String(line.line))).length;
}

Deno.test("sandbox: a million log records of one hook: some are written, the rest is dropped, and others do not notice", async () => {
  await whileGreedy(`for (let at = 0; at < 1e6; at++) ctx.log.info("record " + at);`, {
    config: LIMITED,
    over: (gateway) => gateway.waitForLog((line) => /^record 50$/.test(line.message)),
    check({ gateway, answer, others }) {
      assertEquals(answer.status, 200);
      const count = written(gateway.logs, /^record \d/);
      assert(count <= 200, `${count} were written`);
      assertServed(others);
    },
  });
});

Deno.test("sandbox: a million log records behind the end of a hook cost the isolate at most, and others do not notice", async () => {
  const code = `setTimeout(() => {
    for (let at = 0; at < 1e6; at++) ctx.log.info("late " + at);
    setTimeout(() => console.log("all said"), 100);
  }, 5);`;
  await whileGreedy(code, {
    config: LIMITED,
    over: (gateway) =>
      gateway.waitForLog(({ message, line }) =>
        message === "an isolate is lost; it is replaced" || line === "all said"
      ),
    async check({ gateway, answer, others, host }) {
      assertEquals(answer.status, 200);
      const count = written(gateway.logs, /^late \d/);
      assert(count <= 400, `${count} were written`);
      assertServed(others);
      assert(await isRunning(host));
    },
  });
});

Deno.test("sandbox: half a million lines on the console: some are written, the rest is dropped, and others are served", async () => {
  await whileGreedy(`for (let at = 0; at < 5e5; at++) console.log("line " + at);`, {
    config: LIMITED,
    over: (gateway) => gateway.waitForLog(({ line }) => line === "line 50"),
    check({ gateway, others }) {
      const count = written(gateway.logs, /^line \d/);
      assert(count > 0 && count <= 1000, `${count} were written`);
      assertServed(others);
    },
  });
});
