/** Attacks 6, 15 and 16 seen from the client: one request, one answer, whatever a plugin or an upstream makes of it. */
import { assertEquals } from "@std/assert";
import { statuses } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient } from "../support/raw_client.ts";
import { rawExchange } from "../support/raw_conversation.ts";
import { rawUpstream } from "../support/raw_upstream.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

/** What a client would take for one more answer, if it stood where no body may be. */
const ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
const AFTER = "GET /after HTTP/1.1\r\nHost: a\r\n\r\n";

interface Bodiless {
  readonly name: string;
  readonly line: string;
  /** What the hook does in its phase. */
  readonly hook: string;
  readonly status: number;
}

const BODILESS: readonly Bodiless[] = [
  ...[204, 205, 304].flatMap((status) => [
    {
      name: `afterResponse makes it a ${status} with a body`,
      line: "GET /x",
      hook:
        `afterResponse({ response }) { response.setStatus(${status}); response.setBody(BODY); }`,
      status: status === 205 ? 204 : status,
    },
    {
      name: `beforeRequest rejects with ${status}`,
      line: "GET /x",
      hook: `beforeRequest(ctx) { ctx.reject(${status}, BODY); }`,
      status: status === 205 ? 204 : status,
    },
  ]),
  {
    name: "a hook gives a HEAD a body",
    line: "HEAD /x",
    hook: "afterResponse({ response }) { response.setBody(BODY); }",
    status: 200,
  },
  {
    name: "a hook rejects a HEAD",
    line: "HEAD /x",
    hook: "beforeRequest(ctx) { ctx.reject(403, BODY); }",
    status: 403,
  },
  {
    name: "a hook appends to what an upstream says of a 304",
    line: "GET /304",
    hook: "afterResponse({ response }) { response.setBody(BODY); }",
    status: 304,
  },
];

attackTest(
  "attack 16: no body follows a head that has none, whatever a hook says",
  { 16: BODILESS },
  async (rows) => {
    await using upstream = recordingUpstream(({ target, method }) => {
      if (target === "/304") return "HTTP/1.1 304 Not Modified\r\n\r\n";
      const body = method === "HEAD" ? "" : target;
      return `HTTP/1.1 200 OK\r\ncontent-length: ${target.length}\r\n\r\n${body}`;
    });
    for (const dispatched of ["per-hook", "per-phase"]) {
      await using gateway = await testGateway({
        config: {
          ...PATIENT,
          hookDispatch: dispatched,
          routes: [
            { path: "/after", upstream: upstream.url, plugins: false },
            ...rows.map((_, row) => ({
              path: `/${row}/*`,
              upstream: upstream.url,
              stripPrefix: true,
              plugins: [`${100 + row}-x`],
            })),
          ],
        },
        plugins: Object.fromEntries(rows.map(({ hook }, row) => [
          `${100 + row}-x.ts`,
          `const BODY = ${JSON.stringify(ANSWER)}; export default { ${hook} };`,
        ])),
      });
      const received = await Promise.all(rows.map(async ({ line }, row) => {
        const [method, target] = line.split(" ");
        const request = `${method} /${row}${target} HTTP/1.1\r\nHost: a\r\n\r\n${AFTER}`;
        return await rawExchange(gateway.port, request, { quietMs: 700, answers: 2 });
      }));
      for (const [row, { name, status }] of rows.entries()) {
        const text = received[row] ?? "";
        assertEquals(statuses(text), [status, 200], `${name}: ${text}`);
        assertEquals(text.match(/\r\n\r\n(?:$|HTTP)/g)?.length, 1, `${name}: ${text}`);
        assertEquals(text.endsWith("\r\n\r\n/after"), true, `${name}: ${text}`);
      }
    }
  },
);

const get = (target: string, version = "1.1") => `GET ${target} HTTP/${version}\r\nHost: a\r\n\r\n`;
const post = (target: string) =>
  `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi`;

