/** Attack 30: no tunnel is opened past the hooks. */
import { assertEquals } from "@std/assert";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { testGateway } from "../support/gateway.ts";
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

Deno.test("attack 30: an upgrade is refused, and an upstream that switches protocols unasked is a 502", async () => {
  await using upstream = recordingUpstream(() =>
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
  );
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
  });
  await assertRepelled([
    ...UPGRADES,
    ...METHODS,
    { name: "a plain request", send: get("X: y"), answers: [502], reaches: ["/x"] },
  ], { gateway, upstream });
});
