/** Attack 34: clients that leave, or stay and take nothing. */
import { assertEquals } from "@std/assert";
import { attackTest } from "../support/attack_rows.ts";
import { assertNothingLeft } from "../support/failure.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient, rawRequest } from "../support/raw_client.ts";
import { type RawConn, rawUpstream } from "../support/raw_upstream.ts";
import { chunk } from "../support/smuggling.ts";

const GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const post = (fields: string, body = "") =>
  `POST /x HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;

/** An answer without an end, in its three framings. */
const ENDLESS = [
  "content-length: 1000000000000",
  "transfer-encoding: chunked",
  "x: until the end",
  "content-type: text/event-stream",
  "content-type: application/json\r\ncontent-length: 1000000000000",
];

attackTest(
  "attack 34: a client that takes nothing of its answer for idleMs is given up: its upstream request ends, its place is free",
  { 34: ENDLESS },
  async (framings) => {
    const stopped: number[] = [];
    await using upstream = rawUpstream(async (conn) => {
      const { target } = await conn.readRequest();
      const framing = framings[Number(target.slice(1))];
      if (framing === undefined) return await conn.send("HTTP/1.1 204 No Content\r\n\r\n");
      await conn.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
      const piece = "x".repeat(65_536);
      try {
        for (;;) await conn.send(framing.includes("chunked") ? chunk(piece) : piece);
      } finally {
        stopped.push(Number(target.slice(1)));
      }
    });
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        maxInFlight: framings.length,
        timeouts: { idleMs: 700 },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: { "001-x.ts": "export default { beforeRequest() {} };" },
    });
    const clients = [];
    for (const row of framings.keys()) {
      const client = await rawClient(gateway.port);
      clients.push(client);
      await client.send(`GET /${row} HTTP/1.1\r\nHost: a\r\n\r\n`);
      assertEquals((await client.head()).status, 200);
    }
    for (const row of framings.keys()) {
      const line = await gateway.waitForLog((each) => each.path === `/${row}` && "status" in each);
      assertEquals([line.status, line.cut, line.failure], [
        200,
        true,
        "the client stopped reading",
      ]);
    }
    await gateway.until(() => stopped.length === framings.length, { what: "the upstream to stop" });
    // With all of them still there, there is room for others.
    assertEquals(
      (await rawRequest(gateway.port, "GET /free HTTP/1.1\r\nHost: a\r\n\r\n")).status,
      204,
    );
    for (const client of clients) {
      await client.ended(); // what was on its way, and no more
      client[Symbol.dispose]();
    }
    const wrong = gateway.logs.filter((each) => each.level === "error" || each.level === "warn");
    assertEquals(wrong, []);
    await assertNothingLeft(gateway);
  },
);

interface Departure {
  readonly doing: string;
  readonly send: string;
  /** What the upstream has said by then. */
  readonly answer?: string;
  /** How much of that the client waits for. */
  readonly readsBytes?: number;
}

const DEPARTURES: readonly Departure[] = [
  { doing: "uploading, with a length", send: post("Content-Length: 1000000", "x".repeat(70_000)) },
  {
    doing: "uploading, chunked",
    send: post("Transfer-Encoding: chunked", chunk("x".repeat(70_000))),
  },
  {
    doing: "uploading, in the middle of a chunk",
    send: post("Transfer-Encoding: chunked", "ffff\r\nxxx"),
  },
  { doing: "waiting for the head", send: GET },
  // One whose body comes after the head is missed only later, see docs/edge.md.
  { doing: "waiting, its body sent", send: post("Content-Length: 4", "body") },
  { doing: "waiting, the upstream at work (102)", send: GET, answer: "HTTP/1.1 102 X\r\n\r\n" },
  {
    doing: "downloading",
    send: GET,
    answer: `HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n${"x".repeat(100_000)}`,
    readsBytes: 50_000,
  },
  {
    doing: "downloading chunks",
    send: GET,
    answer: `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunk("x".repeat(100_000))}`,
    readsBytes: 50_000,
  },
  {
    doing: "listening to events",
    send: GET,
    answer: `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${"data: x\n\n".repeat(10)}`,
    readsBytes: 100,
  },
];

attackTest(
  "attack 34: a client leaves, whatever it was doing: the upstream request ends, 499 in the log, nothing is left",
  { 34: DEPARTURES },
  async (departures, test) => {
    for (const departure of departures) {
      await test.step(departure.doing, () => assertEndsCleanly(departure));
    }
  },
);

async function assertEndsCleanly({ send, answer, readsBytes = 0 }: Departure): Promise<void> {
  const arrived = Promise.withResolvers<void>();
  let ended = false;
  const hold = async (conn: RawConn) => {
    await conn.readHead();
    arrived.resolve();
    if (answer !== undefined) await conn.send(answer);
    await conn.ended();
    ended = true;
  };
  await using upstream = rawUpstream(hold);
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
    await client.readExactly(readsBytes);
  }
  await gateway.until(() => ended, { what: "the upstream request to end" });
  const line = await gateway.waitForLog((each) => each.path === "/x" && "status" in each);
  assertEquals([line.status, line.cut], [499, undefined]);
  const wrong = gateway.logs.filter((each) => each.level === "error" || each.level === "warn");
  assertEquals(wrong, []);
  await assertNothingLeft(gateway);
}

for (
  const [doing, hook] of [
    ["that will reject it", "beforeRequest(ctx) { await held(ctx); ctx.reject(403, 'no'); }"],
    ["that looks at its answer", "afterResponse(ctx) { await held(ctx); }"],
  ] as const
) {
  Deno.test(`a client that leaves during a hook ${doing} is a 499 to which nothing was sent`, async () => {
    const asked = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (conn) => {
      for (;;) {
        const { target } = await conn.readRequest();
        if (target === "/held") {
          asked.resolve();
          // Time for the gateway to see that the client has gone.
          await new Promise((resolve) => setTimeout(resolve, 500));
        }
        await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
      }
    });
    await using gateway = await testGateway({
      config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: {
        "001-held.ts":
          `const held = async (ctx) => void await (await ctx.services.http.fetch("${upstream.url}/held")).text();
          export default { async ${hook} };`,
      },
    });
    const client = await rawClient(gateway.port);
    await client.send(GET);
    await asked.promise;
    client[Symbol.dispose]();
    const { status, bytes } = await gateway.waitForLog(({ path }) => path === "/x");
    assertEquals([status, bytes], [499, 0]);
    await assertNothingLeft(gateway);
  });
}
