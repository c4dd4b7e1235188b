import { assert, assertEquals, assertMatch } from "@std/assert";
import { createLocalJWKSet, decodeJwt, jwtVerify } from "jose";
import { adminService, chatService, type Service, userService } from "./services.ts";

const SECRET = "0123456789abcdef0123456789abcdef";

async function withService(
  service: Service,
  test: (baseUrl: string) => Promise<void>,
): Promise<void> {
  try {
    await test(`http://127.0.0.1:${service.port}`);
  } finally {
    await service.shutdown();
  }
}

const AS_ALICE = {
  "x-gateway-user-id": "alice",
  "x-gateway-user-name": "%C3%84",
  "x-gateway-user-roles": "user",
};

function post(
  url: string,
  body: BodyInit,
  headers: Record<string, string> = AS_ALICE,
): Promise<Response> {
  return fetch(url, { method: "POST", body, headers });
}

Deno.test("user-service tells who it is that knows the password, and tells nobody else", () =>
  withService(userService({ port: 0 }), async (baseUrl) => {
    const login = `${baseUrl}/user-service/api/v1/login`;
    const response = await post(login, '{"user":"alice","password":"wonderland"}');
    const { refreshToken, ...answer } = await response.json();
    assertEquals(answer, { user: { id: "alice", name: "Alice Ääkkönen", roles: ["user"] } });
    assertMatch(refreshToken, /^[\w-]{36}$/);
    const kiosk = await post(login, '{"user":"bob","password":"wonderland","kiosk":true}');
    assertEquals((await kiosk.json()).sessionTtlSeconds, 3);
    for (
      const body of [
        "",
        "null",
        "[]",
        '{"user":"alice"}',
        '{"user":"alice","password":"x"}',
        '{"user":"constructor","password":"wonderland"}',
      ]
    ) {
      const refused = await post(login, body);
      assertEquals([refused.status, Object.keys(await refused.json())], [401, ["error"]]);
    }
  }));

Deno.test("user-service takes a refresh token once", () =>
  withService(userService({ port: 0 }), async (baseUrl) => {
    const login = await post(
      `${baseUrl}/user-service/api/v1/login`,
      '{"user":"bob","password":"wonderland"}',
    );
    const { refreshToken } = await login.json();
    const refresh = async (token: unknown) => {
      const body = JSON.stringify({ refreshToken: token });
      const response = await post(`${baseUrl}/user-service/api/v1/refresh`, body);
      return [response.status, (await response.json()).user?.id];
    };
    assertEquals(await refresh(undefined), [401, undefined]);
    assertEquals(await refresh(refreshToken), [200, "bob"]);
    assertEquals(await refresh(refreshToken), [401, undefined]);
  }));

Deno.test("user-service tells who the gateway says it is, and what arrived", () =>
  withService(userService({ port: 0 }), async (baseUrl) => {
    const me = `${baseUrl}/user-service/api/v1/me?a=1&b=%20`;
    const { seen, ...who } = await (await fetch(me, { headers: AS_ALICE })).json();
    assertEquals(who, { id: "alice", name: "Ä", roles: "user" });
    assertEquals([seen.method, seen.path, seen.query], [
      "GET",
      "/user-service/api/v1/me",
      "a=1&b=%20",
    ]);
    assertEquals(seen.headers["x-gateway-user-id"], "alice");
    assertEquals((await (await fetch(me)).json()).id, null);
  }));

Deno.test("user-service says that it is well", () =>
  withService(userService({ port: 0 }), async (baseUrl) => {
    assertEquals(await (await fetch(`${baseUrl}/health`)).json(), { status: "ok" });
  }));

Deno.test("admin-service gives tokens that its keys and the shared secret verify, to who knows the password", async () =>
  await withService(await adminService({ port: 0, secret: SECRET }), async (baseUrl) => {
    const auth = `${baseUrl}/admin-service/api/v1/auth`;
    const login = async (body: object) =>
      (await (await post(`${auth}/login`, JSON.stringify(body))).json()).token;
    const root = { user: "root", password: "toor" };
    const keys = createLocalJWKSet(await (await fetch(`${auth}/jwks.json`)).json());
    const options = { audience: "three-services", requiredClaims: ["exp", "sub"] };
    const signed = await jwtVerify(await login(root), keys, {
      ...options,
      issuer: "admin-service",
      algorithms: ["ES256"],
    });
    const script = await login({ ...root, script: true });
    const key = new TextEncoder().encode(SECRET);
    await jwtVerify(script, key, { ...options, issuer: "admin-scripts", algorithms: ["HS256"] });
    assertEquals([signed.payload.sub, decodeJwt(script).roles], ["root", ["support"]]);
    assertEquals(await login({ user: "root", password: "wonderland" }), undefined);
  }));

