/** Limits on clients, and clients that leave: what they get, what the upstream sees, and that everything is given back. */
import { PATIENT } from "../support/patient.ts";
import { assertEquals } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { rawClient, rawRequest, type RawResponse } from "../support/raw_client.ts";
import { rawUpstream } from "../support/raw_upstream.ts";
import { OK, recordingUpstream } from "../support/recording_upstream.ts";

const READ = `export default {
  beforeRequest(ctx) { ctx.upstream.setHeader("x-ran", "yes"); },
  afterResponse(ctx) { ctx.response.setHeader("x-ran", "yes"); },
};`;
const MARK = `export default { readsBodies: false, beforeRequest(ctx) {
  ctx.log.info("the hook ran"); ctx.upstream.setHeader("x-ran", "yes");
} };`;

const MAX = 2000;
const post = (fields: string, body = "") =>
  `POST /x HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

function errorCode({ text }: RawResponse): string {
  return JSON.parse(text).error.code;
}

/** Waits until the gateway has nothing left to do for anybody, which SIGTERM shows: it then ends by itself. */
async function assertNothingLeft(gateway: TestGateway): Promise<void> {
  gateway.signal("SIGTERM");
  const { inFlight } = await gateway.waitForLog((line) => line.message === "draining");
  assertEquals(inFlight, 0);
  assertEquals((await gateway.status).code, 0);
  assertEquals(gateway.stderr, "");
}

for (const [way, plugin] of [["streamed", MARK], ["read by a hook", READ]] as const) {
  Deno.test(`attack 25: a request body up to maxRequestBytes passes, one byte more is a 413: ${way}`, async () => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        bodies: { maxRequestBytes: MAX, inlineLimitBytes: 100_000 },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: { "001-x.ts": plugin },
    });
    const fits = "x".repeat(MAX);
    const declared = (body: string) => post(`Content-Length: ${body.length}`, body);
    const chunked = (body: string) =>
      post(
        "Transfer-Encoding: chunked",
        chunk(body.slice(0, 1500)) + chunk(body.slice(1500)) + "0\r\n\r\n",
      );
    for (const framed of [declared, chunked]) {
      assertEquals((await rawRequest(gateway.port, framed(fits))).status, 200);
    }
    assertEquals(upstream.requests.map((each) => each.body.length), [MAX, MAX]);

    const refusals: readonly (readonly [sent: string, hookMayRun: boolean])[] = [
      [declared(`${fits}y`), false],
      // The refusal does not wait for a body that is refused by its declaration.
      [post("Content-Length: 99999999999"), false],
      [chunked(`${fits}y`), plugin === MARK],
      [post("Transfer-Encoding: chunked", chunk(`${fits}y`)), plugin === MARK],
    ];
    for (const [sent, hookMayRun] of refusals) {
      const response = await rawRequest(gateway.port, sent);
      assertEquals([response.status, errorCode(response)], [413, "payload_too_large"]);
      const traceId = response.header("x-request-id");
      const itsLines = () => gateway.logs.filter((line) => line.traceId === traceId);
      await gateway.until(() => itsLines().some((line) => line.status === 413), {
        what: "the access line",
      });
      const ran = itsLines().some((line) => line.message === "the hook ran");
      assertEquals(ran, hookMayRun, sent.slice(0, 80));
    }
    // Of what was refused the upstream never had a complete request.
    assertEquals(upstream.requests.length, 2);
    await assertNothingLeft(gateway);
  });
}

Deno.test("a request body that does not arrive within idleMs is a 408, streamed or read by a hook", async () => {
  await using upstream = recordingUpstream();
  for (const plugin of [MARK, READ]) {
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        timeouts: { idleMs: 200 },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: { "001-x.ts": plugin },
    });
    const response = await rawRequest(gateway.port, post("Content-Length: 10", "part"));
    assertEquals([response.status, errorCode(response)], [408, "request_timeout"]);
    await assertNothingLeft(gateway);
  }
  assertEquals(upstream.requests, []);
});

Deno.test("a client that is slow but alive gets its time: each piece starts it anew", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { timeouts: { idleMs: 1500 }, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  using client = await rawClient(gateway.port);
  await client.send(post("Content-Length: 4"));
  for (const piece of "body") {
    await new Promise((resolve) => setTimeout(resolve, 500)); // the slowness is the point
    await client.send(piece);
  }
  assertEquals((await client.response()).status, 200);
});

Deno.test("beyond maxInFlight a request is a 503 with Retry-After, and is served when one has left", async () => {
  const arrived = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (conn) => {
    for (;;) {
      const { target } = await conn.readRequest();
      if (target === "/hold") {
        arrived.resolve();
        await goOn.promise;
      }
      await conn.send(OK);
    }
  });
  await using gateway = await testGateway({
    config: { maxInFlight: 1, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const held = rawRequest(gateway.port, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
  await arrived.promise;
  const refused = await rawRequest(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assertEquals([refused.status, errorCode(refused)], [503, "overloaded"]);
  assertEquals(refused.header("retry-after"), "1");
  goOn.resolve();
  assertEquals((await held).status, 200);
  await gateway.waitForLog((line) => line.path === "/hold" && line.status === 200);
  assertEquals((await rawRequest(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status, 200);
});

/** What a client does before it leaves, and what the upstream does meanwhile. */
const DEPARTURES: Readonly<Record<string, { readonly send: string; readonly answer?: string }>> = {
  "uploading, with a length": { send: post("Content-Length: 1000000", "x".repeat(70_000)) },
  "uploading, chunked": { send: post("Transfer-Encoding: chunked", chunk("x".repeat(70_000))) },
  "waiting for the head": { send: "GET /x HTTP/1.1\r\nHost: a\r\n\r\n" },
  "waiting, its body sent": { send: post("Content-Length: 4", "body") },
  downloading: {
    send: "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    answer: `HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n${"x".repeat(100_000)}`,
  },
  "downloading chunks": {
    send: "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    answer: `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunk("x".repeat(100_000))}`,
  },
};

for (const [doing, { send, answer }] of Object.entries(DEPARTURES)) {
  Deno.test(`attack 34: a client leaves while ${doing}: the upstream request ends, 499 in the log, nothing is left`, async () => {
    const arrived = Promise.withResolvers<void>();
    let ended = false;
    await using upstream = rawUpstream(async (conn) => {
      await conn.readHead();
      arrived.resolve();
      if (answer !== undefined) await conn.send(answer);
      await conn.ended();
      ended = true;
    });
    await using gateway = await testGateway({
      // No time limit may be what ends it.
      config: {
        ...PATIENT,
        timeouts: { responseHeaderMs: 600_000, idleMs: 600_000 },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: { "001-x.ts": `export default { readsBodies: false, afterResponse() {} };` },
    });
    {
      using client = await rawClient(gateway.port);
      await client.send(send);
      await arrived.promise;
      if (answer !== undefined) await client.readExactly(50_000);
    }
    await gateway.until(() => ended, { what: "the upstream request to end" });
    const line = await gateway.waitForLog((each) => each.path === "/x" && "status" in each);
    assertEquals([line.status, line.cut], [499, undefined]);
    const wrong = gateway.logs.filter((each) => each.level === "error" || each.level === "warn");
    assertEquals(wrong, []);
    await assertNothingLeft(gateway);
  });
}
