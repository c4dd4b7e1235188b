import { assert, assertEquals } from "@std/assert";
import {
  createTestContext,
  runHook,
  type TestBody,
  type TestContextOptions,
} from "conduit/testing";
import { signed } from "../session_client.ts";
import session from "./001-session-hmac.ts";

const NOW = Date.parse("2026-11-24T12:00:00Z");
const ALICE = { sessionId: "alice-session-0123456789", secret: "alice's secret" };
const BOB = { sessionId: "bob-session-012345678901", secret: "bob's secret" };
const STORED = {
  [`session:${ALICE.sessionId}`]: {
    user: { id: "alice", name: "Älice, B", roles: ["user", "a,b"] },
    secret: ALICE.secret,
    ttlSeconds: 60,
  },
  [`session:${BOB.sessionId}`]: {
    user: { id: "bob", name: "", roles: [] },
    secret: BOB.secret,
    ttlSeconds: 60,
  },
};
const ME = { method: "GET", target: "/user-service/api/v1/me?a=1" };
const UNKNOWN = [401, "unknown session or wrong signature"];

type Cache = Exclude<NonNullable<TestContextOptions["cache"]>, string>;

/** Runs the hook on a request, at noon by a clock that all requests with the same `cache` share. */
async function ask(
  request: {
    method: string;
    target: string;
    headers: Readonly<Record<string, string | string[]>>;
    body?: TestBody;
  },
  { cache = STORED, atMs = NOW }: { cache?: Cache; atMs?: number } = {},
) {
  const { target, ...others } = request;
  const ctx = createTestContext({ ...others, path: target, cache });
  ctx.clock.set(atMs);
  return { ...await runHook(session, "beforeRequest", ctx), cache: ctx.cache };
}

/** `[status, message]` of the refusal, or the action where there was none. */
async function refusal(...args: Parameters<typeof ask>) {
  const { rejected, action } = await ask(...args);
  return rejected ? [rejected.status, rejected.message] : action;
}

const sign = (
  request: Parameters<typeof signed>[1],
  options: { now?: number; nonce?: string } = {},
) => signed(ALICE, request, { now: NOW, ...options });

Deno.test("a signed request is let in, with who it is for the later plugins and the service, and without what was signed", async () => {
  const request = await sign({ method: "POST", target: ME.target, body: '{"a":1}' });
  const { action, user, state, upstreamHeaders, denied, response } = await ask(request);
  assertEquals([action, denied, response], ["modify", [], undefined]);
  assertEquals(user, { kind: "user", id: "alice", name: "Älice, B", roles: ["user", "a,b"] });
  assertEquals(state, { "session.id": ALICE.sessionId });
  assertEquals(upstreamHeaders, {
    "x-content-sha256": request.headers["x-content-sha256"] ?? "",
    "x-gateway-user-id": "alice",
    "x-gateway-user-name": "%C3%84lice%2C%20B",
    "x-gateway-user-roles": "user,a%2Cb",
  });
});

Deno.test("a public path is let in with whatever fields, and nothing is set", async () => {
  const headers = { authorization: "Session x", "x-signature": "y" };
  for (const target of ["/user-service/api/v1/login", "/chat-service/api/v1/external-api/a/b"]) {
    assertEquals(await refusal({ method: "GET", target, headers }), "continue");
  }
});

Deno.test("an administrator's path is none of this plugin's business", async () => {
  for (const target of ["/admin-service/api/v1/stats", "/chat-service/api/v1/admin/clear"]) {
    assertEquals(await refusal({ method: "GET", target, headers: {} }), "continue");
  }
});

for (
  const target of [
    "/",
    "/elsewhere",
    "/user-service/api/v1/me",
    "/user-service/api/v1/Login",
    "/user-service/api/v1/login/",
    "/user-service/api/v1/loginx",
    "/user-service/api/v1/login/../me",
    "/user-service/api/v1//me",
    "/user-service/api/v1/external-apix",
    "/user-service/api/v1/external-api/%2e%2e/me",
    "/chat-service/api/v1/login",
    "/chat-service/api/v1/administrators",
  ]
) {
  Deno.test(`${target} asks for a session`, async () => {
    const { rejected } = await ask({ method: "GET", target, headers: {} });
    assertEquals([rejected?.status, rejected?.message], [
      401,
      "missing or malformed Authorization",
    ]);
    assertEquals(rejected?.headers["www-authenticate"], 'Session realm="three-services"');
  });
}

