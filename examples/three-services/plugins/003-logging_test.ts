import { assertEquals } from "@std/assert";
import { createTestContext, runHook, type TestContextOptions } from "conduit/testing";
import logging from "./003-logging.ts";

async function logged(options: TestContextOptions) {
  const ctx = createTestContext({ response: { status: 201 }, ...options });
  ctx.clock.set("2026-11-24T12:00:00Z");
  assertEquals((await runHook(logging, "beforeRequest", ctx)).logs, []);
  ctx.clock.advance(0.25);
  const { logs, response } = await runHook(logging, "afterResponse", ctx);
  assertEquals([logs.length, response?.status], [1, 201]);
  return [logs[0]?.level, logs[0]?.message, { ...logs[0]?.fields }];
}

Deno.test("one line tells who asked for what, and what came of it in what time, but no query", async () => {
  const user = { kind: "user", id: "alice", name: "Alice", roles: [] };
  assertEquals(await logged({ method: "POST", path: "/a/b?token=secret", user }), [
    "info",
    "request answered",
    { who: "user alice", method: "POST", path: "/a/b", status: 201, durationMs: 250 },
  ]);
});

Deno.test("whoever is nobody is an address", async () => {
  assertEquals(await logged({ remoteAddr: "2001:db8::1" }), [
    "info",
    "request answered",
    { who: "address 2001:db8::1", method: "GET", path: "/", status: 201, durationMs: 250 },
  ]);
});

Deno.test("logging reads no bodies", () => assertEquals(logging.readsBodies, false));
