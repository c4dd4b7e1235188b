import { assert, assertEquals, assertRejects } from "@std/assert";
import { createTestContext, loadPlugin, runHook, type TestContextOptions } from "conduit/testing";
import type { Json } from "conduit/plugin";
import routeControl from "./005-route-control.ts";

const DATE = "Wed, 30 Jun 2027 00:00:00 GMT";
const CONFIG = {
  block: ["/chat/internal/*", "/chat/export"],
  beta: { "/chat/messages": "http://beta.test:2004" },
  sunset: { "/chat/v0/*": DATE },
};
const BOB = { kind: "user", id: "bob", roles: ["user", "beta"] };

async function ask(options: TestContextOptions) {
  await loadPlugin(routeControl, { config: CONFIG });
  return await runHook(routeControl, "beforeRequest", createTestContext(options));
}

for (
  const path of [
    "/chat/internal",
    "/chat/internal/debug",
    "/chat/export",
    "/Chat/INTERNAL/debug",
    "/chat/x/../internal",
  ]
) {
  Deno.test(`${path} is blocked, for everybody`, async () => {
    const { rejected } = await ask({ path, user: BOB });
    assertEquals([rejected?.status, rejected?.message], [404, "not found"]);
  });
}
for (const path of ["/", "/chat", "/chat/internals", "/chat/export/x", "/x/chat/internal"]) {
  Deno.test(`${path} is not`, async () => assertEquals((await ask({ path })).action, "continue"));
}

Deno.test("who takes part in the beta is forwarded to it, with path and query", async () => {
  assertEquals(
    (await ask({ path: "/chat/messages?a=%2F?&b", user: BOB })).forwarded,
    "http://beta.test:2004/chat/messages?a=%2F?&b",
  );
  assertEquals(
    (await ask({ path: "/chat/messages", user: BOB })).forwarded,
    "http://beta.test:2004/chat/messages",
  );
});
const OTHERS: readonly Json[] = [
  null,
  { kind: "user", id: "alice", roles: ["user"] },
  { kind: "user", id: "x" },
];
for (const user of OTHERS) {
  Deno.test(`${JSON.stringify(user)} is not, and nobody is on other paths`, async () => {
    assertEquals((await ask({ path: "/chat/messages", user })).forwarded, undefined);
    assertEquals((await ask({ path: "/chat/messages/1", user: BOB })).forwarded, undefined);
  });
}

Deno.test("a path that will end says so in its answers", async () => {
  await loadPlugin(routeControl, { config: CONFIG });
  for (
    const [path, sunset] of [["/chat/v0/a", DATE], ["/chat/v0", DATE], ["/chat/v1", undefined]]
  ) {
    const ctx = createTestContext({ path: path ?? "" });
    await runHook(routeControl, "beforeRequest", ctx);
    const { response } = await runHook({ afterResponse() {} }, "afterResponse", ctx);
    assertEquals(response?.headers.sunset, sunset);
  }
});

const WRONG_CONFIGS: readonly (readonly [message: string, config: Json])[] = [
  ['"blocked" is no setting', { blocked: [] }],
  ['beta["/a"] is not an origin', { beta: { "/a": "beta.test" } }],
  ['beta["/a"] is not an origin', { beta: { "/a": "http://beta.test/x" } }],
  ['sunset["/a"] is not a date like "Thu, 01 Jan 1970 00:00:00 GMT"', {
    sunset: { "/a": "2027-06-30" },
  }],
  ['sunset["/a"] is not a date', { sunset: { "/a": "soon" } }],
];
for (const [message, config] of WRONG_CONFIGS) {
  Deno.test(`route control does not load with ${JSON.stringify(config)}`, async () => {
    await assertRejects(() => loadPlugin(routeControl, { config }), Error, message);
  });
}

Deno.test("route control reads no bodies", () => assert(routeControl.readsBodies === false));