const ID = ALICE.sessionId;
const MALFORMED: Readonly<Record<string, readonly (string | string[] | undefined)[]>> = {
  Authorization: [
    undefined,
    "",
    ID,
    "Session",
    "Session ",
    `Bearer ${ID}`,
    `Session\t${ID}`,
    ` Session ${ID}`,
    `Session ${ID} `,
    `Session ${ID},`,
    `Session "${ID}"`,
    [`Session ${ID}`, `Session ${ID}`],
    "Session __proto__",
    "Session constructor_____:",
    "Session alice:session:0123456789",
    "Session ünïcode-0123456789",
    "Session 0123456789abcde",
    `Session ${"a".repeat(129)}`,
    `Session ${"a".repeat(1_000_000)}`,
  ],
  "X-Timestamp": [
    undefined,
    "",
    "1e9",
    " 1795521600",
    "+179552160",
    "-179552160",
    "179552160",
    "17955216000",
    "1795521600.0",
    "1795521600 ",
    "0x6b056f00",
    "１７９５５２１６００",
    "Tue, 24 Nov 2026 12:00:00 GMT",
    ["1795521600", "1795521600"],
  ],
  "X-Nonce": [
    undefined,
    "",
    "0123456789abcde",
    "a".repeat(129),
    "0123456789abcdef:x",
    "0123456789abcdef+/==",
    "0123456789 abcdef",
    ["0123456789abcdef", "0123456789abcdef"],
  ],
  "X-Signature": [
    undefined,
    "",
    "0".repeat(63),
    "0".repeat(65),
    "g".repeat(64),
    "ABCDEF0123456789".repeat(4),
    `0x${"0".repeat(62)}`,
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ["0".repeat(64), "0".repeat(64)],
  ],
};
for (const [name, values] of Object.entries(MALFORMED)) {
  Deno.test(`a request without one well-formed ${name} is refused, before anything is looked up`, async () => {
    const { headers } = await sign(ME);
    for (const value of values) {
      const { [name.toLowerCase()]: _, ...others } = headers;
      const changed = { ...others, ...(value === undefined ? {} : { [name]: value }) };
      const expected = [401, `missing or malformed ${name}`];
      assertEquals(
        await refusal({ ...ME, headers: changed }),
        expected,
        JSON.stringify(value)?.slice(0, 99),
      );
    }
  });
}

Deno.test("field names and the scheme have no case", async () => {
  const { headers } = await sign(ME);
  const shouted = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]),
  );
  assertEquals(
    await refusal({ ...ME, headers: { ...shouted, AUTHORIZATION: `sESSION  ${ID}` } }),
    "modify",
  );
});

for (const offSeconds of [-300, -1, 0, 1, 300]) {
  Deno.test(`a clock that is ${offSeconds} s off is good enough`, async () => {
    assertEquals(await refusal(await sign(ME, { now: NOW + offSeconds * 1000 })), "modify");
  });
}
for (const offSeconds of [-301, 301, -1_000_000, 1_000_000]) {
  Deno.test(`a clock that is ${offSeconds} s off is refused, also with the right signature`, async () => {
    const request = await sign(ME, { now: NOW + offSeconds * 1000 });
    assertEquals(await refusal(request), [401, "X-Timestamp is over 300 s off"]);
  });
}

Deno.test("each thing that is signed counts: changed, it is refused with what an unknown session is refused with", async () => {
  const { body: _, ...request } = await sign({ method: "POST", target: ME.target, body: "abc" });
  const { "x-content-sha256": __, ...headers } = request.headers;
  const good = { ...request, headers, body: "abc" };
  assertEquals(await refusal(good), "modify");
  const changed: readonly Parameters<typeof ask>[0][] = [
    { ...good, method: "PUT" },
    { ...good, target: "/user-service/api/v1/me/?a=1" },
    { ...good, target: "/user-service/api/v1/me" },
    { ...good, target: "/user-service/api/v1/me?a=1&" },
    { ...good, target: "/user-service/api/v1/me?A=1" },
    { ...good, body: "abd" },
    { ...good, body: "" },
    { ...good, headers: { ...headers, "x-timestamp": String(NOW / 1000 + 1) } },
    { ...good, headers: { ...headers, "x-nonce": "another-nonce-0123456789" } },
    { ...good, headers: { ...headers, "x-signature": "0".repeat(64) } },
    { ...good, headers: { ...headers, authorization: `Session ${BOB.sessionId}` } },
    { ...good, headers: { ...headers, authorization: "Session nobody-0123456789" } },
  ];
  for (const request of changed) {
    assertEquals(await refusal(request), UNKNOWN, JSON.stringify(request));
  }
});

Deno.test("the path that is signed is the canonical one, however it is sent", async () => {
  const { headers } = await sign(ME);
  for (const target of ["//user-service/api/v1/x/../me?a=1", "/user-service/api/v1/%6de?a=1"]) {
    assertEquals(await refusal({ ...ME, target, headers }), "modify");
  }
});

Deno.test("a nonce is good for one request of a session, as long as its timestamp is good", async () => {
  const request = await sign(ME, { now: NOW + 300_000 });
  const { cache } = await ask(request);
  const used = [401, "X-Nonce was used before"];
  assertEquals(await refusal(request, { cache }), used);
  // The session is kept alive meanwhile.
  for (let minutes = 1; minutes <= 9; minutes++) {
    const atMs = NOW + minutes * 59_000;
    assertEquals(await refusal(await sign(ME, { now: atMs }), { cache, atMs }), "modify");
  }
  assertEquals(await refusal(request, { cache, atMs: NOW + 590_000 }), used);
  const tooLate = await ask(request, { cache, atMs: NOW + 601_000 });
  assertEquals(tooLate.rejected?.message, "X-Timestamp is over 300 s off");
});

