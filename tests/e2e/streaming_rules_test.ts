/** What no hook reads is not held up, and who does not read makes the sender stop. Events and flat memory: http_streaming_test. */
import { assert, assertEquals } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient } from "../support/raw_client.ts";
import { type RawUpstream, rawUpstream } from "../support/raw_upstream.ts";

const MEBIBYTE = 1024 * 1024;
const INLINE_LIMIT = 1000;
const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

function gatewayTo(
  { url }: RawUpstream,
  plugins: Readonly<Record<string, string>>,
  { config, env }: {
    readonly config?: Readonly<Record<string, unknown>>;
    readonly env?: Readonly<Record<string, string>>;
  } = {},
): Promise<TestGateway> {
  return testGateway({
    config: {
      ...PATIENT,
      bodies: { inlineLimitBytes: INLINE_LIMIT, maxRequestBytes: 0 },
      ...config,
      routes: [{ path: "/*", upstream: url }],
    },
    plugins,
    ...(env ? { env } : {}),
  });
}

/** Hooks of both phases; they say that they ran. */
const hooks = (readsBodies: boolean) => ({
  "001-a.ts": `export default { readsBodies: ${readsBodies},
    beforeRequest(ctx) { ctx.upstream.setHeader("x-ran", "yes"); },
    afterResponse(ctx) { ctx.response.setHeader("x-ran", "yes"); },
  };`,
});

interface Body {
  readonly name: string;
  readonly readsBodies: boolean;
  readonly framing: string;
  /** What is sent at once, and what once that has arrived. */
  readonly first: string;
  readonly last: string;
}

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const LARGE = "x".repeat(INLINE_LIMIT + 1);

const BODIES: readonly Body[] = [
  {
    name: "small, of known length, read by no hook",
    readsBodies: false,
    framing: "content-length: 4",
    first: "bo",
    last: "dy",
  },
  {
    name: "small, chunked, read by no hook",
    readsBodies: false,
    framing: "transfer-encoding: chunked",
    first: chunk("bo"),
    last: `${chunk("dy")}0\r\n\r\n`,
  },
  {
    name: "declared larger than the inline limit",
    readsBodies: true,
    framing: `content-length: ${LARGE.length + 1}`,
    first: "x",
    last: LARGE,
  },
  {
    name: "chunked, and over the inline limit before its end",
    readsBodies: true,
    framing: "transfer-encoding: chunked",
    first: chunk(LARGE),
    last: `${chunk("y")}0\r\n\r\n`,
  },
];

