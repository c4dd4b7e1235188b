import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  createTestContext,
  type FakeHttp,
  loadPlugin,
  runHook,
  type TestHeaders,
} from "conduit/testing";
import {
  base64url,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  type JWTPayload,
  SignJWT,
  UnsecuredJWT,
} from "jose";
import admin from "./002-admin-jwt.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const JWKS_URL = "http://admin.test/jwks.json";
const CONFIG = {
  audience: "three-services",
  issuers: {
    keys: { algorithm: "RS256", jwksUrl: JWKS_URL },
    shared: { algorithm: "HS256", secretEnv: "ADMIN_JWT_SECRET" },
  },
};
const STATS = "/admin-service/api/v1/stats";
const NOT_VALID = [401, 'Bearer realm="three-services", error="invalid_token"'];
const MISSING = [401, 'Bearer realm="three-services"'];

const utf8 = (text: string) => new TextEncoder().encode(text);
const now = () => Math.floor(Date.now() / 1000);
const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
const another = await generateKeyPair("RS256");
const JWK = { ...await exportJWK(publicKey), kid: "one" };
const JWKS = { keys: [JWK] };

/** The claims of a token that is good; `undefined` leaves one out. */
const claims = (changes: JWTPayload = {}): JWTPayload =>
  JSON.parse(JSON.stringify({
    iss: "shared",
    aud: "three-services",
    sub: "root",
    exp: now() + 60,
    roles: ["support"],
    ...changes,
  }));

const shared = (changes: JWTPayload = {}, key = utf8(SECRET), alg = "HS256") =>
  new SignJWT(claims(changes)).setProtectedHeader({ alg }).sign(key);
const withKey = (header: object = {}, changes: JWTPayload = {}, key: CryptoKey = privateKey) =>
  new SignJWT(claims({ iss: "keys", ...changes }))
    .setProtectedHeader({ alg: "RS256", kid: "one", ...header }).sign(key);

async function load(http: FakeHttp = () => Response.json(JWKS)) {
  const ctx = createTestContext({ http });
  await loadPlugin(admin, { config: CONFIG, env: { ADMIN_JWT_SECRET: SECRET }, ctx });
}

async function ask(
  authorization?: string | readonly string[],
  { path = STATS, timeoutMs = 5000 } = {},
) {
  const headers: TestHeaders = authorization === undefined ? {} : { authorization };
  const ctx = createTestContext({ path, headers, timeoutMs });
  return await runHook(admin, "beforeRequest", ctx);
}

/** `[status, www-authenticate]` of the refusal, or the action. */
async function refusal(...args: Parameters<typeof ask>) {
  const { rejected, action } = await ask(...args);
  return rejected ? [rejected.status, rejected.headers["www-authenticate"]] : action;
}

Deno.test("a token of either issuer is let in; the service is told who it is and not by what token", async () => {
  await load();
  for (const [issuer, token] of [["shared", await shared()], ["keys", await withKey()]]) {
    const { action, user, upstreamHeaders, denied } = await ask(`Bearer ${token}`);
    assertEquals([action, denied], ["modify", []]);
    assertEquals(user, { kind: "admin", id: "root", issuer: issuer ?? "", roles: ["support"] });
    assertEquals(upstreamHeaders, {
      "x-gateway-admin-id": "root",
      "x-gateway-admin-issuer": issuer ?? "",
      "x-gateway-admin-roles": "support",
    });
  }
});

Deno.test("claims with other characters reach the service in percent-encoding", async () => {
  await load();
  const token = await shared({ sub: "Ärä, x\r\nx-evil: 1\ud83d", roles: ["a,b", 1] });
  const { upstreamHeaders, denied } = await ask(`Bearer ${token}`);
  assertEquals(denied, []);
  assertEquals(
    upstreamHeaders["x-gateway-admin-id"],
    "%C3%84r%C3%A4%2C%20x%0D%0Ax-evil%3A%201%EF%BF%BD",
  );
  assertEquals(upstreamHeaders["x-gateway-admin-roles"], "a%2Cb,1");
});

for (
  const path of [
    STATS,
    "/admin-service",
    "/Admin-Service/api/v1/stats",
    "/chat-service/api/v1/admin",
    "/chat-service/api/v1/ADMIN/clear",
  ]
) {
  Deno.test(`${path} asks for a token`, async () => {
    await load();
    assertEquals(await refusal(undefined, { path }), MISSING);
  });
}
for (
  const path of [
    "/admin-service/api/v1/auth/login",
    "/admin-service/api/v1/device/register",
    "/admin-service/api/v1/internal/status",
    "/chat-service/api/v1/administrators",
    "/user-service/api/v1/me",
  ]
) {
  Deno.test(`${path} is not for this plugin, whatever token comes`, async () => {
    await load();
    assertEquals(await refusal("Bearer x", { path }), "continue");
  });
}

