/** Attack 5: chunks that two readers read differently. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { rawClient } from "../support/raw_client.ts";
import { carried, chunk, chunked, HIDDEN, streamingGateway } from "../support/smuggling.ts";

/** Whatever line breaks off: `HIDDEN` follows, and is a request for whoever reads the chunk otherwise. */
const BAD_CHUNKS: readonly string[] = [
  "zz\r\nhello\r\n0\r\n\r\n",
  "-5\r\nhello\r\n0\r\n\r\n",
  "+5\r\nhello\r\n0\r\n\r\n",
  "5_\r\nhello\r\n0\r\n\r\n",
  "0x5\r\nhello\r\n0\r\n\r\n",
  "5\t\r\nhello\r\n0\r\n\r\n",
  "\r\nhello\r\n0\r\n\r\n",
  "5\nhello\r\n0\r\n\r\n",
  "5;a=\rb\r\nhello\r\n0\r\n\r\n",
  "5;a\nhello\r\n0\r\n\r\n",
  "5;\nxx;\r\nhello\r\n0\r\n\r\n",
  "5\r\nhello\n0\r\n\r\n",
  "5\r\nhello0\r\n\r\n",
  "5\r\nhelloXX0\r\n\r\n",
  "5\r\nhello\r\n0\n\n",
  "5\r\nhello\r\n0\r\n\n",
  "5\r\nhello\r\n\r\n\r\n",
  "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
  "5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n",
  "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
  "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
  "7fffffffffffffff\r\nhello\r\n0\r\n\r\n",
  `5;a=${"x".repeat(20_000)}\r\nhello\r\n0\r\n\r\n`,
];

const CHUNKS: readonly Attack[] = [
  ...BAD_CHUNKS.map((body): Attack => ({
    name: `chunk ${JSON.stringify(body).slice(0, 60)}`,
    send: chunked(body + HIDDEN),
    // With its head in one piece: Deno.serve ends the connection before the gateway has heard of it.
    answers: [],
    answersMayBe: [400],
  })),
  carried("a chunked body is one body, whatever it holds", chunked(chunk(HIDDEN) + "0\r\n\r\n")),
  ...['5;a="b"', "5 ", "00000005", "5;a=b;c"].map((line): Attack => ({
    name: `a chunk line that is odd and legal: ${JSON.stringify(line)}`,
    send: chunked(`${line}\r\nhello\r\n0\r\n\r\n`),
    answers: [200],
    reaches: ["/api/x"],
    check: ({ seen }) => assertEquals(new TextDecoder().decode(seen[0]?.body), "hello"),
  })),
  {
    name: "trailers that are no fields of the request",
    send: chunked(
      "5\r\nhello\r\n0\r\nContent-Length: 50\r\nX-Gateway-User: root\r\nAuthorization: x\r\nHost: b\r\n\r\n",
    ),
    answers: [200],
    reaches: ["/api/x"],
    check({ seen: [request] }) {
      for (const name of ["content-length", "x-gateway-user", "authorization", "trailer"]) {
        assertEquals(request?.header(name), undefined, name);
      }
    },
  },
];

attackTest(
  "attack 5: of a chunk that is none no request comes, and what is legal is one body (CVE-2023-46589, CVE-2025-22871)",
  { 5: CHUNKS },
  (attacks) => streamingGateway((parts) => assertRepelled(attacks, parts)),
);

attackTest(
  "attack 5: a chunk that is none, behind a good one, is a 400 and the end of both connections",
  // A size that is huge and no more is not wrong until too much has come.
  { 5: BAD_CHUNKS.filter((each) => !/^(?:5|.{16})\r/.test(each)) },
  (bad) =>
    streamingGateway(async ({ gateway, upstream }) => {
      for (const [row, line] of bad.entries()) {
        using client = await rawClient(gateway.port);
        await client.send(chunked(chunk("first")));
        await gateway.until(
          () => upstream.connections[row]?.received.endsWith(chunk("first")),
          { what: "the first chunk at the upstream" },
        );
        await client.send(line + HIDDEN);
        const response = await client.response();
        assertEquals(response.status, 400, line);
        assertStringIncludes(response.text, "request body breaks its framing");
        await client.ended();
        await upstream.connections[row]?.left;
        // What it got is a beginning without an end, which no server takes for a request.
        assertEquals(upstream.connections[row]?.received.split(chunk("first"))[1], "");
      }
      assertEquals([upstream.connections.length, upstream.requests.length], [bad.length, 0]);
    }),
);
