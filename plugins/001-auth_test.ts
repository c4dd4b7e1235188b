import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import type { Json } from "conduit/plugin";
import { createTestContext, loadPlugin, runHook } from "conduit/testing";
import auth from "./001-auth.ts";

const CONFIG = {
  tokens: {
    alice: { token: "alice-secret" },
    root: { token: "root.secret+/==", roles: ["user", "admin"] },
  },
  roles: { user: ["/user-service/*", "/chat-service/*"], admin: ["/admin-service/*"] },
  publicPaths: ["/user-service/login", "/health/*"],
};

async function ask(path: string, authorization: string | string[] = [], config: Json = CONFIG) {
  await loadPlugin(auth, { config });
  return await runHook(
    auth,
    "beforeRequest",
    createTestContext({ path, headers: { authorization } }),
  );
}

/** `[status, www-authenticate]` of the refusal, or the action where there was none. */
async function refusal(path: string, authorization?: string | string[]) {
  const { rejected, action } = await ask(path, authorization);
  return rejected ? [rejected.status, rejected.headers["www-authenticate"]] : action;
}

const MISSING = [401, 'Bearer realm="conduit"'];
const UNKNOWN = [401, 'Bearer realm="conduit", error="invalid_token"'];
const NOT_OPENED = [403, 'Bearer realm="conduit", error="insufficient_scope"'];

Deno.test("auth lets a known token in, and tells the later plugins and the upstream whose it is", async () => {
  const { patch, user, upstreamHeaders } = await ask("/user-service/me", "Bearer alice-secret");
  assertEquals(user, { id: "alice", roles: ["user"] });
  assertEquals(upstreamHeaders, { "x-gateway-user": "alice" });
  assertEquals(Object.keys(patch).sort(), ["upstream", "user"]);
});

Deno.test("auth takes a token with every character of RFC 6750, section 2.1", async () => {
  const { user } = await ask("/admin-service/stats", "Bearer root.secret+/==");
  assertEquals(user, { id: "root", roles: ["user", "admin"] });
});

for (const spelling of ["bearer alice-secret", "BEARER alice-secret", "Bearer   alice-secret"]) {
  Deno.test(`auth accepts "${spelling}"`, async () => {
    assertEquals(await refusal("/chat-service/messages", spelling), "modify");
  });
}

const NO_BEARER_TOKEN = [
  undefined,
  "",
  "Bearer",
  "Bearer ",
  "Beareralice-secret",
  "Bearer\talice-secret",
  " Bearer alice-secret",
  "Bearer alice-secret ",
  "Bearer alice-secret x",
  "Bearer alice-secret, Bearer alice-secret",
  ["Bearer alice-secret", "Bearer alice-secret"],
  "Bearer =",
  "Bearer älice",
  "Basic YWxpY2U6YWxpY2Utc2VjcmV0",
  "Session alice-secret",
  "alice-secret",
];
for (const authorization of NO_BEARER_TOKEN) {
  Deno.test(`auth answers 401 without an error code to ${JSON.stringify(authorization)}`, async () => {
    assertEquals(await refusal("/user-service/me", authorization), MISSING);
  });
}

for (const token of ["alice", "alice-secret=", "Alice-secret", "undefined", "__proto__"]) {
  Deno.test(`auth answers 401 invalid_token to the unknown token "${token}"`, async () => {
    assertEquals(await refusal("/user-service/me", `Bearer ${token}`), UNKNOWN);
  });
}

Deno.test("auth refuses every token but the known ones", async () => {
  const known = Object.values(CONFIG.tokens).map(({ token }) => `Bearer ${token}`);
  await fc.assert(fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
    const authorization = `Bearer ${text}`;
    fc.pre(!known.includes(authorization.replace(/^Bearer +/, "Bearer ")));
    const { rejected, patch } = await ask("/user-service/me", authorization);
    assertEquals([rejected?.status, patch], [401, {}]);
  }));
});

Deno.test("auth reads a very long header in linear time", async () => {
  const startedAt = performance.now();
  for (const part of [" ", "=", "a=", "a"]) {
    const answer = await refusal("/user-service/me", `Bearer ${part.repeat(1_000_000)}!`);
    assertEquals(answer, MISSING);
  }
  assert(performance.now() - startedAt < 2000);
});

Deno.test("auth answers 403 where no role of the token opens the path", async () => {
  assertEquals(await refusal("/admin-service/stats", "Bearer alice-secret"), NOT_OPENED);
  assertEquals(await refusal("/elsewhere", "Bearer root.secret+/=="), NOT_OPENED);
  const { user, patch } = await ask("/admin-service", "Bearer alice-secret");
  assertEquals([user, patch], [undefined, {}]);
});

for (const path of ["/user-service/login", "/health", "/health/", "/health/deep/er"]) {
  Deno.test(`auth asks for no token on the public path ${path}, and leaves the request alone`, async () => {
    assertEquals(await refusal(path), "continue");
    assertEquals(await refusal(path, "Bearer wrong"), "continue");
  });
}

for (
  const path of [
    "/user-service/login/",
    "/user-service/login/x",
    "/user-service/loginx",
    "/user-service/Login",
    "/user-service",
    "/healthx",
    "/health-check/x",
    "/x/health/y",
    "/health%2Fx",
    "/",
  ]
) {
  Deno.test(`auth asks for a token on ${path}, which is only beside a public path`, async () => {
    assertEquals(await refusal(path), MISSING);
  });
}

Deno.test("auth opens every path to every token where the configuration has no roles", async () => {
  const config = { tokens: { alice: CONFIG.tokens.alice } };
  for (const path of ["/", "/anything/at/all"]) {
    assertEquals((await ask(path, "Bearer alice-secret", config)).action, "modify");
  }
});

const BAD_CONFIGS: readonly (readonly [message: string, config: Json])[] = [
  ['"tokens" names nobody, so nobody could come in', {}],
  ['"tokens" names nobody, so nobody could come in', { tokens: {} }],
  ['"token" is not a setting', { token: {} }],
  ['"publicPath" is not a setting', { ...CONFIG, publicPath: ["/"] }],
  ['"a" has no token', { tokens: { a: {} } }],
  ['"a" has no token', { tokens: { a: { token: "" } } }],
  ['"a" has no token', { tokens: { a: { token: "two words" } } }],
  ['"a" has no token', { tokens: { a: { token: true } } }],
  ['"0" is not a setting of tokens.a', { tokens: { a: "secret" } }],
  ['"role" is not a setting of tokens.a', { tokens: { a: { token: "x", role: "admin" } } }],
  ['tokens.a has no known role "admn"', { tokens: { a: { token: "x", roles: ["admn"] } } }],
  [
    'tokens.a has no known role "constructor"',
    { tokens: { a: { token: "x", roles: ["constructor"] } } },
  ],
  ['tokens.a has no known role "user"', { tokens: { a: { token: "x" } }, roles: { admin: [] } }],
];
for (const [message, config] of BAD_CONFIGS) {
  Deno.test(`auth does not load with ${JSON.stringify(config)}`, async () => {
    await assertRejects(() => loadPlugin(auth, { config }), Error, message);
  });
}

Deno.test("auth forgets the tokens of the configuration before", async () => {
  await loadPlugin(auth, { config: { tokens: { old: { token: "old-secret" } } } });
  assertEquals(await refusal("/user-service/me", "Bearer old-secret"), UNKNOWN);
});

Deno.test("auth stays shut when it is too slow, and reads no bodies", () => {
  assertEquals([auth.onTimeout, auth.readsBodies], ["reject", false]);
});
