/** Attack 33: what an upstream gets wrong ends in a 502 or a cut connection, and that connection serves nobody else. */
import { assert, assertEquals } from "@std/assert";
import { attackTest } from "../support/attack_rows.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
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
  ...["+1", "0x1", "1_0", "1.0", "1 1", "1,1", "1, 2", "", "18446744073709551617", "\xb9"].map((
    length,
  ) => ({
    name: `the length ${JSON.stringify(length)}`,
    bytes: head(`content-length: ${length}`, "a"),
    ends: 502 as const,
  })),
  {
    name: "two equal lengths",
    bytes: head("content-length: 1\r\ncontent-length: 1", "a"),
    ends: 502,
  },
  {
    name: "chunked twice",
    bytes: head("transfer-encoding: chunked, chunked", "0\r\n\r\n"),
    ends: 502,
  },
  {
    name: "chunked in two fields",
    bytes: head("transfer-encoding: chunked\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
    ends: 502,
  },
  { name: "nearly chunked", bytes: head("transfer-encoding: xchunked", "0\r\n\r\n"), ends: 502 },
  {
    name: "chunked with a vertical tab (CVE-2019-18277)",
    bytes: head("transfer-encoding:\x0bchunked", "0\r\n\r\n"),
    ends: 502,
  },
  {
    name: "chunked in HTTP/1.0",
    bytes: head("transfer-encoding: chunked", "0\r\n\r\n").replace("1.1", "1.0"),
    ends: 502,
  },
  { name: "an empty name", bytes: head(": x"), ends: 502 },
  { name: "a space in a name", bytes: head("a b: x"), ends: 502 },
  { name: "a CR in a header", bytes: head("x: a\rb: c"), ends: 502 },
  { name: "a status line that goes on", bytes: "HTTP/1.1 200 OK\rX: y\r\n\r\n", ends: 502 },
  { name: "a status of four digits", bytes: "HTTP/1.1 2000 OK\r\n\r\n", ends: 502 },
  { name: "an empty line first", bytes: `\r\n${head("content-length: 0")}`, ends: 502 },
  {
    name: "an interim answer without an end",
    bytes: "HTTP/1.1 100 Continue\r\nx: y\r\n",
    ends: 502,
  },
  {
    name: "an interim answer that is too large",
    bytes: `HTTP/1.1 103 Early\r\nx: ${"y".repeat(70_000)}\r\n\r\n${head("content-length: 0")}`,
    ends: 502,
  },
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
  ...[
    "-1",
    "+1",
    "0x1",
    "1_",
    " 1",
    "",
    "1\n",
    "1;a\n",
    "1\r\r",
    "ffffffffffffffff1",
    "20000000000001",
  ].map((size) => ({
    name: `the chunk size ${JSON.stringify(size)}`,
    bytes: head("transfer-encoding: chunked", `${size}\r\nx\r\n0\r\n\r\n`),
    ends: 502 as const,
  })),
  {
    name: "a chunk extension without an end",
    bytes: head("transfer-encoding: chunked", `1;${"x".repeat(5000)}\r\nx\r\n0\r\n\r\n`),
    ends: 502,
  },
  {
    name: "trailers without an end",
    bytes: head("transfer-encoding: chunked", `1\r\nx\r\n0\r\n${"x: y\r\n".repeat(5000)}\r\n`),
    ends: "cut",
  },
  {
    name: "a trailer that is no field",
    bytes: head("transfer-encoding: chunked", "1\r\nx\r\n0\r\nevil\r\n\r\n"),
    ends: 502,
  },
  {
    name: "a chunk size that is none",
    bytes: head("transfer-encoding: chunked", "xyz\r\nhello\r\n0\r\n\r\n"),
    ends: 502,
  },
];

const POISON = head("content-length: 6", "poison");
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
  attackTest(
    `attack 33: no answer of an upstream that breaks its framing looks complete, ${
      readsBodies ? "also where a hook reads it first" : "streamed"
    } (CVE-2019-18277)`,
    { 33: BAD_ANSWERS },
    async (answers) => {
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
      for (const [row, { name, ends }] of answers.entries()) {
        // A hook that reads bodies lets the gateway see the whole of it, before a head is out.
        assertEquals(await outcome(gateway, `/${row}`), readsBodies ? 502 : ends, name);
        assertEquals(await outcome(gateway, "/good"), "200 ok", `after ${name}`);
      }
      const failures = () => gateway.logs.filter((line) => line.message === "upstream failed");
      await gateway.until(() => failures().length >= answers.length, { what: "their log lines" });
      assertEquals(failures().length, answers.length);
      const expectedCuts = readsBodies ? 0 : answers.filter((each) => each.ends === "cut").length;
      const cut = () => gateway.logs.filter((line) => line.cut === true);
      await gateway.until(() => cut().length === expectedCuts, {
        what: "the access lines of cut responses",
      });
      for (const { status, failure } of cut()) {
        assertEquals(status, 200);
        assert(failure === "closed" || failure === "malformed");
      }
      assertEquals(gateway.stderr, "");
    },
  );
}

/** What stands behind an answer that is complete, whatever its framing says of that. */
const LEFT_OVER: readonly (readonly [name: string, answer: string])[] = [
  ["another answer", `${GOOD}${POISON}`],
  ["one byte", `${GOOD}x`],
  ["an empty line", `${GOOD}\r\n`],
  [
    "behind the last chunk",
    `${head("transfer-encoding: chunked", "2\r\nok\r\n0\r\n\r\n")}${POISON}`,
  ],
  ["behind a 204", `HTTP/1.1 204 No Content\r\n\r\n${POISON}`],
  ["the body of a 204", `HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\npoison`],
  ["behind a 304", `HTTP/1.1 304 Not Modified\r\n\r\n${POISON}`],
  [
    "the body of a 304",
    `HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n`,
  ],
  ["behind no body", `${head("content-length: 0")}${POISON}`],
];

attackTest(
  "attack 33: what follows a complete answer belongs to nobody, and its connection is not used again",
  { 33: LEFT_OVER },
  async (rows) => {
    for (const method of ["GET", "HEAD"]) {
      await using upstream = rawUpstream(async (conn) => {
        const { target } = await conn.readRequest();
        await conn.send(rows[Number(target.slice(1))]?.[1] ?? "");
        await conn.ended();
      });
      await using gateway = await testGateway({
        config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url, plugins: false }] },
      });
      for (const [row, [name]] of rows.entries()) {
        using client = await rawClient(gateway.port);
        await client.send(`${method} /${row} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
        const { status, text } = await client.response({ method });
        assert(
          status === 200
            ? text === (/no body/.test(name) || method === "HEAD" ? "" : "ok")
            : text === "",
          `${name}: ${status} ${text}`,
        );
        await client.ended();
        assert(!client.received.includes("poison"), name);
        assertEquals(upstream.connections.length, row + 1, name);
      }
    }
  },
);