Deno.test("admin-service shows its numbers, and for whom", async () =>
  await withService(await adminService({ port: 0, secret: SECRET }), async (baseUrl) => {
    const headers = {
      "x-gateway-admin-id": "root",
      "x-gateway-admin-issuer": "x",
      "x-gateway-admin-roles": "a,b",
    };
    const { admin, startedAt } =
      await (await fetch(`${baseUrl}/admin-service/api/v1/stats`, { headers })).json();
    assertEquals(admin, { id: "root", issuer: "x", roles: "a,b" });
    assert(Date.parse(startedAt) <= Date.now());
    const refused = await fetch(`${baseUrl}/admin-service/api/v1/stats`, { headers: AS_ALICE });
    assertEquals([refused.status, await refused.json()], [401, { error: "administrators only" }]);
  }));

Deno.test("chat-service keeps the last 100 messages in their order, and answers 400 to what is none", () =>
  withService(chatService({ port: 0, name: "chat-service-beta" }), async (baseUrl) => {
    const url = `${baseUrl}/chat-service/api/v1/messages`;
    for (let number = 1; number <= 101; number++) {
      const created = await post(url, JSON.stringify({ text: `message ${number}` }));
      assertEquals(created.status, 201);
      assertEquals(await created.json(), { from: "alice", text: `message ${number}` });
    }
    const wrong = await post(url, '{"txt":1}');
    assertEquals([wrong.status, await wrong.json()], [400, { error: 'send {"text": "…"}' }]);
    const { service, messages } = await (await fetch(url)).json();
    assertEquals([service, messages.length], ["chat-service-beta", 100]);
    assertEquals([messages[0].text, messages[99].text], ["message 2", "message 101"]);
  }));

Deno.test("chat-service clears its messages for an administrator, and for nobody else", () =>
  withService(chatService({ port: 0 }), async (baseUrl) => {
    const url = `${baseUrl}/chat-service/api/v1/messages`;
    await (await post(url, '{"text":"x"}')).body?.cancel();
    const clear = async (headers: Record<string, string>) => {
      const response = await post(`${baseUrl}/chat-service/api/v1/admin/clear`, "", headers);
      return [response.status, (await response.json()).cleared];
    };
    assertEquals(await clear(AS_ALICE), [401, undefined]);
    assertEquals(await clear({ "x-gateway-admin-id": "root" }), [200, 1]);
    assertEquals((await (await fetch(url)).json()).messages, []);
  }));

Deno.test("chat-service takes a file only if it is the one that was signed", () =>
  withService(chatService({ port: 0 }), async (baseUrl) => {
    const url = `${baseUrl}/chat-service/api/v1/uploads`;
    const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, B.1
    const upload = async (body: string, headers: Record<string, string>) => {
      const response = await post(url, body, headers);
      return [response.status, (await response.json()).sizeBytes];
    };
    assertEquals(await upload("abc", { "x-content-sha256": abc }), [201, 3]);
    assertEquals(await upload("abd", { "x-content-sha256": abc }), [400, undefined]);
    assertEquals(await upload("abc", {}), [400, undefined]);
  }));

Deno.test("chat-service streams its events and ends, and stops when the client leaves", () =>
  withService(chatService({ port: 0 }), async (baseUrl) => {
    const url = `${baseUrl}/chat-service/api/v1/events`;
    const response = await fetch(url);
    assertEquals(response.headers.get("content-type"), "text/event-stream");
    assertEquals(await response.text(), "data: tick 1\n\ndata: tick 2\n\ndata: tick 3\n\n");

    const reader = (await fetch(url)).body?.getReader();
    assertMatch(new TextDecoder().decode((await reader?.read())?.value), /tick 1/);
    await reader?.cancel();
  }));

Deno.test("a service answers 404 to what it does not have", () =>
  withService(userService({ port: 0 }), async (baseUrl) => {
    const response = await fetch(`${baseUrl}/constructor`);
    assertEquals(await response.json(), { error: "user-service has no GET /constructor" });
    assertEquals(response.status, 404);
  }));
