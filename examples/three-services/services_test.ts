import { assert, assertEquals, assertMatch } from "@std/assert";
import { adminService, chatService, type Service, userService } from "./services.ts";

const TOKENS = { alice: "a-token" };

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

const asAlice = { headers: { "x-gateway-user": "alice" } };

function post(url: string, body: string): Promise<Response> {
  return fetch(url, { method: "POST", body, ...asAlice });
}

Deno.test("user-service gives the token and two cookies to who knows the password, and to nobody else", () =>
  withService(userService({ port: 0, tokens: TOKENS }), async (baseUrl) => {
    const login = `${baseUrl}/user-service/login`;
    const response = await post(login, '{"user":"alice","password":"wonderland"}');
    assertEquals(await response.json(), { token: "a-token" });
    assertEquals(response.headers.getSetCookie(), ["user=alice", "theme=dark"]);
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

Deno.test("user-service tells who the gateway says it is, and what arrived", () =>
  withService(userService({ port: 0, tokens: TOKENS }), async (baseUrl) => {
    const response = await fetch(`${baseUrl}/user-service/me?a=1&b=%20`, asAlice);
    const { user, seen } = await response.json();
    assertEquals(user, "alice");
    assertEquals([seen.method, seen.path, seen.query], ["GET", "/user-service/me", "a=1&b=%20"]);
    assertEquals(seen.headers["x-gateway-user"], "alice");
    assertEquals((await (await fetch(`${baseUrl}/user-service/me`)).json()).user, null);
  }));

Deno.test("user-service says that it is well", () =>
  withService(userService({ port: 0, tokens: TOKENS }), async (baseUrl) => {
    assertEquals(await (await fetch(`${baseUrl}/health`)).json(), { status: "ok" });
  }));

Deno.test("admin-service shows its numbers", () =>
  withService(adminService({ port: 0 }), async (baseUrl) => {
    const { memory, startedAt } = await (await fetch(`${baseUrl}/admin-service/stats`)).json();
    assert(memory.rss > 0 && Date.parse(startedAt) <= Date.now());
  }));

Deno.test("chat-service keeps the last 100 messages in their order, and answers 400 to what is none", () =>
  withService(chatService({ port: 0, name: "chat-service-beta" }), async (baseUrl) => {
    const url = `${baseUrl}/chat-service/messages`;
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

Deno.test("chat-service streams its events and ends, and stops when the client leaves", () =>
  withService(chatService({ port: 0 }), async (baseUrl) => {
    const url = `${baseUrl}/chat-service/events`;
    const response = await fetch(url);
    assertEquals(response.headers.get("content-type"), "text/event-stream");
    assertEquals(await response.text(), "data: tick 1\n\ndata: tick 2\n\ndata: tick 3\n\n");

    const reader = (await fetch(url)).body?.getReader();
    assertMatch(new TextDecoder().decode((await reader?.read())?.value), /tick 1/);
    await reader?.cancel();
  }));

Deno.test("a service tells which software it is, and answers 404 to what it does not have", () =>
  withService(adminService({ port: 0 }), async (baseUrl) => {
    const response = await fetch(`${baseUrl}/constructor`);
    assertEquals(await response.json(), { error: "admin-service has no GET /constructor" });
    assertEquals(response.status, 404);
    assertEquals(response.headers.get("server"), "admin-service/1.0");
    assertEquals(response.headers.get("x-powered-by"), "Deno");
  }));
