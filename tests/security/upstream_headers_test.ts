/** Attack 1, from the other side: what an upstream says of its connection. */
import { assertEquals, assertMatch } from "@std/assert";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { UUID } from "../support/header_attack.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

/** What an upstream says of its connection, and more than that: it takes nothing away but its own fields. */
const UPSTREAM_SAYS = [
  "Connection: close, X-Request-Id, X-Said, Vary, Access-Control-Allow-Origin",
  "connection: x-request-id\r\nConnection: x-said,access-control-allow-origin , VARY",
  "Connection: X_Request_Id, Content-Length, X-Own",
  "Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\nTrailer: x-own",
  "Upgrade: h2c\r\nTE: trailers\r\nProxy-Authentication-Info: x\r\nConnection: upgrade",
  "X-Request-Id: forged\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true",
];
const ONE_HOP = /^(?:connection|keep-alive|proxy-.*|te|trailer|upgrade|transfer-encoding)$/i;

attackTest(
  "attack 1: an upstream neither passes on what belongs to its connection nor removes what the gateway and the plugins say (CVE-2022-31813)",
  { 1: UPSTREAM_SAYS },
  async (rows) => {
    await using upstream = recordingUpstream(({ target }) =>
      `HTTP/1.1 200 OK\r\n${
        rows[Number(target.slice(1))]
      }\r\nX-Own: 1\r\ncontent-length: 2\r\n\r\nok`
    );
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        cors: { allowedOrigins: ["https://good.com"], allowedMethods: ["GET"] },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: {
        "001-say.ts": `export default { readsBodies: false, afterResponse({ response }) {
          response.setHeader("x-said", "by the plugin");
        } };`,
      },
    });
    for (const [row, said] of rows.entries()) {
      using client = await rawClient(gateway.port);
      await client.send(`GET /${row} HTTP/1.1\r\nHost: a\r\nOrigin: https://good.com\r\n\r\n`);
      const { status, text, header } = await client.response();
      assertEquals([status, text], [200, "ok"], said);
      assertMatch(header("x-request-id") ?? "", UUID, said);
      assertEquals(header("x-said"), "by the plugin", said);
      assertEquals(header("access-control-allow-origin"), "https://good.com", said);
      assertEquals(header("access-control-allow-credentials"), undefined, said);
      assertEquals(header("vary"), "Origin", said);
      assertEquals(
        header("x-own"),
        /x-own/i.test(said.split("\r\n")[0] ?? "") ? undefined : "1",
        said,
      );
      const names = client.received.split("\r\n\r\n")[0]?.split("\r\n").slice(1)
        .map((line) => line.split(":")[0] ?? "") ?? [];
      assertEquals(names.filter((name) => ONE_HOP.test(name)), [], said);
    }
  },
);