for (
  const authorization of [
    "",
    "Bearer",
    "Bearer ",
    "Basic cm9vdDp0b29y",
    "Session 0123456789abcdef",
    "Bearer a b",
    "Bearer a,b",
    ["Bearer a.b.c", "Bearer a.b.c"],
  ]
) {
  Deno.test(`no bearer token: ${JSON.stringify(authorization)}`, async () => {
    await load();
    assertEquals(await refusal(authorization), MISSING);
  });
}

const publicPem = utf8(await exportSPKI(publicKey));
const publicJwk = utf8(JSON.stringify(JWK));
const b64 = (value: object) => base64url.encode(JSON.stringify(value));
const BAD: Readonly<Record<string, () => string | Promise<string>>> = {
  "no JWT": () => "abc",
  "three empty parts": () => "..",
  "an encrypted one": () => "a.b.c.d.e",
  "a list as claims": () => `${b64({ alg: "HS256" })}.${b64([])}.x`,
  "the algorithm none": () => new UnsecuredJWT(claims()).encode(),
  "the algorithm None, with a signature": () => `${b64({ alg: "None" })}.${b64(claims())}.x`,
  "another secret": () => shared({}, utf8("another secret of 32 bytes, or so")),
  "the right secret with another HMAC": () => shared({}, utf8(SECRET), "HS512"),
  "the public key (PEM) as the secret, of its issuer": () => shared({ iss: "keys" }, publicPem),
  "the public key (JWK) as the secret, of its issuer": () => shared({ iss: "keys" }, publicJwk),
  "the public key as the secret, of the other issuer": () => shared({}, publicPem),
  "the shared secret, as the issuer with keys": () => shared({ iss: "keys" }),
  "the private key, as the issuer with the secret": () => withKey({}, { iss: "shared" }),
  "another algorithm of the same key": async () => {
    const key = await crypto.subtle.importKey(
      "pkcs8",
      await crypto.subtle.exportKey("pkcs8", privateKey),
      { name: "RSA-PSS", hash: "SHA-256" },
      false,
      ["sign"],
    );
    return withKey({ alg: "PS256" }, {}, key);
  },
  "the signature of somebody else": () => withKey({}, {}, another.privateKey),
  "a kid that is not in the set": () => withKey({ kid: "two" }),
  "a kid that is a path": () => withKey({ kid: "../../dev/null" }),
  "a key of its own (jwk)": async () =>
    withKey({ kid: "two", jwk: await exportJWK(another.publicKey) }, {}, another.privateKey),
  "a key of its own (jku)": () =>
    withKey({ kid: "two", jku: "http://evil.test/" }, {}, another.privateKey),
  "an extension that nobody understands (crit)": async () => {
    const head = b64({ alg: "HS256", crit: ["exp"], exp: 1 });
    const text = `${head}.${b64(claims())}`;
    const key = await crypto.subtle.importKey(
      "raw",
      utf8(SECRET),
      { name: "HMAC", hash: "SHA-256" },
      false,
      ["sign"],
    );
    return `${text}.${
      base64url.encode(new Uint8Array(await crypto.subtle.sign("HMAC", key, utf8(text))))
    }`;
  },
  "no issuer": () => shared({ iss: undefined }),
  "an unknown issuer": () => shared({ iss: "somebody" }),
  "the issuer __proto__": () => shared({ iss: "__proto__" }),
  "another audience": () => shared({ aud: "four-services" }),
  "no audience": () => shared({ aud: undefined }),
  "no end": () => shared({ exp: undefined }),
  "an end in the past": () => shared({ exp: now() - 10 }),
  "a start in the future": () => shared({ nbf: now() + 30 }),
  "no subject": () => shared({ sub: undefined }),
  "an empty subject": () => shared({ sub: "" }),
  "a subject of 129 characters": () => shared({ sub: "x".repeat(129) }),
  "a subject that is a number": () => shared({ sub: 1 as unknown as string }),
  "roles that are a text": () => shared({ roles: "support" }),
  "8 KiB of claims": () => shared({ more: "x".repeat(8192) }),
};
for (const [what, token] of Object.entries(BAD)) {
  Deno.test(`a token is refused: ${what}`, async () => {
    await load();
    const bad = await token();
    assertEquals(await refusal(`Bearer ${bad}`), NOT_VALID);
    const { user, upstreamHeaders } = await ask(`Bearer ${bad}`);
    assertEquals([user, Object.keys(upstreamHeaders)], [undefined, ["authorization"]]);
  });
}

