import { assertEquals } from "@std/assert";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient, rawRequest } from "../support/raw_client.ts";
import { rawUpstream } from "../support/raw_upstream.ts";
import { OK } from "../support/recording_upstream.ts";

const BIG_MIB = 64;
const MEBIBYTE = 1024 * 1024;
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

function bigUpstream(onEnd: () => void) {
  return rawUpstream(async (conn) => {
    const { target } = await conn.readRequest();
    if (target === "/small") return await conn.send(OK);
    try {
      await conn.send(`HTTP/1.1 200 OK\r\ncontent-length: ${BIG_MIB * MEBIBYTE}\r\n\r\n`);
      for (let sent = 0; sent < BIG_MIB; sent++) await conn.send(new Uint8Array(MEBIBYTE));
    } finally {
      onEnd();
    }
  });
}

Deno.test("failure: a client stops reading; after idleMs its upstream is let go and its place is free, and a client that reads slowly gets all", async () => {
  let ended = false;
  await using upstream = bigUpstream(() => ended = true);
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      maxInFlight: 1,
      timeouts: { idleMs: 4000 }, // a busy machine may hold up the slow reader for a second
      routes: [{ path: "/*", upstream: upstream.url }],
    },
  });
  {
    using client = await rawClient(gateway.port);
    await client.send(get("/big"));
    await client.head();
    const line = await gateway.waitForLog(({ path, status }) => path === "/big" && status === 200);
    assertEquals([line.cut, line.failure], [true, "the client stopped reading"]);
    await gateway.until(() => ended, { what: "the upstream to be let go" });
    assertEquals((await rawRequest(gateway.port, get("/small"))).status, 200, "its place is free");
    await client.ended(); // when it reads on there is no more than what was on its way
  }
  await gateway.until(async () => (await rawRequest(gateway.port, get("/small"))).status === 200, {
    what: "a place",
  });

  using slow = await rawClient(gateway.port);
  await slow.send(get("/big"));
  await slow.head();
  for (let read = 0; read < BIG_MIB; read += 8) {
    await new Promise((resolve) => setTimeout(resolve, 300)); // the slowness is the point
    await slow.readExactly(8 * MEBIBYTE);
  }
  const lines = () => gateway.logs.filter(({ path, status }) => path === "/big" && status === 200);
  await gateway.until(() => lines().length === 2, { what: "the second access line" });
  assertEquals(lines()[1]?.cut, undefined);
  assertEquals(gateway.logs.filter(({ level }) => level === "error"), []);
});
