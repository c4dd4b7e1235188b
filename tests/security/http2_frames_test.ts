/** Attacks 2 to 4, 10, 12, 14 and 30 by HTTP/2 in clear text: what it can say that HTTP/1.1 cannot. */
import { assert, assertEquals } from "@std/assert";
import { SMUGGLED } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import {
  dataFrame,
  headersFrame,
  HTTP2_BEGINNING,
  type Http2Field,
} from "../support/http2_frames.ts";
import { rawClient } from "../support/raw_client.ts";
import type { RawRequest } from "../support/raw_upstream.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { HIDDEN } from "../support/smuggling.ts";

interface Http2Attack {
  readonly name: string;
  /** Beside or in place of the fields of a plain request: a name that comes here is not taken from there. */
  readonly fields: readonly Http2Field[];
  readonly without?: readonly string[];
  /** Pseudo fields stand where they are named, and not in front of all others (RFC 9113 §8.3). */
  readonly isUnsorted?: boolean;
  readonly body?: string;
  readonly trailers?: readonly Http2Field[];
  /** How the one request arrives; it may not, unless given. */
  readonly arrives?: (request: RawRequest) => void;
}

const PLAIN: readonly Http2Field[] = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/api/x"],
  [":authority", "a"],
  ["host", "a"],
];

const post = (length: string): Http2Field[] => [[":method", "POST"], ["content-length", length]];

/** Each a request that has to be refused, or whose stream or connection has to end. */
function refused(fields: readonly Http2Field[], body?: string): Http2Attack {
  return { name: JSON.stringify(fields), fields, ...(body === undefined ? {} : { body }) };
}

const NAMED = ["content-length", "transfer-encoding", "x-forwarded-for, authorization", "close"]
  .map((named) => refused([...post("5"), ["connection", named]], "hello"));

const LENGTHS: readonly Http2Attack[] = [
  ...["4", "6", "+5", "5, 5", "0x5", "5 ", "", "-5"].map((each) => refused(post(each), "hello")),
  {
    name: "a body where the length is 0",
    fields: post("0"),
    body: HIDDEN,
    arrives: ({ header, body }: RawRequest) =>
      assertEquals([header("content-length"), body.length], ["0", 0]),
  },
  refused([...post("5"), ["content-length", "5"]], "hello!"),
  refused([...post("5"), ["content-length", "6"]], "hello"),
  refused([[":method", "POST"]], HIDDEN),
];

const CODINGS: readonly Http2Attack[] = [
  refused([...post("5"), ["transfer-encoding", "chunked"]], "hello"),
  refused([[":method", "POST"], ["transfer-encoding", "chunked"]], `0\r\n\r\n${HIDDEN}`),
  refused([[":method", "POST"], ["transfer-encoding", "identity"]], HIDDEN),
  refused([[":method", "POST"], ["Transfer-Encoding", "chunked"]], `0\r\n\r\n${HIDDEN}`),
  refused([[":method", "POST"], ["te", "chunked"]], HIDDEN),
  refused([[":method", "POST"], ["x", `y\r\ntransfer-encoding: chunked`]], HIDDEN),
  refused([[":method", "POST"], ["x: y\r\ntransfer-encoding", "chunked"]], HIDDEN),
  refused([["x", "a\0b"]]),
  refused([["x y", "z"]]),
  refused([["", "z"]]),
  {
    name: "a trailer section with the names of the framing",
    fields: post("5"),
    body: "hello",
    trailers: [["content-length", "50"], ["x-gateway-user", "root"], ["x-trailer", "y"]],
    arrives: (request: RawRequest) => {
      assertEquals(request.header("content-length"), "5");
      assertEquals([request.header("x-gateway-user"), request.header("x-trailer")], [
        undefined,
        undefined,
      ]);
    },
  },
];

const TARGETS: readonly Http2Attack[] = [
  ...[
    "",
    "*",
    "/api/x HTTP/1.1\r\nx: y",
    "/api/x y",
    "/api/..%2fx",
    "/api/%00",
    "\\api\\x",
  ].map((path) => refused([[":path", path]])),
  refused([[":path", "/api/x"], [":path", SMUGGLED]]),
  { ...refused([["x", "y"], [":path", "/api/x"]]), isUnsorted: true },
  ...[["http://evil/api/x", "/http:/evil/api/x"], ["?/api/x", "/?/api/x"], ["api/x", "/api/x"]].map(
    (
      [path = "", target],
    ): Http2Attack => ({
      name: `the target ${path}`,
      fields: [[":path", path]],
      arrives: (request) => assertEquals(request.target, target),
    }),
  ),
];