Deno.test("two sessions may use the same nonce", async () => {
  const options = { now: NOW, nonce: "0123456789abcdef" };
  const { cache, action } = await ask(await signed(ALICE, ME, options));
  assertEquals([action, await refusal(await signed(BOB, ME, options), { cache })], [
    "modify",
    "modify",
  ]);
});

Deno.test("who cannot sign cannot burn somebody's nonce", async () => {
  const request = await sign(ME);
  const forged = { ...request, headers: { ...request.headers, "x-signature": "0".repeat(64) } };
  const { cache } = await ask(forged);
  assertEquals(await refusal(request, { cache }), "modify");
});

Deno.test("a session lives for its time after the last good request, and a refused one does not count", async () => {
  const first = await ask(await sign(ME));
  const { cache } = first;
  const at = async (seconds: number, good = true) => {
    const atMs = NOW + seconds * 1000;
    const request = await sign(ME, { now: atMs });
    const headers = good ? request.headers : { ...request.headers, "x-signature": "0".repeat(64) };
    return await refusal({ ...request, headers }, { cache, atMs });
  };
  assertEquals(await at(59), "modify");
  assertEquals(await at(118), "modify");
  assertEquals(await at(170, false), UNKNOWN);
  assertEquals(await at(179), UNKNOWN);
});

Deno.test("an inline body and its field must agree", async () => {
  const request = await sign({ ...ME, method: "POST", body: "abc" });
  const headers = { ...request.headers, "x-content-sha256": "0".repeat(64) };
  const expected = [401, "X-Content-SHA256 is not that of the body"];
  assertEquals(await refusal({ ...request, headers }), expected);
  const shouted = (request.headers["x-content-sha256"] ?? "").toUpperCase();
  assertEquals(
    await refusal({ ...request, headers: { ...headers, "x-content-sha256": shouted } }),
    expected,
  );
});

Deno.test("a body that streams past is signed by its field, which goes on to the service", async () => {
  const large = new Uint8Array(100_000);
  const request = await sign({ ...ME, method: "POST", body: large });
  const { action, upstreamHeaders } = await ask(request);
  assertEquals([action, upstreamHeaders["x-content-sha256"]], [
    "modify",
    request.headers["x-content-sha256"],
  ]);
  const { "x-content-sha256": sum = "", ...others } = request.headers;
  assertEquals(await refusal({ ...request, headers: others }), [
    401,
    "missing or malformed X-Content-SHA256",
  ]);
  const other = sum.replace(/^./, (digit) => digit === "0" ? "1" : "0");
  assertEquals(
    await refusal({ ...request, headers: { ...others, "x-content-sha256": other } }),
    UNKNOWN,
  );
  const twice = [sum, sum];
  assertEquals(await refusal({ ...request, headers: { ...others, "x-content-sha256": twice } }), [
    401,
    "missing or malformed X-Content-SHA256",
  ]);
});

for (
  const [what, value] of [
    ["text", "x"],
    ["a list", []],
    ["no secret", { user: { id: "a", name: "", roles: [] }, ttlSeconds: 1 }],
    ["an empty secret", { user: { id: "a", name: "", roles: [] }, secret: "", ttlSeconds: 1 }],
    ["no user", { secret: ALICE.secret, ttlSeconds: 1 }],
    ["no roles", { user: { id: "a", name: "" }, secret: ALICE.secret, ttlSeconds: 1 }],
    ["no time", { user: { id: "a", name: "", roles: [] }, secret: ALICE.secret }],
    ["half a character", {
      user: { id: "a", name: "\ud83d", roles: [] },
      secret: ALICE.secret,
      ttlSeconds: 1,
    }],
  ] as const
) {
  Deno.test(`a stored session with ${what} is none`, async () => {
    assertEquals(await refusal(await sign(ME), { cache: { [`session:${ID}`]: value } }), UNKNOWN);
  });
}

Deno.test("without the session store nobody is let in, and the log says why", async () => {
  const { target, ...request } = await sign(ME);
  const ctx = createTestContext({ ...request, path: target, cache: "down" });
  ctx.clock.set(NOW);
  const { rejected, logs } = await runHook(session, "beforeRequest", ctx);
  assertEquals([rejected?.status, rejected?.message, rejected?.headers["retry-after"]], [
    503,
    "sessions cannot be checked now",
    "1",
  ]);
  assertEquals(logs.map(({ level, message }) => [level, message]), [[
    "error",
    "the session store does not answer",
  ]]);
});

Deno.test("a check that is too slow stays shut", () => {
  assert(session.onTimeout === "reject");
});
