import { assert, assertEquals } from "@std/assert";
import type { Draft } from "../protocol/snapshot.ts";
import { draftAfter, type HookInput, patchOf, runPlugin } from "../tests/support/run_hook.ts";
import logging from "./002-logging.ts";

/** The one record of `afterResponse`. */
async function logged(input: HookInput) {
  const result = await runPlugin(logging, "afterResponse", input);
  assertEquals(patchOf(result), {});
  const [record, ...others] = result.logs ?? [];
  assert(record !== undefined && others.length === 0);
  return { ...record, fields: { ...record.fields } };
}

async function started(draft?: Draft): Promise<Draft> {
  return draftAfter(await runPlugin(logging, "beforeRequest", { draft }), draft);
}

Deno.test("logging tells method, path, status, user and the time between its two hooks", async () => {
  const draft = await started({ ...await started(), user: { id: "alice", roles: [] } });
  const before = Date.now();
  while (Date.now() === before); // until the clock has moved on
  const { level, message, fields } = await logged({
    method: "POST",
    path: "/chat-service/messages",
    response: { status: 201 },
    draft,
  });
  const { durationMs, ...others } = fields;
  assertEquals([level, message], ["info", "request answered"]);
  assertEquals(others, {
    method: "POST",
    path: "/chat-service/messages",
    status: 201,
    user: { id: "alice", roles: [] },
  });
  assert(typeof durationMs === "number" && durationMs >= 1 && durationMs < 10_000);
});

Deno.test("logging writes the status that the client gets, where a plugin changed it", async () => {
  const draft = await started();
  const changed = { ...draft, response: { ...draft.response, status: 418 } };
  assertEquals((await logged({ draft: changed })).fields.status, 418);
});

Deno.test("logging keeps the query, which may hold secrets, out of the log", async () => {
  const record = await logged({ query: "token=alice-secret", draft: await started() });
  assert(!JSON.stringify(record).includes("alice-secret"));
});

Deno.test("logging never tells a negative time when the clock was set back", async () => {
  const draft = await started();
  const state = { ...draft.state, "logging.startedAtMs": Date.now() + 60_000 };
  assertEquals((await logged({ draft: { ...draft, state } })).fields.durationMs, 0);
});

Deno.test("logging tells no time where its first hook did not run", async () => {
  assertEquals((await logged({})).fields.durationMs, null);
});

Deno.test("logging leaves the rest of the state alone, and reads no bodies", async () => {
  const before = await started();
  const { state } = await started({ ...before, state: { mine: [1] } });
  assertEquals(Object.keys(state).sort(), ["logging.startedAtMs", "mine"]);
  assertEquals(logging.readsBodies, false);
});
