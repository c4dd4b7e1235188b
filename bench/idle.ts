/**
 * What an idle keep-alive client costs: clients that have sent one request each, through hooks on both phases, and stay.
 *
 * @module
 */

import { startGateway } from "./cases.ts";
import { BODY, type Lab, rssBytes, type Server } from "./lab.ts";
import type { Idle } from "./results.ts";
import type { Effort } from "./throughput.ts";

const REQUEST = new TextEncoder().encode(
  "GET / HTTP/1.1\r\nhost: bench\r\nx-tenant: bench\r\n\r\n",
);
const BATCH = 50;

export async function idle(lab: Lab, upstream: Server, { quick, say }: Effort): Promise<Idle> {
  const clients = quick ? 300 : 3000;
  const { origin, pid } = await startGateway(lab, upstream, { plugins: 4 });
  const port = Number(new URL(origin).port);
  // Warm means: the code has run. A warm-up under load would leave a heap that hides what is measured.
  for (let wave = 0; wave < 3; wave++) close(await open(port, 300));
  const warmRssBytes = await settledRss(pid);
  const connections = await open(port, clients);
  const idleRssBytes = await settledRss(pid);
  say(`${clients} idle clients: ${warmRssBytes} bytes before, ${idleRssBytes} with them`);
  close(connections);
  await lab.stop(pid);
  return { clients, warmRssBytes, idleRssBytes };
}

async function open(port: number, count: number): Promise<Deno.TcpConn[]> {
  const connections: Deno.TcpConn[] = [];
  while (connections.length < count) {
    const length = Math.min(BATCH, count - connections.length);
    connections.push(...await Promise.all(Array.from({ length }, () => client(port))));
  }
  return connections;
}

/** A connection whose one request has been answered in full. */
async function client(port: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(REQUEST);
  const buffer = new Uint8Array(4096);
  for (let answer = ""; !answer.endsWith(BODY);) {
    const length = await connection.read(buffer);
    if (length === null) throw new Error(`a client was closed after: ${answer}`);
    answer += new TextDecoder().decode(buffer.subarray(0, length));
  }
  return connection;
}

function close(connections: readonly Deno.TcpConn[]): void {
  for (const connection of connections) connection.close();
}

/** Resident memory when it has changed by less than 1 MB for two seconds, or after 15 seconds. */
export async function settledRss(pid: number): Promise<number> {
  const seen: number[] = [];
  for (let at = 0; at < 60; at++) {
    await new Promise((resolve) => setTimeout(resolve, 250));
    seen.push(await rssBytes(pid));
    const last = seen.slice(-8);
    if (last.length === 8 && Math.max(...last) - Math.min(...last) < 1e6) break;
  }
  return seen.at(-1) ?? NaN;
}
