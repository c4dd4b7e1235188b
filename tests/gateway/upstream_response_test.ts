import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import type { UpstreamFailure } from "../../gateway/errors.ts";
import { rawUpstream } from "../support/raw_upstream.ts";
import {
  bodyBytes,
  bodyText,
  disposableClient,
  failureOf,
  upstreamRequest,
} from "../support/upstream_request.ts";

/** Sends a request to an upstream that answers `parts`, ends its side, and waits to be left. */
async function exchange(parts: readonly (string | Uint8Array)[], method = "GET") {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send(...parts);
    await conn.endSending();
    await conn.ended();
  });
  using client = disposableClient();
  const response = await client.send(upstream.origin, upstreamRequest({ method }));
  return { ...response, bytes: await bodyBytes(response) };
}

const S = "HTTP/1.1 200 OK\r\n";
const L = `${S}content-length: 2\r\n`;
const C = `${S}transfer-encoding: chunked\r\n\r\n`;

const MALFORMED: Record<string, string> = {
  "another protocol version": "HTTP/2.0 200 OK\r\n\r\n",
  "another protocol": "ICY 200 OK\r\n\r\n",
  "HTTP/1.2": "HTTP/1.2 200 OK\r\n\r\n",
  "a status of two digits": "HTTP/1.1 20 OK\r\n\r\n",
  "a status of four digits": "HTTP/1.1 2000 OK\r\n\r\n",
  "status 099": "HTTP/1.1 099 No\r\n\r\n",
  "status 600": "HTTP/1.1 600 No\r\n\r\n",
  "a tab after the version": "HTTP/1.1\t200 OK\r\n\r\n",
  "an empty first line": `\r\n${L}\r\nok`,
  "a status line that ends in a bare LF": "HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nok",
  "a head that ends in a bare LF": `${L}\nok`,
  "a bare LF as first byte": "\n",
  "a bare CR in a value": `${S}x: a\rb\r\n\r\n`,
  "a NUL in a value": `${S}x: a\0b\r\n\r\n`,
  "a DEL in a value": `${S}x: a\x7fb\r\n\r\n`,
  "a control character in the reason": "HTTP/1.1 200 O\x01K\r\n\r\n",
  "obs-fold": `${S}x: a\r\n b\r\n\r\n`,
  "a space before the colon": `${S}x : a\r\n\r\n`,
  "a header without a colon": `${S}no colon here\r\n\r\n`,
  "a header name alone": `${S}name\r\n\r\n`,
  "an empty name": `${S}: a\r\n\r\n`,
  "a name that is no token": `${S}x(y): a\r\n\r\n`,
  "a name beyond ASCII": `${S}x\xe9: a\r\n\r\n`,
  "257 header fields": `${S}${"x: y\r\n".repeat(257)}\r\n`,
  "two different lengths": `${L}content-length: 3\r\n\r\nok`,
  "two equal lengths": `${L}Content-Length: 2\r\n\r\nok`,
  "a list of lengths": `${S}content-length: 2, 2\r\n\r\nok`,
  "the length +2": `${S}content-length: +2\r\n\r\nok`,
  "the length -2": `${S}content-length: -2\r\n\r\nok`,
  "the length 0x2": `${S}content-length: 0x2\r\n\r\nok`,
  "the length 1_0": `${S}content-length: 1_0\r\n\r\nok`,
  "the length 2.0": `${S}content-length: 2.0\r\n\r\nok`,
  "an empty length": `${S}content-length:\r\n\r\nok`,
  "a length of 2^53": `${S}content-length: 9007199254740992\r\n\r\nok`,
  "a length of 17 digits": `${S}content-length: 00000000000000002\r\n\r\nok`,
  "Content-Length and Transfer-Encoding": `${L}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  "Transfer-Encoding xchunked": `${S}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n`,
  "Transfer-Encoding gzip, chunked": `${S}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  "Transfer-Encoding twice": `${C.slice(0, -2)}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  "Transfer-Encoding identity": `${S}transfer-encoding: identity\r\n\r\nok`,
  "Transfer-Encoding in HTTP/1.0": "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  "101 Switching Protocols": "HTTP/1.1 101 Go\r\nupgrade: websocket\r\n\r\n",
  "17 interim responses": "HTTP/1.1 100 Continue\r\n\r\n".repeat(17) + `${L}\r\nok`,
  "a chunk size with a sign": `${C}+2\r\nok\r\n0\r\n\r\n`,
  "a chunk size with 0x": `${C}0x2\r\nok\r\n0\r\n\r\n`,
  "an empty chunk size": `${C}\r\nok\r\n0\r\n\r\n`,
  "a chunk size of 17 digits": `${C}00000000000000002\r\nok\r\n0\r\n\r\n`,
  "a chunk size of 2^53": `${C}20000000000000\r\nok\r\n0\r\n\r\n`,
  "a chunk size with a space behind it": `${C}2 \r\nok\r\n0\r\n\r\n`,
  "a chunk line that ends in a bare LF": `${C}2\nok\r\n0\r\n\r\n`,
  "a bare CR in a chunk extension": `${C}2;a\rb\r\nok\r\n0\r\n\r\n`,
  "a chunk extension of 2 KiB": `${C}2;${"x".repeat(2048)}\r\nok\r\n0\r\n\r\n`,
  "an endless chunk extension": `${C}2;${"x".repeat(100_000)}`,
  "a chunk longer than its size": `${C}2\r\nokay\r\n0\r\n\r\n`,
  "a chunk that ends in a bare LF": `${C}2\r\nok\n0\r\n\r\n`,
  "a trailer without a colon": `${C}2\r\nok\r\n0\r\nbad\r\n\r\n`,
  "a trailer with a control character": `${C}0\r\nx: \x01\r\n\r\n`,
  "trailers without end": `${C}0\r\n${"x: y\r\n".repeat(20_000)}`,
};
for (const [what, answer] of Object.entries(MALFORMED)) {
  Deno.test(`upstream client refuses ${what}`, async () => {
    assertEquals(await failureOf(exchange([answer])), "malformed");
  });
}

Deno.test("upstream client refuses an endless head", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send(S);
    for (;;) await conn.send(`x: ${"y".repeat(1000)}\r\n`);
  });
  using client = disposableClient();
  const failure = await failureOf(client.send(upstream.origin, upstreamRequest()));
  assertEquals(failure, "malformed");
});

Deno.test("upstream client refuses a header line of 64 KiB and accepts one a little shorter", async () => {
  const answer = (lengthBytes: number) => `${L}x: ${"y".repeat(lengthBytes)}\r\n\r\nok`;
  assertEquals(await failureOf(exchange([answer(65_536)])), "malformed");
  assertEquals((await exchange([answer(65_000)])).headers[1]?.[1].length, 65_000);
});

const SHORT: Record<string, string> = {
  "nothing": "",
  "half a status line": "HTTP/1.",
  "half a head": L,
  "only an interim response": "HTTP/1.1 100 Continue\r\n\r\n",
  "a body shorter than its length": `${L}\r\no`,
  "no body at all": `${L}\r\n`,
  "half a chunk line": `${C}2`,
  "half a chunk": `${C}2\r\no`,
  "a chunk without its end": `${C}2\r\nok`,
  "no last chunk": `${C}2\r\nok\r\n`,
  "no end after the last chunk": `${C}2\r\nok\r\n0\r\n`,
};
for (const [what, answer] of Object.entries(SHORT)) {
  Deno.test(`upstream client fails with "closed" where the upstream sends ${what}`, async () => {
    const expected: UpstreamFailure = "closed";
    assertEquals(await failureOf(exchange([answer])), expected);
  });
}

Deno.test("upstream client names the upstream and what it did in the error", async () => {
  const error = await exchange([`${S}no colon\r\n\r\n`]).catch((error) => error);
  assertStringIncludes(error.message, 'upstream "http://127.0.0.1:');
  assertStringIncludes(error.message, "sent a header line without a valid name and colon");
});

const ACCEPTED: Record<string, { answer: string; body: string; method?: string; status?: number }> =
  {
    "a close-delimited body": { answer: `${S}x: y\r\n\r\nall of it`, body: "all of it" },
    "a close-delimited HTTP/1.0 answer": { answer: "HTTP/1.0 200 OK\r\n\r\nold", body: "old" },
    "a status line without a reason": {
      answer: "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
      body: "ok",
    },
    "HEAD with a length": { answer: `${L}\r\n`, body: "", method: "HEAD" },
    "204 with a length": {
      answer: "HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\n",
      body: "",
      status: 204,
    },
    "304 with a length": {
      answer: "HTTP/1.1 304 Not\r\ncontent-length: 5\r\n\r\n",
      body: "",
      status: 304,
    },
    "16 interim responses": {
      answer: "HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n".repeat(16) + `${L}\r\nok`,
      body: "ok",
    },
    "chunks with extensions, upper case and trailers": {
      answer: `${
        C.replace("chunked", "Chunked")
      }0A;a=b ;c="d"\r\n0123456789\r\n1 ;x\r\n!\r\n0\r\nx-t: 1\r\n\r\n`,
      body: "0123456789!",
    },
    "256 header fields": { answer: `${L}${"x: y\r\n".repeat(255)}\r\nok`, body: "ok" },
  };
for (const [what, { answer, body, method, status = 200 }] of Object.entries(ACCEPTED)) {
  Deno.test(`upstream client accepts ${what}, in one segment or byte by byte`, async () => {
    for (const parts of [[answer], [...answer]]) {
      const response = await exchange(parts, method);
      assertEquals(response.status, status);
      assertEquals(new TextDecoder().decode(response.bytes), body);
    }
  });
}

Deno.test("upstream client tells no body from an empty one, and reports the declared length", async () => {
  const empty = await exchange([`${S}content-length: 0\r\n\r\n`]);
  assertEquals([empty.body, empty.lengthBytes], [new Uint8Array(0), 0]);
  const head = await exchange([`${S}content-length: 7\r\n\r\n`], "HEAD");
  assertEquals([head.body, head.lengthBytes], [null, 7]);
});

Deno.test("upstream client keeps order, repeats and bytes of headers, and lower-cases their names", async () => {
  const { headers } = await exchange([
    `${S}Set-Cookie: a=1\r\nX-Bytes:\t\x80\x9f\xff \r\nset-cookie: b=2\r\nEmpty:\r\ncontent-length: 0\r\n\r\n`,
  ]);
  assertEquals(headers, [
    ["set-cookie", "a=1"],
    ["x-bytes", "\x80\x9f\xff"],
    ["set-cookie", "b=2"],
    ["empty", ""],
    ["content-length", "0"],
  ]);
});

Deno.test("upstream client gives a small answer as bytes and one that is still coming as a stream", async () => {
  const together = await exchange([`${L}\r\nok`]);
  assert(together.body instanceof Uint8Array);
  const chunked = await exchange([`${C}1\r\na\r\n1\r\nb\r\n0\r\n\r\n`]);
  assert(chunked.body instanceof Uint8Array);
  assertEquals(new TextDecoder().decode(chunked.bytes), "ab");
});

const NOT_REUSED: Record<string, string> = {
  "bytes after a Content-Length body": `${L}\r\nokHTTP/1.1 200 OK\r\n\r\n`,
  "bytes after a chunked body": `${C}2\r\nok\r\n0\r\n\r\nX`,
  "Connection: close": `${L}connection: close\r\n\r\nok`,
  "Connection: a list with Close": `${L}connection: x, Close\r\n\r\nok`,
  "HTTP/1.0 with keep-alive":
    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
};
for (const [what, answer] of Object.entries(NOT_REUSED)) {
  Deno.test(`upstream client closes the connection after ${what}`, async () => {
    await using upstream = rawUpstream(async (conn) => {
      await conn.readRequest();
      await conn.send(answer);
      await conn.ended();
    });
    using client = disposableClient();
    for (let i = 0; i < 2; i++) {
      const response = await client.send(upstream.origin, upstreamRequest());
      assertEquals([await bodyText(response), response.reused], ["ok", false]);
    }
    await upstream.connections[0]?.left;
    assertEquals(upstream.connections.length, 2);
  });
}

Deno.test("upstream client closes the connection after a body in answer to HEAD", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send(`${L}\r\nok`);
    await conn.ended();
  });
  using client = disposableClient();
  await client.send(upstream.origin, upstreamRequest({ method: "HEAD" }));
  await upstream.connections[0]?.left;
});

const TOKEN_CHARS = [..."!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"];
const VALUE_CHARS = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code))
  .filter((char) => char === "\t" || (char >= " " && char !== "\x7f"));
const FRAMING_NAMES = ["content-length", "transfer-encoding", "connection"];
const field = fc.tuple(
  fc.string({ unit: fc.constantFrom(...TOKEN_CHARS), minLength: 1, maxLength: 20 })
    .filter((name) => !FRAMING_NAMES.includes(name)),
  fc.string({ unit: fc.constantFrom(...VALUE_CHARS), maxLength: 40 })
    .map((value) => value.replace(/^[ \t]+|[ \t]+$/g, "")),
);

Deno.test("upstream client passes any headers and any body on unchanged, in any framing and segments", async () => {
  let answer: Uint8Array[] = [];
  await using upstream = rawUpstream(async (conn) => {
    for (;;) {
      await conn.readRequest();
      for (const segment of answer) {
        await conn.send(segment);
        await new Promise((resolve) => setTimeout(resolve, 0)); // Lets the client see each by itself.
      }
    }
  });
  using client = disposableClient();
  const latin1 = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
  await fc.assert(
    fc.asyncProperty(
      fc.array(field, { maxLength: 12 }),
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 3_000 }), { maxLength: 5 }),
      fc.boolean(),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 }),
      async (headers, pieces, chunked, cuts) => {
        const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
        const framing = chunked ? ["transfer-encoding", "chunked"] : ["content-length", `${size}`];
        const all = [...headers, framing];
        const head = all.map(([name, value]) => `${name}: ${value}\r\n`).join("");
        const parts: Uint8Array[] = [latin1(`${S}${head}\r\n`)];
        for (const piece of pieces) {
          if (chunked) {
            parts.push(latin1(`${piece.length.toString(16)}\r\n`), piece, latin1("\r\n"));
          } else parts.push(piece);
        }
        if (chunked) parts.push(latin1("0\r\n\r\n"));
        const wire = await new Blob(parts as BlobPart[]).bytes();
        const at = [0, ...cuts.map((cut) => Math.floor(cut * wire.length)), wire.length]
          .sort((a, b) => a - b);
        answer = at.slice(1).map((end, i) => wire.subarray(at[i], end));

        const response = await client.send(upstream.origin, upstreamRequest({ method: "POST" }));
        assertEquals(response.headers, all as [string, string][]);
        assertEquals(await bodyBytes(response), await new Blob(pieces as BlobPart[]).bytes());
      },
    ),
    { numRuns: 200 },
  );
  assertEquals(upstream.connections.length, 1);
});

Deno.test("upstream client ends any bytes whatever with an answer or an UpstreamError", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          fc.constantFrom(
            S,
            L,
            C,
            "\r\n",
            "2\r\n",
            "0\r\n",
            ":",
            "HTTP/1.1 100 \r\n\r\n",
            "\n",
            ";",
          ),
          fc.uint8Array({ maxLength: 20 }),
        ),
        { maxLength: 8 },
      ),
      async (parts) => {
        const outcome = await exchange(parts).catch((error) => error);
        assert(
          outcome.status >= 200 || ["closed", "malformed"].includes(outcome.failure),
          String(outcome),
        );
      },
    ),
    { numRuns: 300 },
  );
});
