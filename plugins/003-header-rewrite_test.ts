import { assertEquals, assertRejects } from "@std/assert";
import type { Json } from "conduit/plugin";
import { createTestContext, loadPlugin, runHook, type TestHeaders } from "conduit/testing";
import headerRewrite from "./003-header-rewrite.ts";

/** What is left of these fields of an upstream's answer. */
async function rewritten(config: Json, headers: TestHeaders) {
  await loadPlugin(headerRewrite, { config });
  const ctx = createTestContext({ response: { headers } });
  return (await runHook(headerRewrite, "afterResponse", ctx)).response?.headers ?? {};
}

/** The fields that the upstream gets. */
async function sent(config: Json, headers: TestHeaders) {
  await loadPlugin(headerRewrite, { config });
  return (await runHook(headerRewrite, "beforeRequest", createTestContext({ headers })))
    .upstreamHeaders;
}

Deno.test("header-rewrite names the gateway and hides the software behind it, without a configuration", async () => {
  const answer = { "server": "nginx/1.2", "x-powered-by": "Express", "content-type": "text/plain" };
  assertEquals(await rewritten({}, answer), {
    "content-type": "text/plain",
    "x-served-by": "conduit",
  });
  assertEquals(await sent({}, { accept: "*/*" }), { accept: "*/*" });
});

Deno.test("header-rewrite leaves repeated fields alone that it does not name", async () => {
  const cookies = ["a=1; Path=/", "b=2; Path=/"];
  assertEquals((await rewritten({}, { "set-cookie": cookies }))["set-cookie"], cookies);
});

Deno.test("header-rewrite sets, replaces and removes what the configuration says, in any case", async () => {
  const config = {
    upstream: { "X-Edge": "one", "cookie": null },
    response: { "Cache-Control": "no-store", "Set-Cookie": null },
  };
  assertEquals(await sent(config, { "cookie": "a=1", "x-edge": "forged" }), { "x-edge": "one" });
  const answer = { "cache-control": "public", "set-cookie": ["a=1", "b=2"], "server": "nginx" };
  // The section of the configuration stands in place of the default one.
  assertEquals(await rewritten(config, answer), { "cache-control": "no-store", "server": "nginx" });
});

Deno.test("header-rewrite keeps the section that the configuration does not name", async () => {
  const config = { upstream: { "x-edge": "one" } };
  assertEquals(await rewritten(config, { server: "nginx" }), { "x-served-by": "conduit" });
});

Deno.test("header-rewrite removes a field that is not there without a complaint", async () => {
  assertEquals(await rewritten({ response: { "x-none": null } }, {}), {});
});

const BAD_CONFIGS: readonly (readonly [message: string, config: Json])[] = [
  ['"reponse" is not "upstream" or "response"', { reponse: {} }],
  ['response["x-a"] is neither text nor null', { response: { "x-a": 1 } }],
  ['response["x-a"] is neither text nor null', { response: { "x-a": ["1"] } }],
  ["header name", { response: { "x a": "1" } }],
  ["header name", { upstream: { "": null } }],
  ["header value", { upstream: { "x-a": "1\r\nx-b: 2" } }],
];
for (const [message, config] of BAD_CONFIGS) {
  Deno.test(`header-rewrite does not load with ${JSON.stringify(config)}`, async () => {
    await assertRejects(() => loadPlugin(headerRewrite, { config }), Error, message);
  });
}

Deno.test("header-rewrite reads no bodies", () => assertEquals(headerRewrite.readsBodies, false));