Deno.test("a clock that is a little off is good enough", async () => {
  await load();
  assertEquals(
    await refusal(`Bearer ${await shared({ exp: now() - 2, nbf: now() + 2 })}`),
    "modify",
  );
});

Deno.test("the keys are fetched once and not again for kids that nobody has", async () => {
  let fetches = 0;
  await load(() => {
    fetches++;
    return Response.json(JWKS);
  });
  for (let number = 0; number < 5; number++) {
    assertEquals(await refusal(`Bearer ${await withKey()}`), "modify");
    assertEquals(await refusal(`Bearer ${await withKey({ kid: `no-${number}` })}`), NOT_VALID);
  }
  assertEquals(fetches, 1);
});

for (
  const [what, answer] of [
    ["500", () => new Response("", { status: 500 })],
    ["a redirect", () => Response.redirect("http://evil.test/jwks.json")],
    ["no JSON", () => new Response("<html>")],
    ["no key set", () => Response.json({})],
    ["nothing", () => undefined],
  ] as const
) {
  Deno.test(`keys that cannot be had (${what}) are a 503, and the other issuer's tokens go on`, async () => {
    await load(answer);
    const { rejected, logs } = await ask(`Bearer ${await withKey()}`);
    assertEquals([rejected?.status, rejected?.message], [503, "tokens cannot be checked now"]);
    assertEquals(logs.at(-1)?.message, "cannot get the keys of an issuer");
    assertEquals(await refusal(`Bearer ${await shared()}`), "modify");
  });
}

Deno.test("keys that can be had again are used at once", async () => {
  let isDown = true;
  await load(() => isDown ? new Response("", { status: 503 }) : Response.json(JWKS));
  const token = await withKey();
  assertEquals((await ask(`Bearer ${token}`)).rejected?.status, 503);
  isDown = false;
  assertEquals(await refusal(`Bearer ${token}`), "modify");
});

Deno.test("a server of keys that hangs costs its own tokens their time and no others, is asked once, and may answer later", async () => {
  const asked: Request[] = [];
  const hanging = Promise.withResolvers<Response>();
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    asked.push(request);
    return hanging.promise;
  });
  await load((request) =>
    fetch(`http://127.0.0.1:${server.addr.port}/`, { signal: request.signal })
  );
  const token = await withKey();
  for (let number = 0; number < 3; number++) {
    assertEquals((await ask(`Bearer ${token}`, { timeoutMs: 50 })).action, "timed_out");
  }
  assertEquals(await refusal(`Bearer ${await shared()}`), "modify");
  assertEquals(asked.length, 1);
  hanging.resolve(Response.json(JWKS));
  assertEquals(await refusal(`Bearer ${token}`), "modify");
});

const HS256 = { algorithm: "HS256", secretEnv: "ADMIN_JWT_SECRET" };
const WRONG_CONFIGS: readonly (readonly [message: string, config: object, secret?: string])[] = [
  ['"audience" is missing', {}],
  ['"issuers" names nobody', { audience: "x" }],
  ["set ADMIN_JWT_SECRET to at least 32 bytes", { audience: "x", issuers: { a: HS256 } }, ""],
  [
    "set ADMIN_JWT_SECRET to at least 32 bytes",
    { audience: "x", issuers: { a: HS256 } },
    "x".repeat(31),
  ],
  ['issuer "a": give "algorithm"', {
    audience: "x",
    issuers: { a: { ...HS256, algorithm: "none" } },
  }],
  ['issuer "a": give "algorithm"', {
    audience: "x",
    issuers: { a: { ...HS256, algorithm: "RS256" } },
  }],
  ['issuer "a": give "algorithm"', {
    audience: "x",
    issuers: { a: { ...HS256, jwksUrl: JWKS_URL } },
  }],
  ['issuer "a": give "algorithm"', {
    audience: "x",
    issuers: { a: { algorithm: "HS256", jwksUrl: JWKS_URL } },
  }],
];
for (const [message, config, secret = SECRET] of WRONG_CONFIGS) {
  Deno.test(`the plugin does not load with ${JSON.stringify(config)} and a secret of ${secret.length}`, async () => {
    const env: Record<string, string> = secret ? { ADMIN_JWT_SECRET: secret } : {};
    const loading = () => loadPlugin(admin, { config: JSON.parse(JSON.stringify(config)), env });
    await assertRejects(loading, Error, message);
  });
}

Deno.test("a check that is too slow stays shut, and no bodies are read", () => {
  assert(admin.onTimeout === "reject" && admin.readsBodies === false);
});
