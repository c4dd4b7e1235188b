/**
 * Responses of every kind, right and wrong: a grammar whose parts may be odd, and mutations of what it makes.
 *
 * @module
 */

import fc from "fast-check";
import type { Speech } from "./llhttp.ts";

const { constantFrom, record, array, oneof, tuple, constant } = fc;

/** Mostly the first arbitrary. */
function mostly<T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return oneof({ weight: 8, arbitrary: usual }, { weight: 1, arbitrary: odd });
}

const STATUS_LINE = mostly(
  constantFrom(
    "HTTP/1.1 200 OK",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 404 ",
    "HTTP/1.1 500",
    "HTTP/1.1 599 \xe9\t\x80",
    "HTTP/1.1 205 Reset Content",
  ),
  constantFrom(
    "HTTP/1.1  200 OK",
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 600 No",
    "HTTP/1.1 099 No",
    "HTTP/1.1 101 Switching Protocols",
    "HTTP/1.1 200OK",
    "HTTP/1.1\t200 OK",
    "HTTP/1.2 200 OK",
    "HTTP/0.9 200 OK",
    "HTTP/2.0 200 OK",
    "HTTP/11 200 OK",
    "http/1.1 200 OK",
    "ICY 200 OK",
    "RTSP/1.0 200 OK",
    "\r\nHTTP/1.1 200 OK",
    " HTTP/1.1 200 OK",
    "HTTP/1.1 +20 OK",
  ),
);

const INTERIM = mostly(
  constant(""),
  constantFrom(
    "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 102 Processing\r\ncontent-length: 5\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nconnection: close\r\n\r\n",
    "HTTP/1.0 103 Early Hints\r\n\r\n",
  ),
);

const FIELD = mostly(
  constantFrom(
    "Server: a",
    "x-a: 1",
    "X-A:2",
    "x-a:\t 3 \t",
    "set-cookie: a=b; c",
    "x-empty:",
    "x-empty:  ",
    "a!#$%&'*+-.^_`|~9: b",
    "x-b: \xe9\xff\x80",
    'x-b: ":;,',
    "content-type: text/plain",
    "trailer: x-t",
    "via: 1.1 x-transfer-encoding: chunked",
  ),
  constantFrom(
    "Connection: close",
    "Connection: keep-alive",
    "connection: x, CLOSE ,y",
    "connection: closed",
    "connection: keep-alive, close",
    "connection: close\t",
    "connection: x,\tclose\t",
    'connection: "close"',
    "proxy-connection: close",
    "keep-alive: timeout=5",
    "keep-alive: timeout=1",
    "upgrade: websocket",
    "connection: upgrade",
    "x-a : 1",
    "x a: 1",
    ": 1",
    "x-a",
    "",
    "x-a: 1\r\n 2",
    "x\x00: 1",
    "x-a: \x00",
    "x-a: \x01",
    "x-a: \x7f",
    "x\xe9: 1",
    "(x): 1",
  ),
);

const LENGTH_TEXT = constantFrom(
  ...["+5", "-5", "0x5", "5_0", "5, 5", "5,6", "5 5", "5.0", "05", "", " ", "5e0", "\xb25", "\xb3"],
  ...[
    "5 ",
    "5\t",
    "9007199254740992",
    "18446744073709551615",
    "18446744073709551621",
    "00000000000000005",
  ],
);
const CODING_TEXT = constantFrom(
  ...["Chunked", "CHUNKED ", "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked"],
  ...[
    "xchunked",
    "chunkedx",
    "identity",
    "",
    "chunked;q=1",
    '"chunked"',
    "\tchunked",
    "chunked,",
    "chunked\t",
    "\x0bchunked",
  ],
);

