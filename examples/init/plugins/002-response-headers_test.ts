import assert from "node:assert/strict";
import { createTestContext, runHook } from "conduit/testing";
import responseHeaders from "./002-response-headers.ts";

async function answered(headers: Record<string, string>, user?: { id: string }) {
  const ctx = createTestContext({ response: { headers }, ...(user ? { user } : {}) });
  return (await runHook(responseHeaders, "afterResponse", ctx)).response?.headers;
}

const ALWAYS = { "x-content-type-options": "nosniff", "referrer-policy": "same-origin" };

Deno.test("an answer does not tell which software made it", async () => {
  const headers = { "Server": "nginx/1.2", "x-powered-by": "Express", "etag": '"1"' };
  assert.deepEqual(await answered(headers), { etag: '"1"', ...ALWAYS });
});

Deno.test("what a user got is private, unless the service says otherwise", async () => {
  const alice = { id: "alice" };
  assert.deepEqual(await answered({}, alice), { ...ALWAYS, "cache-control": "private" });
  const headers = { "cache-control": "public, max-age=60" };
  assert.deepEqual(await answered(headers, alice), { ...ALWAYS, ...headers });
});
