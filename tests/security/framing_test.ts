/** Attacks 2 to 6, 14 and 23: where one request ends and the next begins, and who it is for. */
import { PATIENT } from "../support/patient.ts";
import { assertRepelled, type Attack, SMUGGLED } from "../support/attack.ts";
import { testGateway } from "../support/gateway.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { assertEquals } from "@std/assert";

const HIDDEN = `GET ${SMUGGLED} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** A POST with these framing fields and this body. */
function post(fields: string, body: string): string {
  return `POST /api/x HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;
}

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const CHUNKED_5 = `${chunk("hello")}0\r\n\r\n`;
const chunked = (body: string) => post("Transfer-Encoding: chunked", body);

const REFUSED_FRAMING: readonly (readonly [fields: string, body: string])[] = [
  ["Content-Length: 6\r\nTransfer-Encoding: chunked", `0\r\n\r\n${HIDDEN}`],
  ["Transfer-Encoding: chunked\r\nContent-Length: 6", `0\r\n\r\n${HIDDEN}`],
  ["Content-Length: 5\r\nContent-Length: 6", `hello${HIDDEN}`],
  ["Content-Length: 5, 6", `hello${HIDDEN}`],
  ["Content-Length: 5, 5", `hello${HIDDEN}`],
  ["Content-Length: +5", `hello${HIDDEN}`],
  ["Content-Length: -5", HIDDEN],
  ["Content-Length: 0x10", HIDDEN],
  ["Content-Length: 1_0", HIDDEN],
  ["Content-Length: 5 5", HIDDEN],
  ["Content-Length: 5.0", `hello${HIDDEN}`],
  ["Content-Length: ", HIDDEN],
  ["Content-Length: 99999999999999999999", HIDDEN],
  ["Content-Length : 5", `hello${HIDDEN}`],
  ["Transfer-Encoding: xchunked", CHUNKED_5 + HIDDEN],
  ["Transfer-Encoding: chunked, chunked", CHUNKED_5 + HIDDEN],
  ["Transfer-Encoding: chunked, identity", CHUNKED_5 + HIDDEN],
  ["Transfer-Encoding: identity", CHUNKED_5 + HIDDEN],
  ["Transfer-Encoding : chunked", CHUNKED_5 + HIDDEN],
  ["Transfer-Encoding:\x0bchunked", CHUNKED_5 + HIDDEN],
  ['Transfer-Encoding: "chunked"', CHUNKED_5 + HIDDEN],
  [" Transfer-Encoding: chunked", CHUNKED_5 + HIDDEN],
  ["X: y\r\n folded: z", HIDDEN],
  ["X: a\0b", HIDDEN],
  ["X: a\rb", HIDDEN],
  ["X y: z", HIDDEN],
  [": z", HIDDEN],
];

const BAD_CHUNKS: readonly string[] = [
  "zz\r\nhello\r\n0\r\n\r\n",
  "-5\r\nhello\r\n0\r\n\r\n",
  "0x5\r\nhello\r\n0\r\n\r\n",
  "\r\nhello\r\n0\r\n\r\n",
  "5;a=\rb\r\nhello\r\n0\r\n\r\n",
  "5\r\nhello0\r\n\r\n",
  "5\r\nhelloXX0\r\n\r\n",
  "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
];

