import assert from "node:assert/strict";
import { createTestContext, loadPlugin, runHook } from "conduit/testing";
import apiKey from "./001-api-key.ts";

async function ask(key?: string) {
  const headers = { accept: "*/*", ...(key === undefined ? {} : { "X-Api-Key": key }) };
  await loadPlugin(apiKey, { config: { keys: { alice: "secret" } } });
  return await runHook(apiKey, "beforeRequest", createTestContext({ path: "/me", headers }));
}

Deno.test("a known key opens the gate, and the service learns whose it was", async () => {
  const { user, upstreamHeaders } = await ask("secret");
  assert.deepEqual(user, { id: "alice" });
  assert.deepEqual(upstreamHeaders, { accept: "*/*", "x-gateway-user": "alice" });
});

Deno.test("no key and an unknown key get 401", async () => {
  for (const key of [undefined, "", "Secret"]) {
    const { rejected, user } = await ask(key);
    assert.equal(rejected?.status, 401);
    assert.equal(user, undefined);
  }
});

Deno.test("a configuration that lets nobody in does not load", async () => {
  await assert.rejects(loadPlugin(apiKey), /names nobody/);
  await assert.rejects(loadPlugin(apiKey, { config: { keys: { alice: "" } } }), /"alice" is empty/);
});