/** Requests that are sent at once, and the bodies that come back, in their order. */
const PIPELINES: readonly (readonly [sent: string, bodies: readonly string[]])[] = [
  [get("/slow") + get("/fast"), ["/slow", "/fast"]],
  [get("/fast") + get("/slow") + get("/fast/2"), ["/fast", "/slow", "/fast/2"]],
  [post("/slow") + post("/fast") + get("/slow/2"), ["/slow", "/fast", "/slow/2"]],
  [get("/%zz") + get("/fast"), ["400", "/fast"]],
  [get("/slow") + get("/%zz") + get("/fast"), ["/slow", "400", "/fast"]],
  [
    Array.from({ length: 200 }, (_, i) => get(`/n/${i}`)).join(""),
    Array.from({ length: 200 }, (_, i) => `/n/${i}`),
  ],
  // RFC 9112 §9.6: nothing behind a request that ends the connection is read.
  [`GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n${get("/fast")}`, ["/slow"]],
  [get("/slow", "1.0") + get("/fast"), ["/slow"]],
];

attackTest(
  "attack 6: requests that are sent at once are answered one by one in their order, each with its own answer",
  { 6: PIPELINES },
  async (pipelines) => {
    await using upstream = recordingUpstream(async ({ target }) => {
      if (target.startsWith("/slow")) await new Promise((resolve) => setTimeout(resolve, 150)); // the slowness is the point
      return `HTTP/1.1 200 OK\r\ncontent-length: ${target.length}\r\n\r\n${target}`;
    });
    await using gateway = await testGateway({
      config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: {
        "001-x.ts":
          "export default { readsBodies: false, beforeRequest() {}, afterResponse() {} };",
      },
    });
    const received = await Promise.all(
      pipelines.map(([sent, bodies]) =>
        rawExchange(gateway.port, sent, { quietMs: 700, answers: bodies.length })
      ),
    );
    for (const [row, [, bodies]] of pipelines.entries()) {
      const text = received[row] ?? "";
      const answers = [
        ...text.matchAll(/HTTP\/1\.[01] (\d+) [^]*?\r\n\r\n(\/[a-z0-9/]*|\{.*?\}\})/g),
      ];
      assertEquals(
        answers.map(([, status, body]) => status === "200" ? body : status),
        [...bodies],
        text.slice(0, 2000),
      );
    }
  },
);

interface Remainder {
  readonly name: string;
  readonly path: string;
  readonly status: number;
  readonly isChunked: boolean;
}

/** Answers that come before the body is there, and who gives them. */
const EARLY: readonly Remainder[] = [
  { name: "the upstream", path: "/early", status: 200 },
  { name: "a hook", path: "/rejected", status: 401 },
  { name: "the router", path: "/none", status: 404 },
  { name: "the path", path: "/%zz", status: 400 },
  { name: "the method", path: "/only-get", status: 405 },
].flatMap((row) => [false, true].map((isChunked) => ({ ...row, isChunked })));

attackTest(
  "attack 6: what comes of a body when its answer is out is never the next request",
  { 6: EARLY },
  async (rows) => {
    await using upstream = rawUpstream(async (conn) => {
      for (;;) {
        const { target, method } = await conn.readHead();
        await conn.send(`HTTP/1.1 200 OK\r\ncontent-length: ${target.length}\r\n\r\n${target}`);
        if (method === "POST") return await conn.ended();
      }
    });
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        routes: ["/early", "/rejected", "/only-get", "/smuggled", "/after"].map((path) => ({
          path,
          upstream: upstream.url,
          methods: path === "/only-get" ? ["GET"] : ["GET", "POST"],
        })),
      },
      plugins: {
        "001-x.ts": `export default { readsBodies: false, beforeRequest(ctx) {
          if (ctx.request.path === "/rejected") ctx.reject(401, "no");
        } };`,
      },
    });
    for (const { name, path, status, isChunked } of rows) {
      const hidden = get("/smuggled");
      const size = hidden.length + 1;
      const [framing, first, last] = isChunked
        ? ["Transfer-Encoding: chunked", `${size.toString(16)}\r\nx`, "\r\n0\r\n\r\n"]
        : [`Content-Length: ${size}`, "x", ""];
      using client = await rawClient(gateway.port);
      await client.send(`POST ${path} HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n${first}`);
      const what = `${name}, ${framing}`;
      assertEquals((await client.response()).status, status, what);
      // The rest of the body, and then a request: answered, or the connection is closed.
      await client.send(hidden + last + get("/after")).catch(() => {});
      const after = await client.response().catch(() => undefined);
      assertEquals(after?.text ?? "/after", "/after", what);
    }
    for (const { received } of upstream.connections) {
      assertEquals(received.includes("/smuggled HTTP"), false, received);
    }
  },
);
