/** Streams: events pass one by one, endless bodies hold up nobody, large ones take no memory, broken ones are cut. */
import { assert, assertEquals } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { growthMiB } from "../support/proc.ts";
import { rawClient, rawRequest } from "../support/raw_client.ts";
import { type RawConn, type RawUpstream, rawUpstream } from "../support/raw_upstream.ts";

const MEBIBYTE = 1024 * 1024;
const get = (target = "/") => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

const READS = `export default { afterResponse(ctx) {
  ctx.response.setHeader("x-kind", ctx.response.body.kind);
} };`;
const HOOKS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "no hooks": {},
  "hooks that read no bodies": {
    "001-a.ts": `export default { readsBodies: false, beforeRequest() {}, afterResponse() {} };`,
  },
  "a hook that reads bodies": { "001-a.ts": READS },
};

function gatewayTo(
  { url }: RawUpstream,
  plugins: Readonly<Record<string, string>> = {},
  config: Readonly<Record<string, unknown>> = {},
): Promise<TestGateway> {
  return testGateway({ config: { ...config, routes: [{ path: "/*", upstream: url }] }, plugins });
}

const EVENTS = ["data: one\n\n", "data: two\n\n", "data: three\n\n"];
const TYPES = ["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/x-ndjson"];

for (const [hooks, plugins] of Object.entries(HOOKS)) {
  Deno.test(`each event arrives before the next one is sent: ${hooks}`, async () => {
    let received = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (conn) => {
      for (;;) {
        const { target } = await conn.readRequest();
        const type = TYPES[Number(target.slice(1))];
        await conn.send(
          `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ntransfer-encoding: chunked\r\n\r\n`,
        );
        for (const event of EVENTS) {
          await conn.send(chunk(event));
          await received.promise;
          received = Promise.withResolvers();
        }
        await conn.send("0\r\n\r\n");
      }
    });
    // An answer of unknown length is held for hookTimeoutMs where a hook reads bodies.
    await using gateway = await gatewayTo(upstream, plugins, { ...PATIENT, hookTimeoutMs: 500 });
    using client = await rawClient(gateway.port);
    for (const type of TYPES.keys()) {
      await client.send(get(`/${type}`));
      const { header } = await client.head();
      if (plugins["001-a.ts"] === READS) assertEquals(header("x-kind"), "reference");
      for (const event of EVENTS) {
        assertEquals(await client.readUntil("\n\n"), `${event.length.toString(16)}\r\n${event}`);
        await client.readExactly(2);
        received.resolve();
      }
      assertEquals(await client.readUntil("\r\n\r\n"), "0\r\n\r\n");
    }
  });
}

Deno.test("a small answer of unknown length is readable where it ends within hookTimeoutMs, and streams where it does not", async () => {
  const goOn = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (conn) => {
    for (;;) {
      const { target } = await conn.readRequest();
      await conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk("a"));
      if (target === "/late") await goOn.promise;
      await conn.send(chunk("b"), "0\r\n\r\n");
    }
  });
  await using gateway = await gatewayTo(upstream, { "001-a.ts": READS }, {
    ...PATIENT,
    hookTimeoutMs: 1500,
  });
  using client = await rawClient(gateway.port);
  await client.send(get("/prompt"));
  const prompt = await client.response();
  assertEquals([prompt.header("x-kind"), prompt.text], ["inline", "ab"]);
  await client.send(get("/late"));
  assertEquals((await client.head()).header("x-kind"), "reference");
  assertEquals(await client.readUntil("a\r\n"), chunk("a"));
  goOn.resolve();
  assertEquals(await client.readUntil("0\r\n\r\n"), `${chunk("b")}0\r\n\r\n`);
});

Deno.test("an answer of declared length is waited for, so that a hook reads it whole", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo");
    await new Promise((resolve) => setTimeout(resolve, 900)); // longer than hookTimeoutMs
    await conn.send("dy");
    await conn.ended();
  });
  await using gateway = await gatewayTo(upstream, { "001-a.ts": READS }, {
    ...PATIENT,
    hookTimeoutMs: 600,
  });
  const response = await rawRequest(gateway.port, get());
  assertEquals([response.header("x-kind"), response.text], ["inline", "body"]);
});

const BREAKS: Readonly<Record<string, string>> = {
  "a declared length": "content-length: 1000000",
  chunks: "transfer-encoding: chunked",
};

