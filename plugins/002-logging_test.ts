import { assert, assertEquals } from "@std/assert";
import { createTestContext, runHook, type TestContext } from "conduit/testing";
import logging from "./002-logging.ts";

const start = (ctx: TestContext) => runHook(logging, "beforeRequest", ctx);

/** The fields of the one record of `afterResponse`. */
async function logged(ctx: TestContext) {
  const { patch, logs } = await runHook(logging, "afterResponse", ctx);
  assertEquals(patch, {});
  const [record, ...others] = logs;
  assert(record !== undefined && others.length === 0);
  assertEquals([record.level, record.message], ["info", "request answered"]);
  return record.fields ?? {};
}

Deno.test("logging tells method, path, status, user and the time between its two hooks", async () => {
  const user = { id: "alice", roles: [] };
  const request = { method: "POST", path: "/chat-service/messages", user };
  const ctx = createTestContext({ ...request, response: { status: 201 } });
  ctx.clock.set("2031-05-06T07:08:09Z");
  await start(ctx);
  ctx.clock.advance(1.5);
  assertEquals(await logged(ctx), { ...request, status: 201, durationMs: 1500 });
});

Deno.test("logging writes the status that the client gets, where a plugin changed it", async () => {
  const ctx = createTestContext();
  await runHook({ beforeRequest: (ctx) => ctx.response.setStatus(418) }, "beforeRequest", ctx);
  assertEquals((await logged(ctx)).status, 418);
});

Deno.test("logging keeps the query, which may hold secrets, out of the log", async () => {
  const ctx = createTestContext({ query: "token=alice-secret" });
  await start(ctx);
  assert(!JSON.stringify(await logged(ctx)).includes("alice-secret"));
});

Deno.test("logging never tells a negative time when the clock was set back", async () => {
  const ctx = createTestContext();
  await start(ctx);
  ctx.clock.advance(-60);
  assertEquals((await logged(ctx)).durationMs, 0);
});

Deno.test("logging tells no time where its first hook did not run", async () => {
  assertEquals((await logged(createTestContext())).durationMs, null);
});

Deno.test("logging leaves the rest of the state alone, and reads no bodies", async () => {
  const { state } = await start(createTestContext({ state: { mine: [1] } }));
  assertEquals(Object.keys(state).sort(), ["logging.startedAtMs", "mine"]);
  assertEquals(logging.readsBodies, false);
});
