import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import type { Json } from "conduit/plugin";
import { createTestContext, loadPlugin, runHook } from "conduit/testing";
import routeControl from "./004-route-control.ts";

const CONFIG = {
  block: { "/chat-service/internal": 404, "/user-service/export": 403 },
  forward: { "/beta": "http://beta.test:2004" },
};

/** The status of the refusal, the URL that it was forwarded to, or the action. */
async function outcome(path: string, query = "") {
  await loadPlugin(routeControl, { config: CONFIG });
  const ctx = createTestContext({ path, query });
  const { patch, rejected, forwarded, action } = await runHook(routeControl, "beforeRequest", ctx);
  assertEquals(patch, {});
  return rejected?.status ?? forwarded ?? action;
}

for (
  const [path, status] of [
    ["/chat-service/internal", 404],
    ["/chat-service/internal/", 404],
    ["/chat-service/internal/debug", 404],
    ["/Chat-Service/INTERNAL/debug", 404],
    ["/user-service/export", 403],
    ["/user-service/export/all.csv", 403],
  ] as const
) {
  Deno.test(`route-control answers ${status} on ${path}`, async () => {
    assertEquals(await outcome(path), status);
  });
}

for (
  const path of [
    "/",
    "/chat-service",
    "/chat-service/internals",
    "/chat-service/x/internal",
    "/user-service/export.csv",
    "/betamax",
    "/x/beta",
  ]
) {
  Deno.test(`route-control lets ${path} pass, which is only beside a rule`, async () => {
    assertEquals(await outcome(path), "continue");
  });
}

Deno.test("route-control forwards what is below the prefix, without the prefix and with the query", async () => {
  assertEquals(await outcome("/beta"), "http://beta.test:2004/");
  assertEquals(await outcome("/beta/"), "http://beta.test:2004/");
  assertEquals(await outcome("/beta/chat-service/x"), "http://beta.test:2004/chat-service/x");
  assertEquals(
    await outcome("/beta/x", "a=1&b=%2F?&a=2"),
    "http://beta.test:2004/x?a=1&b=%2F?&a=2",
  );
  assertEquals(await outcome("/beta/%C3%A4%2Fb"), "http://beta.test:2004/%C3%A4%2Fb");
});

Deno.test("route-control keeps a blocked path blocked behind the forwarded prefix", async () => {
  assertEquals(await outcome("/beta/chat-service/internal/debug"), 404);
  assertEquals(await outcome("/BETA/user-service/export"), 403);
});

Deno.test("route-control never leaves the configured origin, whatever the path", async () => {
  const segment = fc.string({ unit: fc.constantFrom(..."ab.@:;=~-", "%2F", "%5C"), maxLength: 12 });
  const query = fc.string({ unit: fc.constantFrom(..."ab/@:?&=.", "%23") });
  await fc.assert(fc.asyncProperty(fc.array(segment), query, async (segments, query) => {
    const path = ["/beta/x", ...segments].join("/");
    fc.pre(!/(\/|%2F|%5C)\.\.?(\/|%2F|%5C|;|$)/.test(path)); // dot segments, which no plugin meets
    const target = new URL(String(await outcome(path, query)));
    assertEquals(target.origin, "http://beta.test:2004");
  }));
});

Deno.test("route-control does nothing without a configuration", async () => {
  await loadPlugin(routeControl);
  const ctx = createTestContext({ path: "/beta/x" });
  assertEquals((await runHook(routeControl, "beforeRequest", ctx)).action, "continue");
});

const BAD_CONFIGS: readonly (readonly [message: string, config: Json])[] = [
  ['"blocked" is not a setting', { blocked: {} }],
  ['"internal" is not like "/a/b"', { block: { internal: 404 } }],
  ['"/internal/*" is not like "/a/b"', { block: { "/internal/*": 404 } }],
  ['"/internal/" is not like "/a/b"', { block: { "/internal/": 404 } }],
  ['"/a/../b" is not like "/a/b"', { block: { "/a/../b": 404 } }],
  ['"/a%62" is not like "/a/b"', { block: { "/a%62": 404 } }],
  ['"/" is not like "/a/b"', { forward: { "/": "http://beta.test" } }],
  ['block["/a"] is not 403 or 404', { block: { "/a": 200 } }],
  ['block["/a"] is not 403 or 404', { block: { "/a": "404" } }],
  ['forward["/a"] is not an origin', { forward: { "/a": "beta.test" } }],
  ['forward["/a"] is not an origin', { forward: { "/a": "http://beta.test/" } }],
  ['forward["/a"] is not an origin', { forward: { "/a": "http://user@beta.test" } }],
];
for (const [message, config] of BAD_CONFIGS) {
  Deno.test(`route-control does not load with ${JSON.stringify(config)}`, async () => {
    await assertRejects(() => loadPlugin(routeControl, { config }), Error, message);
  });
}

Deno.test("route-control reads no bodies", () => assertEquals(routeControl.readsBodies, false));