for (const [what, framing] of Object.entries(BREAKS)) {
  Deno.test(`a response of ${what} that breaks off cuts the client, and the access line says why`, async () => {
    await using upstream = rawUpstream(async (conn) => {
      const { target } = await conn.readRequest();
      await conn.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`, chunk("x".repeat(70_000)));
      if (target === "/silent") await conn.ended();
    });
    await using gateway = await gatewayTo(upstream, {}, { timeouts: { idleMs: 300 } });
    for (const [target, failure] of [["/closes", "closed"], ["/silent", "timeout"]] as const) {
      using client = await rawClient(gateway.port);
      await client.send(get(target));
      await client.ended();
      assert(
        client.received.includes("x".repeat(10)),
        "the head and a part of the body came first",
      );
      assert(!client.received.endsWith("0\r\n\r\n"));
      const line = await gateway.waitForLog((each) => each.path === target && "status" in each);
      assertEquals([line.status, line.cut, line.failure], [200, true, failure]);
      await gateway.waitForLog((each) =>
        each.message === "upstream failed" && each.traceId === line.traceId
      );
    }
    assertEquals(gateway.stderr, "");
    assertEquals(gateway.logs.filter((line) => line.level === "text"), []);
  });
}

const SIZE_MIB = 512;
const LIMIT_MIB = 96;
const STREAMED = { ...PATIENT, bodies: { maxRequestBytes: 0 } };
const BOTH_PHASES = {
  "001-a.ts": `export default {
    beforeRequest(ctx) { ctx.upstream.setHeader("x-kind", ctx.request.body.kind); },
    afterResponse(ctx) { ctx.response.setHeader("x-kind", ctx.response.body.kind); },
  };`,
};

const PIECE = new Uint8Array(MEBIBYTE);

async function sendBody(
  to: { send(piece: Uint8Array): Promise<void> },
  sizeMib: number,
): Promise<void> {
  for (let sent = 0; sent < sizeMib; sent++) await to.send(PIECE);
}

async function readBody(
  from: { readExactly(lengthBytes: number): Promise<Uint8Array> },
  sizeMib: number,
): Promise<void> {
  for (let read = 0; read < sizeMib * 16; read++) await from.readExactly(MEBIBYTE / 16);
}

const lengthOf = (sizeMib: number) => `content-length: ${sizeMib * MEBIBYTE}`;

/** Sends a body of this size and reads one as large. */
async function roundTrip(gateway: TestGateway, sizeMib: number): Promise<void> {
  using client = await rawClient(gateway.port);
  await client.send(`POST / HTTP/1.1\r\nHost: a\r\n${lengthOf(sizeMib)}\r\n\r\n`);
  await sendBody(client, sizeMib);
  assertEquals((await client.head()).header("x-kind"), "reference");
  await readBody(client, sizeMib);
}

Deno.test(`${SIZE_MIB} MiB go up and down through hooks of both phases in flat memory`, async () => {
  await using upstream = rawUpstream(async (conn) => {
    const sizeMib = Number((await conn.readHead()).header("content-length")) / MEBIBYTE;
    await readBody(conn, sizeMib);
    await conn.send(`HTTP/1.1 200 OK\r\n${lengthOf(sizeMib)}\r\n\r\n`);
    await sendBody(conn, sizeMib);
  });
  await using gateway = await gatewayTo(upstream, BOTH_PHASES, STREAMED);
  // The first body brings in code, and garbage that V8 leaves until there are 64 MiB of it.
  await roundTrip(gateway, 16);
  const grown = await growthMiB(gateway.pid, () => roundTrip(gateway, SIZE_MIB));
  assert(grown < LIMIT_MIB, `it grew by ${grown} MiB`);
});

/** Sends until the peer takes no more, and resolves with that. */
async function sendUntilStopped(conn: RawConn): Promise<void> {
  const sending = sendBody(conn, SIZE_MIB).catch(() => {});
  for (let before = -1; before !== conn.sentBytes;) {
    before = conn.sentBytes;
    await new Promise((resolve) => setTimeout(resolve, 500)); // a stop is only to be seen in time
  }
  void sending;
}

Deno.test("a reader that stops reading stops the upstream, and the gateway holds next to nothing", async () => {
  const stopped = Promise.withResolvers<number>();
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send(`HTTP/1.1 200 OK\r\n${lengthOf(SIZE_MIB)}\r\n\r\n`);
    await sendUntilStopped(conn);
    stopped.resolve(conn.sentBytes);
    await conn.ended();
  });
  await using gateway = await gatewayTo(upstream, BOTH_PHASES, STREAMED);
  const grown = await growthMiB(gateway.pid, async () => {
    using client = await rawClient(gateway.port);
    await client.send(get());
    await client.head();
    const sentMib = await stopped.promise / MEBIBYTE;
    assert(sentMib < 64, `the upstream could send ${sentMib} MiB that nobody read`);
  });
  assert(grown < LIMIT_MIB, `it grew by ${grown} MiB`);
});