for (const { name, readsBodies, framing, first, last } of BODIES) {
  Deno.test(`the first byte of a response arrives before the last is sent: ${name}`, async () => {
    const arrived = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (conn) => {
      await conn.readRequest();
      await conn.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n${first}`);
      await arrived.promise;
      await conn.send(last);
      await conn.ended();
    });
    await using gateway = await gatewayTo(upstream, hooks(readsBodies));
    using client = await rawClient(gateway.port);
    await client.send(GET);
    assertEquals((await client.head()).header("x-ran"), "yes");
    await client.readExactly(1);
    arrived.resolve();
    await client.readUntil(last.slice(-2));
  });

  Deno.test(`the first byte of an upload arrives before the last is sent: ${name}`, async () => {
    const arrived = Promise.withResolvers<string | undefined>();
    await using upstream = rawUpstream(async (conn) => {
      const head = await conn.readHead();
      await conn.readExactly(1);
      arrived.resolve(head.header("x-ran"));
      await conn.readUntil(last.slice(-2));
      await conn.send("HTTP/1.1 204 No Content\r\n\r\n");
      await conn.ended();
    });
    await using gateway = await gatewayTo(upstream, hooks(readsBodies));
    using client = await rawClient(gateway.port);
    await client.send(`POST / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n${first}`);
    assertEquals(await arrived.promise, "yes");
    await client.send(last);
    assertEquals((await client.response()).status, 204);
  });
}

/** Sends until `enough` bytes have gone out, or the other side takes no more for a second. */
async function sendUntilStopped(
  to: { send(piece: Uint8Array): Promise<void> },
  enoughMib: number,
): Promise<number> {
  const piece = new Uint8Array(MEBIBYTE / 4);
  let sentMib = 0;
  const late = Symbol();
  while (sentMib < enoughMib) {
    const timer = Promise.withResolvers<typeof late>();
    const timeout = setTimeout(() => timer.resolve(late), 1_000); // a stop is only to be seen in time
    const sending = to.send(piece);
    sending.catch(() => {}); // the test ends with it under way
    const result = await Promise.race([sending, timer.promise]);
    clearTimeout(timeout);
    if (result === late) break;
    sentMib += 0.25;
  }
  return sentMib;
}

const MUCH_MIB = 128;
/** What sockets and pipes hold on the way; the kernel's buffers grow up to some megabytes each. */
const ON_THE_WAY_MIB = 32;

for (const readsBodies of [false, true]) {
  const what = readsBodies ? "a hook that reads bodies" : "hooks that read none";

  Deno.test(`a client that stops reading stops the upstream: ${what}`, async () => {
    const stopped = Promise.withResolvers<number>();
    await using upstream = rawUpstream(async (conn) => {
      await conn.readRequest();
      await conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8000000\r\n");
      stopped.resolve(await sendUntilStopped(conn, MUCH_MIB));
      await conn.ended();
    });
    await using gateway = await gatewayTo(upstream, hooks(readsBodies));
    using client = await rawClient(gateway.port);
    await client.send(GET);
    await client.head();
    const sentMib = await stopped.promise;
    assert(sentMib <= ON_THE_WAY_MIB, `it could send ${sentMib} MiB that nobody read`);
  });

  Deno.test(`an upstream that stops reading stops the client: ${what}`, async () => {
    const over = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (conn) => {
      await conn.readHead();
      await over.promise;
    });
    await using gateway = await gatewayTo(upstream, hooks(readsBodies));
    using client = await rawClient(gateway.port);
    await client.send(
      "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n8000000\r\n",
    );
    const sentMib = await sendUntilStopped(client, MUCH_MIB);
    over.resolve();
    assert(sentMib <= ON_THE_WAY_MIB, `it could send ${sentMib} MiB that nobody read`);
  });
}

Deno.test("a plugin with readsBodies: false gets no byte of a body that its neighbour reads, in no frame", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer");
    await conn.ended();
  });
  const plugin = (readsBodies: boolean) =>
    `export default { readsBodies: ${readsBodies}, beforeRequest() {}, afterResponse() {} };`;
  await using gateway = await gatewayTo(upstream, {
    "001-before.ts": plugin(false),
    "002-reader.ts": plugin(true),
    "003-behind.ts": plugin(false),
  }, { config: { hookDispatch: "per-hook" }, env: { CONDUIT_TRACE_IPC: "1" } });
  using client = await rawClient(gateway.port);
  await client.send("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 8\r\n\r\nquestion");
  assertEquals((await client.response()).text, "answer");
  const hookFrames = () =>
    gateway.stderr.split("\n").filter((line) => line.includes('"type":"hook"'));
  await gateway.until(() => hookFrames().length >= 6, { what: "six frames in its trace" });
  const bodies = hookFrames().map((line) => ({
    plugin: /"plugin":"(\d\d\d-\w+)/.exec(line)?.[1],
    question: line.includes(btoa("question")),
    answer: line.includes(btoa("answer")),
  }));
  const plugins = ["001-before", "002-reader", "003-behind"];
  const expected = (answer: boolean) =>
    plugins.map((plugin) => ({
      plugin,
      question: plugin === "002-reader",
      answer: answer && plugin === "002-reader",
    }));
  assertEquals(bodies, [...expected(false), ...expected(true)]);
});
