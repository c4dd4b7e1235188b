import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { createTestContext, loadPlugin, runHook, type TestContextOptions } from "conduit/testing";
import { signed } from "../session_client.ts";
import session from "./001-session-hmac.ts";
import issue from "./006-session-issue.ts";

const LOGIN = "/user-service/api/v1/login";
const REFRESH = "/user-service/api/v1/refresh";
const LOGOUT = "/user-service/api/v1/logout";
const USER = { id: "alice", name: "Älice", roles: ["user"] };
const ANSWER = { user: USER, refreshToken: "r" };

async function ask(options: TestContextOptions = {}) {
  const ctx = createTestContext({
    method: "POST",
    path: LOGIN,
    response: { body: ANSWER, headers: { "set-cookie": ["a=1", "b=2"] } },
    ...options,
  });
  const { response, ...outcome } = await runHook(issue, "afterResponse", ctx);
  return { ...outcome, ctx, response, answer: JSON.parse(response?.body || "null") };
}

for (const path of [LOGIN, REFRESH]) {
  Deno.test(`an answer of ${path} gets a session with a new id and a new secret, which is not to be kept by caches`, async () => {
    await loadPlugin(issue, { config: { ttlSeconds: 60 } });
    const { answer, response, ctx } = await ask({ path });
    const { sessionId, secret, ...others } = answer;
    assertEquals(others, { ...ANSWER, expiresInSeconds: 60 });
    assertMatch(sessionId, /^[\w-]{43}$/);
    assertMatch(secret, /^[\w-]{43}$/);
    assertEquals(response?.headers["cache-control"], "no-store");
    assertEquals(response?.headers["set-cookie"], ["a=1", "b=2"]);
    assertEquals(await ctx.cache.get(`session:${sessionId}`), {
      user: USER,
      secret,
      ttlSeconds: 60,
    });
    const second = await ask({ path });
    for (const value of [sessionId, secret]) {
      assertNotEquals(value, second.answer.sessionId);
      assertNotEquals(value, second.answer.secret);
    }
    assertNotEquals(sessionId, secret);
  });
}

Deno.test("001-session-hmac lets the session in, for as long as it lasts", async () => {
  await loadPlugin(issue, { config: { ttlSeconds: 60 } });
  const { answer, ctx: { cache } } = await ask();
  cache.clock.advance(59);
  const enter = async () => {
    const target = "/user-service/api/v1/me";
    const request = await signed(answer, { method: "GET", target }, { now: cache.clock.now() });
    const ctx = createTestContext({ path: target, headers: request.headers, cache });
    return (await runHook(session, "beforeRequest", ctx)).user;
  };
  assertEquals(await enter(), { kind: "user", ...USER });
  cache.clock.advance(61);
  assertEquals(await enter(), undefined);
});

Deno.test("the service may ask for a shorter session, and not for a longer one", async () => {
  await loadPlugin(issue, { config: { ttlSeconds: 60 } });
  for (const [asked, given] of [[3, 3], [61, 60]] as const) {
    const { answer } = await ask({ response: { body: { ...ANSWER, sessionTtlSeconds: asked } } });
    assertEquals([answer.expiresInSeconds, answer.sessionTtlSeconds], [given, undefined]);
  }
});

Deno.test("logging out ends the session, and no other", async () => {
  const cache = { "session:a": 1, "session:b": 1 };
  const { ctx, action } = await ask({ path: LOGOUT, state: { "session.id": "a" }, cache });
  assertEquals(action, "continue");
  assertEquals([await ctx.cache.get("session:a"), await ctx.cache.get("session:b")], [null, 1]);
});

for (
  const [what, options] of [
    ["a wrong password", { response: { status: 401, body: ANSWER } }],
    ["a created user", { response: { status: 201, body: ANSWER } }],
    ["another path", { path: "/user-service/api/v1/me" }],
    ["a path below", { path: `${LOGIN}/x` }],
    ["a logout that failed", {
      path: LOGOUT,
      state: { "session.id": "a" },
      response: { status: 500 },
    }],
  ] as const
) {
  Deno.test(`${what} changes nothing`, async () => {
    const { action, ctx } = await ask({ ...options, cache: { "session:a": 1 } });
    assertEquals([action, await ctx.cache.get("session:a")], ["continue", 1]);
  });
}

for (
  const [what, options] of [
    ["no JSON", { response: { body: "<html>" } }],
    ["nothing", { response: {} }],
    ["null", { response: { body: "null" } }],
    ["no user", { response: { body: {} } }],
    ["a user without id", { response: { body: { user: { ...USER, id: "" } } } }],
    ["a user with a number as id", { response: { body: { user: { ...USER, id: 1 } } } }],
    ["an id that is too long", { response: { body: { user: { ...USER, id: "x".repeat(129) } } } }],
    ["roles that are a text", { response: { body: { user: { ...USER, roles: "user" } } } }],
    ["a role that is a number", { response: { body: { user: { ...USER, roles: [1] } } } }],
    ["a session of no time", { response: { body: { ...ANSWER, sessionTtlSeconds: 0 } } }],
    ["a session of some time", { response: { body: { ...ANSWER, sessionTtlSeconds: "x" } } }],
    ["a body that streams past", { response: { body: { reference: 100_000 } } }],
    ["no cache", { cache: "down" }],
    ["no cache at the logout", { path: LOGOUT, state: { "session.id": "a" }, cache: "down" }],
  ] as const
) {
  Deno.test(`an answer with ${what} does not get out, and the log says why`, async () => {
    await loadPlugin(issue);
    const { rejected, logs, response } = await ask(options);
    assertEquals([rejected?.status, rejected?.message], [503, "sessions are not to be had now"]);
    assertEquals(logs.map(({ message }) => message), ["no session was made or ended"]);
    assert(!response?.body?.includes("alice"));
  });
}

Deno.test("session issue does not load with a time that is none", async () => {
  for (const ttlSeconds of [0, -1, "x"]) {
    await assertRejects(
      () => loadPlugin(issue, { config: { ttlSeconds } }),
      Error,
      '"ttlSeconds" is not 1 or more',
    );
  }
});

Deno.test("an answer that waits too long for its session stays in", () =>
  assertEquals(issue.onTimeout, "reject"));