const ALIASES: readonly Http2Attack[] = [
  ["x_gateway_user", "root"],
  ["x.gateway.user", "root"],
  ["x-gateway-user", "root"],
  ["x_real_ip", "6.6.6.6"],
  ["forwarded", "for=6.6.6.6"],
].map(([name = "", value = ""]) => ({
  name,
  fields: [[name, value]],
  arrives: (request: RawRequest) => assertEquals(request.header(name), undefined),
}));

const HOSTS: readonly Http2Attack[] = [
  { ...refused([["host", "b"]]), name: "a Host that is not the :authority" },
  refused([["host", "a"], ["host", "a"]]),
  refused([["host", "a, a"]]),
  refused([[":authority", "u@a"], ["host", "u@a"]]),
  refused([[":authority", "a:99999"], ["host", "a:99999"]]),
  refused([[":scheme", "https"]]),
  refused([[":scheme", "http://evil/?"]]),
  { name: "no Host", fields: [], without: ["host"] },
  { name: "no :path", fields: [], without: [":path"] },
];

const PROTOCOLS: readonly Http2Attack[] = [
  refused([["upgrade", "websocket"]]),
  refused([["upgrade", "h2c"], ["http2-settings", "AAMAAABk"]]),
  refused([[":method", "CONNECT"]]),
  refused([[":method", "CONNECT"], [":protocol", "websocket"]]),
  refused([[":protocol", "websocket"]]),
  { ...refused([[":method", "CONNECT"]], HIDDEN), without: [":path", ":scheme"] },
  refused([[":method", "TRACE"]]),
  refused([[":method", "GET /smuggled HTTP/1.1\r\nx:"]]),
];

function fieldsOf({ fields, without = [], isUnsorted }: Http2Attack, id: unknown): Http2Field[] {
  const given = new Set([...fields.map(([name]) => name), ...without]);
  const plain = PLAIN.filter(([name]) => !given.has(name));
  const all: Http2Field[] = [...plain, ["x-attack", String(id)], ...fields];
  const isPseudo = ([name]: Http2Field) => name.startsWith(":");
  return isUnsorted ? all : [...all.filter(isPseudo), ...all.filter((each) => !isPseudo(each))];
}

attackTest(
  "attacks 2 to 4, 10, 12, 14 and 30: by HTTP/2, what has no one meaning in HTTP/1.1 does not go upstream (CVE-2021-36740)",
  { 2: NAMED, 3: LENGTHS, 4: CODINGS, 10: TARGETS, 12: ALIASES, 14: HOSTS, 30: PROTOCOLS },
  async (attacks) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: { routes: [{ path: "/*", upstream: upstream.url, plugins: false }] },
    });
    for (const [at, attack] of attacks.entries()) {
      const { name, body, trailers, arrives } = attack;
      const parts = [headersFrame(fieldsOf(attack, at), { ends: body === undefined })];
      if (body !== undefined) parts.push(dataFrame(body, { ends: !trailers }));
      if (trailers) parts.push(headersFrame(trailers));
      // A plain request behind it tells that the gateway has read it, if the connection lives on.
      const after = fieldsOf({ name, fields: [[":path", `/after/${at}`]] }, "none");
      using client = await rawClient(gateway.port);
      let isOver = false;
      void client.ended().then(() => isOver = true);
      await client.send(HTTP2_BEGINNING, ...parts, headersFrame(after, { stream: 3 }))
        .catch(() => {}); // it ended the connection meanwhile
      const seen = () => upstream.requests.filter((each) => each.header("x-attack") === `${at}`);
      const isDone = () =>
        arrives ? seen().length > 0 : isOver ||
          upstream.requests.some(({ target }) => target === `/after/${at}`);
      await gateway.until(isDone, { what: `an end of the attack ${name}` });
      const [request, ...others] = seen();
      assertEquals(others, [], name);
      if (arrives && request) arrives(request);
      else assertEquals(request, undefined, name);
    }
    for (const { target } of upstream.requests) assert(!target.includes(SMUGGLED), target);
    assertEquals(gateway.stderr, "");
  },
);
