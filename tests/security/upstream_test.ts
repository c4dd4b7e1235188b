/** Attack 33: what an upstream gets wrong ends in a 502 or a cut connection, and that connection serves nobody else. */
import { PATIENT } from "../support/patient.ts";
import { assertEquals } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { rawClient } from "../support/raw_client.ts";
import { rawUpstream } from "../support/raw_upstream.ts";

interface BadAnswer {
  readonly name: string;
  readonly bytes: string;
  /** `cut`: the client got the head and then the end of its connection; else the status. */
  readonly ends: 502 | "cut";
  /** What the client may have of the body before it is cut. */
  readonly body?: string;
}

const head = (fields: string, body = "") => `HTTP/1.1 200 OK\r\n${fields}\r\n\r\n${body}`;

const BAD_ANSWERS: readonly BadAnswer[] = [
  { name: "nothing", bytes: "", ends: 502 },
  { name: "half a head", bytes: "HTTP/1.1 200 OK\r\ncontent-le", ends: 502 },
  { name: "no HTTP", bytes: "SSH-2.0-OpenSSH_9.6\r\n\r\n", ends: 502 },
  { name: "HTTP/2", bytes: "HTTP/2 200\r\n\r\n", ends: 502 },
  { name: "status 99", bytes: "HTTP/1.1 99 X\r\n\r\n", ends: 502 },
  { name: "status 600", bytes: "HTTP/1.1 600 X\r\n\r\n", ends: 502 },
  { name: "a header without a colon", bytes: head("evil"), ends: 502 },
  { name: "a space before the colon", bytes: head("content-length : 0"), ends: 502 },
  { name: "a folded header", bytes: head("x: a\r\n b"), ends: 502 },
  { name: "a NUL in a header", bytes: head("x: a\0b"), ends: 502 },
  { name: "a bare LF", bytes: head("x: a\ny: b"), ends: 502 },
  { name: "two lengths", bytes: head("content-length: 1\r\ncontent-length: 2", "ab"), ends: 502 },
  { name: "a negative length", bytes: head("content-length: -1"), ends: 502 },
  {
    name: "length and chunked",
    bytes: head("content-length: 1\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
    ends: 502,
  },
  { name: "an unknown coding", bytes: head("transfer-encoding: gzip, chunked"), ends: 502 },
  { name: "17 interim answers", bytes: "HTTP/1.1 103 Early\r\n\r\n".repeat(17), ends: 502 },
  { name: "an endless head", bytes: head(`x: ${"y".repeat(70_000)}`), ends: 502 },
  { name: "300 header fields", bytes: head("x: y\r\n".repeat(300)), ends: 502 },
  {
    name: "a body shorter than its length",
    bytes: head("content-length: 10", "hello"),
    ends: "cut",
    body: "hello",
  },
  {
    name: "a truncated chunk",
    bytes: head("transfer-encoding: chunked", "a\r\nhello"),
    ends: "cut",
    body: "hello",
  },
  {
    name: "no last chunk",
    bytes: head("transfer-encoding: chunked", "5\r\nhello\r\n"),
    ends: "cut",
    body: "hello",
  },
  {
    name: "a chunk longer than its size",
    bytes: head("transfer-encoding: chunked", "3\r\nhello\r\n0\r\n\r\n"),
    ends: 502,
  },
  {
    name: "a chunk size that is none",
    bytes: head("transfer-encoding: chunked", "xyz\r\nhello\r\n0\r\n\r\n"),
    ends: 502,
  },
];

const GOOD = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** Sends the bad answer to `/N`, then ends the connection; anything else is answered well. */
function lyingUpstream() {
  return rawUpstream(async (conn) => {
    for (;;) {
      const { target } = await conn.readRequest();
      const bad = BAD_ANSWERS[Number(target.slice(1))];
      if (bad) return await conn.send(bad.bytes);
      await conn.send(GOOD);
    }
  });
}

async function outcome(gateway: TestGateway, path: string): Promise<BadAnswer["ends"] | string> {
  using client = await rawClient(gateway.port);
  await client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  try {
    const { status, text } = await client.response();
    return status === 502 && text.includes('"upstream_unreachable"') ? 502 : `${status} ${text}`;
  } catch (error) {
    if (error instanceof Deno.errors.UnexpectedEof) return "cut";
    throw error;
  }
}

for (const readsBodies of [false, true]) {
  Deno.test(
    `attack 33: no answer of an upstream that breaks its framing looks complete, ${
      readsBodies ? "also where a hook reads it first" : "streamed"
    }`,
    async () => {
      await using upstream = lyingUpstream();
      await using gateway = await testGateway({
        config: {
          ...PATIENT,
          routes: [{ path: "/*", upstream: upstream.url }],
        },
        plugins: {
          "001-read.ts":
            `export default { readsBodies: ${readsBodies}, afterResponse(ctx) { ctx.response.setHeader("x-a", "b"); } };`,
        },
      });
      for (const [row, { name, ends }] of BAD_ANSWERS.entries()) {
        // A hook that reads bodies lets the gateway see the whole of it, before a head is out.
        assertEquals(await outcome(gateway, `/${row}`), readsBodies ? 502 : ends, name);
        assertEquals(await outcome(gateway, "/good"), "200 ok", `after ${name}`);
      }
      const failures = gateway.logs.filter((line) => line.message === "upstream failed");
      assertEquals(failures.length, BAD_ANSWERS.length);
      const cut = () => gateway.logs.filter((line) => line.cut === true);
      await gateway.until(() => cut().length === (readsBodies ? 0 : 3), {
        what: "the access lines of cut responses",
      });
      for (const line of cut()) assertEquals([line.status, line.failure], [200, "closed"]);
      assertEquals(gateway.stderr, "");
    },
  );
}

Deno.test("attack 33: what follows a complete answer belongs to nobody, and its connection is not used again", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send(`${GOOD}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison`);
    await conn.ended();
  });
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  for (let i = 0; i < 3; i++) assertEquals(await outcome(gateway, "/"), "200 ok");
  assertEquals(upstream.connections.length, 3);
});
