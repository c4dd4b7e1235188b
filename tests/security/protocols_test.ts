/** Attack 30: no tunnel is opened past the hooks. */
import { assertEquals } from "@std/assert";
import { assertRepelled, type Attack, statuses } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { rawExchange } from "../support/raw_conversation.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const get = (fields: string) => `GET /x HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n`;

const UPGRADES: readonly Attack[] = [
  [
    "h2c",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
  ],
  ["h2c without Connection", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"],
  [
    "websocket",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
  ],
  ["an unknown protocol", "Connection: upgrade\r\nUpgrade: evil/1"],
  ["a case of its own", "connection: UPGRADE\r\nUPGRADE: H2C"],
  ["websocket beside a Connection that keeps it", "Connection: keep-alive\r\nUpgrade: websocket"],
  ["two upgrades", "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket"],
  ["a list", "Connection: upgrade\r\nUpgrade: h2c, websocket"],
  ["an upgrade to nothing", "Connection: upgrade\r\nUpgrade: "],
  ["TLS within HTTP", "Connection: upgrade\r\nUpgrade: TLS/1.0"],
  ["HTTP/1.1 once more", "Connection: upgrade\r\nUpgrade: HTTP/1.1"],
].map(([name = "", fields = ""]): Attack => ({ name, send: get(fields), answers: [501] }));

const METHODS: readonly Attack[] = [
  { name: "CONNECT", send: "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", answers: [[400, 405]] },
  { name: "TRACE", send: "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", answers: [405] },
  { name: "OPTIONS *", send: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", answers: [204] },
  {
    name: "the HTTP/2 preface",
    send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    answers: [400],
  },
  {
    name: "an unknown method",
    send: "BREW /x HTTP/1.1\r\nHost: a\r\n\r\n",
    answers: [502],
    reaches: ["/x"],
    check: ({ seen }) => assertEquals(seen[0]?.method, "BREW"),
  },
];

/** The first is what the upstream says; a client that asks for the second must not get it. */
const SWITCHES = [
  "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
  "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
  "HTTP/1.1 101 X\r\n\r\n",
  "HTTP/1.0 101 X\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 X\r\n\r\n",
  "HTTP/1.1 101 X\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
];

attackTest(
  "attack 30: an upgrade is refused, and an upstream that switches protocols unasked is a 502",
  { 30: [...UPGRADES, ...METHODS] },
  async (attacks) => {
    await using upstream = recordingUpstream(() =>
      "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    );
    await using gateway = await testGateway({
      config: { routes: [{ path: "/*", upstream: upstream.url }] },
    });
    await assertRepelled([
      ...attacks,
      { name: "a plain request", send: get("X: y"), answers: [502], reaches: ["/x"] },
    ], { gateway, upstream });
  },
);

attackTest(
  "attack 30: whatever an upstream says of switching, its client gets a 502 and no bytes behind it",
  { 30: SWITCHES },
  async (answers) => {
    await using upstream = recordingUpstream(({ target }) =>
      answers[Number(target.slice(1))] ?? ""
    );
    await using gateway = await testGateway({
      config: { routes: [{ path: "/*", upstream: upstream.url, plugins: false }] },
    });
    for (const row of answers.keys()) {
      const response = await rawExchange(
        gateway.port,
        `GET /${row} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
        { answers: 1 },
      );
      assertEquals(statuses(response), [502], answers[row]);
    }
    // None of these connections was used again.
    assertEquals(upstream.connections.length, answers.length);
  },
);
