/** Attacks 2, 3, 4 and 6: where one request ends and the next begins. */
import { assertEquals } from "@std/assert";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import {
  carried,
  chunk,
  chunked,
  CHUNKED_5,
  HIDDEN,
  post,
  streamingGateway,
  withBody,
} from "../support/smuggling.ts";

/** Refused with one answer: whatever stands behind it on the connection is never read as a request. */
function refused(fields: string, body: string): Attack {
  return {
    name: JSON.stringify(fields),
    send: post(fields, body),
    answers: [[400, 501]],
    closes: true,
  };
}

const NAMED: readonly Attack[] = [
  "Content-Length",
  "Transfer-Encoding",
  "Content-Length, Transfer-Encoding, close",
  "cOnTeNt-LeNgTh,close",
  "close\r\nConnection: Content-Length",
].flatMap((named) => [
  carried(
    `Connection: ${named} with a hidden request (CVE-2022-31813)`,
    post(`Connection: ${named}\r\nContent-Length: ${HIDDEN.length}`, HIDDEN),
  ),
  carried(
    `Connection: ${named} with a hidden request in a chunk`,
    post(`Connection: ${named}\r\nTransfer-Encoding: chunked`, `${chunk(HIDDEN)}0\r\n\r\n`),
  ),
]);

const LENGTHS: readonly Attack[] = [
  ...[
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5, 6",
    "Content-Length: 5, 5",
    "Content-Length: 5,",
    "Content-Length: +5",
    "Content-Length: 5 5",
    "Content-Length: 5.0",
    "Content-Length: 5;",
    "Content-Length: 5e0",
    "Content-Length: 5\x0b",
    "Content-Length: \xd9\xa5", // 5 in Arabic digits
    "Content-Length : 5",
    "Content-Length\t: 5",
    "Content-Length: 18446744073709551621", // 2^64 + 5
    "Content-Length:\r\n 5",
  ].map((fields) => refused(fields, `hello${HIDDEN}`)),
  // Two that agree are one length to every reader, so what follows is no part of it.
  { ...refused("Content-Length: 5\r\nContent-Length: 5", "hello"), closes: false },
  ...[
    "Content-Length: -5",
    "Content-Length: 0x10",
    "Content-Length: 1_0",
    "Content-Length: ",
    "Content-Length: 99999999999999999999",
  ].map((fields) => refused(fields, HIDDEN)),
  ...[
    "Content-Length: 6\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 6",
    "Content-Length: 0\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nX: y\r\ncontent-length: 5",
    // A bare LF ends a line for some, and hides the next field for others.
    "Content-Length: 5\nTransfer-Encoding: chunked",
    "Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5",
  ].map((fields) => refused(fields, `0\r\n\r\n${HIDDEN}`)),
  // CL.0 and 0.CL: what some servers take for no body is none of the next request either.
  ...["DELETE", "OPTIONS"].map((method) => carried(`the body of a ${method}`, withBody(method))),
  ...["GET", "HEAD"].map((method): Attack => ({
    name: `the body of a ${method}`,
    send: withBody(method),
    answers: [501],
  })),
];

const CODINGS: readonly Attack[] = [
  ...[
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: ",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\0: chunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: chunked\x0b",
    "Transfer-Encoding: chunked\x0c",
    "Transfer-Encoding: chunked\xa0",
    "Transfer-Encoding:\x85chunked",
    'Transfer-Encoding: "chunked"',
    " Transfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "X: a\rTransfer-Encoding: chunked",
  ].map((fields) => refused(fields, CHUNKED_5 + HIDDEN)),
  // Chunked to every reader; what was coded would be lost.
  { ...refused("Transfer-Encoding: gzip, chunked", CHUNKED_5), closes: false },
  ...["", "Content-Length: 5\r\n"].map((length): Attack => ({
    name: `chunked in HTTP/1.0 ${length}`,
    send: post(`${length}Transfer-Encoding: chunked`, CHUNKED_5 + HIDDEN).replace("1.1", "1.0"),
    answers: [400],
    closes: true,
  })),
  ...["GET", "HEAD"].map((method): Attack => ({
    name: `a chunk of a ${method}`,
    send: chunked(`${chunk(HIDDEN)}0\r\n\r\n`).replace("POST", method),
    answers: [501],
  })),
  carried("a chunk of a DELETE", chunked(`${chunk(HIDDEN)}0\r\n\r\n`).replace("POST", "DELETE")),
  // RFC 9112 §7: codings have no case, and blanks around a value are none of it.
  ...["CHUNKED", "chunked\t", "\tchunked"].map((coding): Attack => ({
    name: `the one coding, as ${JSON.stringify(coding)}`,
    send: post(`Transfer-Encoding: ${coding}`, CHUNKED_5),
    answers: [200],
    reaches: ["/api/x"],
    check: ({ seen }) => assertEquals(new TextDecoder().decode(seen[0]?.body), "hello"),
  })),
];