const FRAMING: readonly Attack[] = [
  ...REFUSED_FRAMING.map(([fields, body]): Attack => ({
    name: JSON.stringify(fields),
    send: post(fields, body),
    answers: [[400, 501]],
  })),
  ...BAD_CHUNKS.map((body): Attack => ({
    name: `chunk ${JSON.stringify(body)}`,
    send: chunked(body),
    // Deno.serve ends the connection without a word, before or after the gateway has seen the head.
    answers: [],
  })),
  {
    name: "a coding that would be lost",
    send: post("Transfer-Encoding: gzip, chunked", CHUNKED_5),
    answers: [501],
  },
  {
    name: "two equal lengths",
    send: post("Content-Length: 5\r\nContent-Length: 5", "hello"),
    answers: [400],
  },
  ...["Content-Length", "Transfer-Encoding", "Content-Length, Transfer-Encoding, close"].map((
    named,
  ): Attack => ({
    name: `Connection: ${named} with a hidden request (CVE-2022-31813)`,
    send: post(`Connection: ${named}\r\nContent-Length: ${HIDDEN.length}`, HIDDEN),
    answers: [200],
    reaches: ["/api/x"],
    check: ({ seen }) => assertEquals(new TextDecoder().decode(seen[0]?.body), HIDDEN),
  })),
  {
    name: "a chunked body is one body, whatever it holds",
    send: chunked(chunk(HIDDEN) + "0\r\n\r\n"),
    answers: [200],
    reaches: ["/api/x"],
    check: ({ seen }) => assertEquals(new TextDecoder().decode(seen[0]?.body), HIDDEN),
  },
  {
    name: "a GET with a body is one request",
    send: `GET /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
    answers: [200],
    reaches: ["/api/x"],
  },
];

const HOSTS: readonly Attack[] = [
  ["no Host", ""],
  ["an empty Host", "Host: \r\n"],
  ["two Hosts", "Host: a\r\nHost: b\r\n"],
  ["a Host with a space", "Host: a b\r\n"],
  ["a Host with credentials", "Host: a@b\r\n"],
  ["a Host with a path", "Host: a/api/public?\r\n"],
  ["a Host with a fragment", "Host: a#b\r\n"],
  ["a Host with a comma", "Host: a, b\r\n"],
  ["a Host with a bad port", "Host: a:0x50\r\n"],
].map(([name = "", field = ""]): Attack => ({
  name,
  send: `GET /api/x HTTP/1.1\r\n${field}\r\n`,
  answers: [400],
}));

const TARGETS: readonly Attack[] = [
  ["http://b/api/x", 400],
  ["http://a:81/api/x", 400],
  ["http://x@a/api/x", 400],
  ["https://a/api/x", 400],
  ["http://a/api/x", 200],
].map(([target, status]): Attack => ({
  name: `the absolute target ${target} beside Host: a`,
  send: `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`,
  answers: [Number(status)],
  reaches: status === 200 ? ["/api/x"] : [],
}));

const SIZES: readonly Attack[] = [
  {
    name: "129 fields",
    send: `GET /api/x HTTP/1.1\r\nHost: a\r\n${"X: y\r\n".repeat(127)}\r\n`,
    answers: [[400, 431]],
  },
  {
    name: "a head of 64 KiB and more",
    send: `GET /api/x HTTP/1.1\r\nHost: a\r\nX: ${"y".repeat(65_536)}\r\n\r\n`,
    answers: [[400, 431]],
  },
  {
    name: "a URL of 64 KiB",
    send: `GET /api/${"y".repeat(65_536)} HTTP/1.1\r\nHost: a\r\n\r\n`,
    answers: [[400, 414, 431]],
  },
];

Deno.test("attacks 2 to 5: ambiguous framing is refused, or exactly one request comes of it", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { routes: [{ path: "/api/*", upstream: upstream.url, plugins: false }] },
  });
  await assertRepelled(FRAMING, { gateway, upstream });
});

Deno.test("attacks 14 and 23: a host that is not one host, a target that names another one, heads that are too large", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { routes: [{ path: "/api/*", upstream: upstream.url, plugins: false }] },
  });
  await assertRepelled([...HOSTS, ...TARGETS, ...SIZES], { gateway, upstream });
});

Deno.test("attack 6: the body of a refused request is never read as the next request", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      bodies: { inlineLimitBytes: 16, maxRequestBytes: 4096 },
      routes: [{ path: "/api/*", upstream: upstream.url }],
    },
    plugins: {
      "001-refuse.ts":
        `export default { readsBodies: false, beforeRequest(ctx) { ctx.reject(401, "no"); } };`,
    },
  });
  const refused = (name: string, send: string, ...answers: readonly number[]): Attack => ({
    name,
    send,
    answers,
  });
  await assertRepelled([
    refused("with a length", post(`Content-Length: ${HIDDEN.length}`, HIDDEN), 401),
    refused(
      "before another one",
      post("Content-Length: 5", "hello") + post("Content-Length: 0", ""),
      401,
      401,
    ),
    refused("with a length that is never reached", post("Content-Length: 4000", HIDDEN), 401),
    refused("in a chunk", chunked(`${chunk(HIDDEN)}0\r\n\r\n`), 401),
    refused("in a chunk that does not end", chunked(`1000\r\n${HIDDEN}`), 401),
    refused("over the limit", post("Content-Length: 5000", HIDDEN), 413),
    refused(
      "of a request without a route",
      post(`Content-Length: ${HIDDEN.length}`, HIDDEN).replace("/api/", "/none/"),
      404,
    ),
  ], { gateway, upstream });
});
