import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import type { Json } from "../protocol/snapshot.ts";
import { loadPlugin, patchOf, runPlugin } from "../tests/support/run_hook.ts";
import routeControl from "./004-route-control.ts";

const CONFIG = {
  block: { "/chat-service/internal": 404, "/user-service/export": 403 },
  forward: { "/beta": "http://beta.test:2004" },
};

/** The status of the refusal, the URL that it was forwarded to, or the action. */
async function outcome(path: string, query = "") {
  await loadPlugin(routeControl, CONFIG);
  const result = await runPlugin(routeControl, "beforeRequest", { path, query });
  assertEquals(patchOf(result), {});
  if (result.action === "reject") return result.status;
  return result.action === "forward" ? result.url : result.action;
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
  const segment = fc.string({ unit: fc.constantFrom(..."ab.@:;=~-%2F5C"), maxLength: 12 });
  await loadPlugin(routeControl, CONFIG);
  await fc.assert(fc.asyncProperty(fc.array(segment), fc.string(), async (segments, query) => {
    const path = ["/beta", ...segments].join("/");
    const result = await runPlugin(routeControl, "beforeRequest", { path, query });
    assertEquals(result.action, "forward");
    if (result.action === "forward") {
      assertEquals(new URL(result.url).origin, "http://beta.test:2004");
      assertEquals(result.url.startsWith("http://beta.test:2004/"), true);
    }
  }));
});

Deno.test("route-control does nothing without a configuration", async () => {
  await loadPlugin(routeControl);
  const result = await runPlugin(routeControl, "beforeRequest", { path: "/beta/x" });
  assertEquals(result.action, "continue");
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
    await assertRejects(() => loadPlugin(routeControl, config), Error, message);
  });
}

Deno.test("route-control reads no bodies", () => assertEquals(routeControl.readsBodies, false));