/** What ends a head, an expectation, a version: places where two readers part. */
const HEADS: readonly Attack[] = [
  ...[
    "GET /api/x y HTTP/1.1",
    "GET  /api/x HTTP/1.1",
    "GET\t/api/x\tHTTP/1.1",
    " GET /api/x HTTP/1.1",
    "GET /api/x HTTP/1.2",
    "GET /api/x HTTP/2.0",
    "GET /api/x HTTP/1.1x",
    "GET /api/x http/1.1",
    "GET /api/x",
  ].map((line): Attack => ({
    name: JSON.stringify(line),
    send: `${line}\r\nHost: a\r\n\r\n${HIDDEN}`,
    answers: [400],
    closes: true,
  })),
  ...[
    ...[
      "X: y\r\n folded: z",
      "X: y\n folded: z",
      "\tX: y",
      "X: a\0b",
      "X: a\rb",
      "X: a\x0bb",
      "X: a\x7fb",
    ],
    ...[
      "X y: z",
      ": z",
      "no colon",
      "\0X: y",
      "X\t: y",
      "X\r: y",
      "X\x7f: y",
      "X\xa0: y",
      "X\xe9: y",
    ],
    ...["X(y): z", "@X: y"],
  ].map((fields) => refused(fields, HIDDEN)),
  {
    name: "an expectation is the gateway's to answer, and goes no further",
    send: post("Expect: 100-continue\r\nContent-Length: 5", "hello"),
    answers: [100, 200],
    reaches: ["/api/x"],
    check: ({ seen }) => assertEquals(seen[0]?.header("expect"), undefined),
  },
  ...["Expect: 200-ok", "Expect: 100-continue, y", "Expect: y\r\nExpect: 100-continue"].map((
    field,
  ): Attack => ({
    name: `the odd expectation ${JSON.stringify(field)}`,
    send: post(`${field}\r\nContent-Length: 5`, "hello"),
    answers: [[100, 200]],
    answersMayBe: [100, 200],
    reaches: ["/api/x"],
    check: ({ seen }) => assertEquals(seen[0]?.header("expect"), undefined),
  })),
];

attackTest(
  "attacks 2 to 4: ambiguous framing is refused, or exactly one request comes of it (CVE-2022-31813, CVE-2019-16276, CVE-2019-20444)",
  { 2: NAMED, 3: [...LENGTHS, ...HEADS], 4: CODINGS },
  (attacks) => streamingGateway((parts) => assertRepelled(attacks, parts)),
);

const UNREAD: readonly Attack[] = ([
  ["with a length", post(`Content-Length: ${HIDDEN.length}`, HIDDEN), 401],
  [
    "before another one",
    post("Content-Length: 5", "hello") + post("Content-Length: 0", ""),
    401,
    401,
  ],
  ["with a length that is never reached", post("Content-Length: 4000", HIDDEN), 401],
  ["in a chunk", chunked(`${chunk(HIDDEN)}0\r\n\r\n`), 401],
  ["in a chunk that does not end", chunked(`1000\r\n${HIDDEN}`), 401],
  ["over the limit", post("Content-Length: 5000", HIDDEN), 413],
  [
    "of a request without a route",
    post(`Content-Length: ${HIDDEN.length}`, HIDDEN).replace("/api/", "/none/"),
    404,
  ],
  [
    "of a refused path (CVE-2020-11724)",
    post(`Content-Length: ${HIDDEN.length}`, HIDDEN).replace("/api/", "/api/%zz"),
    400,
  ],
  ["of OPTIONS *", withBody("OPTIONS", "*"), 204],
  ["of TRACE", withBody("TRACE"), 405],
  ["of a method that the route does not take", withBody("BREW", "/api/only-get"), 405],
  ["of an upgrade", post(`Upgrade: h2c\r\nContent-Length: ${HIDDEN.length}`, HIDDEN), 501],
  [
    "that is awaited by 100-continue",
    post(`Expect: 100-continue\r\nContent-Length: ${HIDDEN.length}`, HIDDEN),
    100,
    401,
  ],
] as [string, string, ...number[]][]).map(([name, send, ...answers]) => ({ name, send, answers }));

/** `Deno.serve` takes a CONNECT for one without a body, whatever it declares; the server in front need not. */
const OF_CONNECT: readonly Attack[] = ([
  ["of CONNECT", withBody("CONNECT", "a"), 405],
  ["of CONNECT to a port", withBody("CONNECT", "a:443"), [400, 405]],
  ["of CONNECT without Host", withBody("CONNECT", "a").replace("Host: a\r\n", ""), 400],
  ["of CONNECT for another Host", withBody("CONNECT", "b:443"), 400],
  ["of CONNECT to a path", withBody("CONNECT"), [400, 405]],
  ["of CONNECT in HTTP/1.0", withBody("CONNECT", "a").replace("1.1", "1.0"), 405],
  ["of CONNECT, shorter than it says", withBody("CONNECT", "a").slice(0, -2), 405],
] as [string, string, number | number[]][]).map(([name, send, answer]) => ({
  name,
  send: send + HIDDEN,
  answers: [answer],
  closes: true,
}));

attackTest(
  "attack 6: the body of a refused request is never read as the next request (CVE-2020-11724)",
  { 6: [...UNREAD, ...OF_CONNECT] },
  async (attacks) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        bodies: { inlineLimitBytes: 16, maxRequestBytes: 4096 },
        routes: [
          { path: "/api/*", upstream: upstream.url },
          { path: "/api/only-get", upstream: upstream.url, methods: ["GET"] },
        ],
      },
      plugins: {
        "001-refuse.ts":
          `export default { readsBodies: false, beforeRequest(ctx) { ctx.reject(401, "no"); } };`,
      },
    });
    await assertRepelled(attacks, { gateway, upstream });
  },
);
