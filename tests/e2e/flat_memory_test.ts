/** Bodies far larger than memory may grow pass in flat memory, also where one side pauses. Without pauses: http_streaming_test. */
import { assert } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { growthMiB } from "../support/proc.ts";
import { rawClient } from "../support/raw_client.ts";
import { rawUpstream } from "../support/raw_upstream.ts";

const MEBIBYTE = 1024 * 1024;
const DOWN_MIB = 300;
const UP_MIB = 150;
const LIMIT_MIB = 96;
const PIECE = new Uint8Array(MEBIBYTE);
const PAUSE_MS = 2_000;

interface Reads {
  readExactly(lengthBytes: number): Promise<Uint8Array>;
}

interface Sends {
  send(piece: Uint8Array): Promise<void>;
}

/** Reads a body and pauses when it has begun: the sender fills whatever holds bytes on the way. */
async function readAndPause(from: Reads, sizeMib: number): Promise<void> {
  const pieces = sizeMib * 16;
  for (let at = 0; at < pieces; at++) {
    if (at === pieces / 8) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    await from.readExactly(MEBIBYTE / 16);
  }
}

async function sendMib(to: Sends, sizeMib: number): Promise<void> {
  for (let sent = 0; sent < sizeMib; sent++) await to.send(PIECE);
}

/** One request with a body of `upMib`, which is answered with one of `downMib`. */
async function roundTrip(gateway: TestGateway, upMib: number, downMib: number): Promise<void> {
  using client = await rawClient(gateway.port);
  await client.send(
    `POST /${downMib} HTTP/1.1\r\nHost: a\r\ncontent-length: ${upMib * MEBIBYTE}\r\n\r\n`,
  );
  await sendMib(client, upMib);
  await client.head();
  await readAndPause(client, downMib);
}

Deno.test(`${UP_MIB} MiB up and ${DOWN_MIB} MiB down through hooks of both phases, each side pausing as a reader: the gateway grows by less than ${LIMIT_MIB} MiB`, async () => {
  await using upstream = rawUpstream(async (conn) => {
    const head = await conn.readHead();
    await readAndPause(conn, Number(head.header("content-length")) / MEBIBYTE);
    const downMib = Number(head.target.slice(1));
    await conn.send(`HTTP/1.1 200 OK\r\ncontent-length: ${downMib * MEBIBYTE}\r\n\r\n`);
    await sendMib(conn, downMib);
  });
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      bodies: { maxRequestBytes: 0 },
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: { "001-a.ts": `export default { beforeRequest() {}, afterResponse() {} };` },
  });
  // The first bodies bring in code, and garbage that V8 leaves until there are 64 MiB of it.
  await roundTrip(gateway, 16, 16);
  const grown = await growthMiB(gateway.pid, () => roundTrip(gateway, UP_MIB, DOWN_MIB));
  assert(grown < LIMIT_MIB, `it grew by ${grown} MiB`);
});