/** Text that would be something else if it stood elsewhere. */
const CONTENT = constantFrom(
  ...["", "a", "hello", "0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "\r\n", "x".repeat(20_000)],
  ...["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", "\x00\xff\n"],
);

const SIZE_TEXT: fc.Arbitrary<(size: number) => string> = mostly(
  constantFrom<(size: number) => string>(
    (size) => size.toString(16),
    (size) => size.toString(16).toUpperCase(),
    (size) => `00${size.toString(16)}`,
    (size) => `${size.toString(16)};a=b`,
    (size) => `${size.toString(16)};a="b;c\\"";d`,
  ),
  constantFrom<(size: number) => string>(
    ...["+", "-", "0x", " ", "\t", ";", "", "g", "_", "0000000000000000", "10000000000000000"]
      .map((before) => (size: number) => before + size.toString(16)),
    ...[
      " ",
      "\t",
      " ;a",
      ";",
      "; a",
      ";a b",
      ";\x01",
      ";\xe9",
      "_0",
      ".0",
      "g",
      ",5",
      "\r",
      ";a=",
      ';a="\x80"',
      ";a = b",
      ';a="',
    ]
      .map((after) => (size: number) => size.toString(16) + after),
    (size) => (size + 1).toString(16),
    (size) => Math.max(0, size - 1).toString(16),
    () => "",
  ),
);

const TRAILER = mostly(
  constantFrom("", "", "x-t: 1\r\n", "x-t: 1\r\nX-U: \xe9\r\n"),
  constantFrom(
    "x-t : 1\r\n",
    "x-t\r\n",
    " x\r\n",
    "x-t: \x01\r\n",
    "x-t: a\nx: b\r\n",
    "content-length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "connection: close\r\n",
  ),
);

const CHUNKED = record({
  contents: array(CONTENT, { maxLength: 3 }),
  size: SIZE_TEXT,
  lastSize: SIZE_TEXT,
  trailer: TRAILER,
}).map(({ contents, size, lastSize, trailer }) => {
  const chunks = contents.filter((each) => each !== "");
  const text = chunks.map((each) => `${size(each.length)}\r\n${each}\r\n`).join("");
  return `${text}${lastSize(0)}\r\n${trailer}\r\n`;
});

/** Framing fields, and the body that follows the head. */
const FRAMED: fc.Arbitrary<readonly [fields: readonly string[], body: string]> = oneof(
  { weight: 2, arbitrary: CONTENT.map((body) => [[], body] as const) },
  {
    weight: 6,
    arbitrary: CONTENT.map((body) => [[`Content-Length: ${body.length}`], body] as const),
  },
  {
    weight: 8,
    arbitrary: CHUNKED.map((body) => [["Transfer-Encoding: chunked"], body] as const),
  },
  {
    weight: 1,
    arbitrary: tuple(constantFrom(0, 1, 6), CONTENT)
      .map(([length, body]) => [[`content-length: ${length}`], body] as const),
  },
  {
    weight: 2,
    arbitrary: tuple(LENGTH_TEXT, constantFrom("hello", ""))
      .map(([length, body]) => [[`content-length: ${length}`], body] as const),
  },
  {
    weight: 2,
    arbitrary: tuple(CODING_TEXT, oneof(CHUNKED, CONTENT))
      .map(([coding, body]) => [[`transfer-encoding: ${coding}`], body] as const),
  },
  {
    weight: 2,
    arbitrary: tuple(
      constantFrom(
        ["content-length: 5", "transfer-encoding: chunked"],
        ["transfer-encoding: chunked", "content-length: 5"],
        ["content-length: 5", "Content-Length: 5"],
        ["content-length: 5", "content-length: 6"],
        ["transfer-encoding: chunked", "transfer-encoding: chunked"],
        ["transfer-encoding: gzip", "transfer-encoding: chunked"],
        ["transfer-encoding: chunked", "transfer-encoding: identity"],
      ),
      oneof(CHUNKED, constant("hello")),
    ),
  },
);

const AFTER = mostly(
  constant(""),
  constantFrom("x", "\r\n", "\0", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", "0\r\n\r\n"),
);

const RESPONSE = record({
  interim: INTERIM,
  statusLine: STATUS_LINE,
  before: array(FIELD, { maxLength: 3 }),
  framed: FRAMED,
  behind: array(FIELD, { maxLength: 2 }),
  after: AFTER,
}).map(({ interim, statusLine, before, framed: [fields, body], behind, after }) =>
  `${interim}${[statusLine, ...before, ...fields, ...behind].join("\r\n")}\r\n\r\n${body}${after}`
);

const BYTES = ["\r", "\n", "\0", " ", "\t", ":", ";", ",", "0", "5", "f", "+", "-", "_", "\x7f"]
  .concat(["\x80", "\xff", "\x0b", "\r\n", "\r\n\r\n", "X", '"', "close", "chunked"]);

/** A change of a text at a place between its begin (0) and its end (1). */
type Mutation = (text: string, place: number, byte: string) => string;

const MUTATIONS: readonly Mutation[] = [
  (text, place, byte) => splice(text, place, { removed: 0, added: byte }),
  (text, place, byte) => splice(text, place, { removed: 1, added: byte }),
  (text, place) => splice(text, place, { removed: 1, added: "" }),
  (text, place) => text.slice(0, Math.floor(place * text.length)),
  (text, place) => atLineEnd(text, place, "\n"),
  (text, place) => atLineEnd(text, place, "\r"),
  (text, place) => atLineEnd(text, place, ""),
  (text, place) => atLineEnd(text, place, "\r\n\t"),
  (text, place) => atLineEnd(text, place, " \r\n"),
  (text, place) => {
    const lines = text.split("\r\n");
    const at = Math.floor(place * lines.length);
    return lines.toSpliced(at, 0, lines[at] ?? "").join("\r\n");
  },
  (text, place) => {
    const at = Math.floor(place * text.length);
    const char = text.charAt(at);
    const other = char === char.toLowerCase() ? char.toUpperCase() : char.toLowerCase();
    // Upper case of some bytes is no byte.
    return splice(text, place, { removed: 1, added: other.charCodeAt(0) < 256 ? other : char });
  },
];

function splice(
  text: string,
  place: number,
  { removed, added }: { readonly removed: number; readonly added: string },
): string {
  const at = Math.floor(place * text.length);
  return text.slice(0, at) + added + text.slice(at + removed);
}

function atLineEnd(text: string, place: number, end: string): string {
  const at = text.indexOf("\r\n", Math.floor(place * text.length));
  return at === -1 ? text : text.slice(0, at) + end + text.slice(at + 2);
}

/** Where something happens; most places that matter are in the head, so half of them are near the begin. */
const PLACE = tuple(fc.nat(9999), fc.boolean()).map(([at, near]) => at / 10_000 * (near ? 0.2 : 1));

const MUTATION = record({
  mutate: constantFrom(...MUTATIONS),
  place: PLACE,
  byte: constantFrom(...BYTES),
});

export const SPEECH: fc.Arbitrary<Speech> = record({
  method: mostly<Speech["method"]>(constant("GET"), constant("HEAD")),
  response: RESPONSE,
  mutations: oneof(
    array(MUTATION, { maxLength: 0 }),
    array(MUTATION, { minLength: 1, maxLength: 2 }),
  ),
  places: array(PLACE, { maxLength: 3 }),
}).map(({ method, response, mutations, places }) => {
  const text = mutations.reduce(
    (from, { mutate, place, byte }) => mutate(from, place, byte),
    response,
  );
  const cuts = places.map((place) => Math.floor(place * text.length)).filter((at) => at > 0);
  return { method, text, cuts: [...new Set(cuts)].sort((a, b) => a - b) };
});
