/**
 * Large bodies through hooks on both phases: how much the gateway's resident memory grows over the warm process, also where
 * the client stops reading for a while. Client and upstream are in this process.
 *
 * @module
 */

import { startGateway } from "./cases.ts";
import { settledRss } from "./idle.ts";
import { type Lab, rssBytes, type Server } from "./lab.ts";
import type { Memory, Transfer } from "./results.ts";
import type { Effort } from "./throughput.ts";

const GIB = 1024 ** 3;
const CHUNK = new Uint8Array(65_536).fill(120);
const POLICED = /\r\nx-policy-1: bench\r\n/;

export async function memory(lab: Lab, _upstream: Server, effort: Effort): Promise<Memory> {
  const unit = effort.quick ? GIB / 16 : GIB;
  const pauseMs = effort.quick ? 1000 : 10_000;
  await using upstream = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  const { origin, pid } = await startGateway(
    lab,
    { pid: Deno.pid, origin: `http://127.0.0.1:${upstream.addr.port}` },
    { plugins: 4, readsBodies: true, config: { bodies: { maxRequestBytes: 0 } } },
  );
  const port = Number(new URL(origin).port);
  await download(port, { bytes: GIB / 16 });
  await upload(port, GIB / 16);
  const warmRssBytes = await settledRss(pid);
  const transfers = [
    await watch("down", 2 * unit, (bytes) => download(port, { bytes })),
    await watch("up", unit, (bytes) => upload(port, bytes)),
    await watch(
      `down, the reader stops for ${pauseMs / 1000} s in the middle`,
      unit,
      (bytes) => download(port, { bytes, pauseMs }),
    ),
  ];
  await lab.stop(pid);
  return { warmRssBytes, transfers };

  async function watch(
    what: string,
    bytes: number,
    run: (bytes: number) => Promise<void>,
  ): Promise<Transfer> {
    const title = `${bytes / GIB} GiB ${what}`;
    let peakRssBytes = 0;
    const sample = async () => peakRssBytes = Math.max(peakRssBytes, await rssBytes(pid));
    const sampling = setInterval(sample, 50);
    const began = performance.now();
    try {
      await run(bytes);
    } finally {
      clearInterval(sampling);
    }
    const seconds = Number(((performance.now() - began) / 1000).toFixed(2));
    await sample();
    effort.say(`${title}: ${seconds} s, ${peakRssBytes - warmRssBytes} bytes more at most`);
    return { title, bytes, seconds, peakRssBytes };
  }
}

/** `GET /down/N` is answered with N bytes, anything else with the number of bytes that came. */
async function answer(request: Request): Promise<Response> {
  const bytes = Number(/^\/down\/(\d+)$/.exec(new URL(request.url).pathname)?.[1]);
  if (request.method === "GET") {
    if (!bytes) return new Response("ready");
    let left = bytes;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(CHUNK);
        left -= CHUNK.length;
        if (left <= 0) controller.close();
      },
    });
    return new Response(body, { headers: { "content-length": `${bytes}` } });
  }
  let received = 0;
  for await (const chunk of request.body ?? []) received += chunk.length;
  return new Response(`${received}`);
}

async function download(
  port: number,
  { bytes, pauseMs = 0 }: { readonly bytes: number; readonly pauseMs?: number },
): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await send(connection, head(`GET /down/${bytes}`));
  const buffer = new Uint8Array(262_144);
  let received = -1; // the head is not complete
  let pausesMs = pauseMs;
  let text = "";
  while (received < bytes) {
    const length = await connection.read(buffer);
    if (length === null) throw new Error(`the download ended after ${received} of ${bytes} bytes`);
    if (received >= 0) received += length;
    else {
      text += new TextDecoder("latin1").decode(buffer.subarray(0, length));
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) continue;
      if (!POLICED.test(text)) throw new Error(`the hooks did not run: ${text.slice(0, end)}`);
      received = text.length - end - 4;
    }
    if (pausesMs > 0 && received > bytes / 2) {
      await new Promise((resolve) => setTimeout(resolve, pausesMs));
      pausesMs = 0;
    }
  }
}

async function upload(port: number, bytes: number): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await send(connection, head(`POST /up`, `content-length: ${bytes}`));
  for (let sent = 0; sent < bytes; sent += CHUNK.length) await send(connection, CHUNK);
  let text = "";
  const buffer = new Uint8Array(4096);
  while (!text.endsWith(`\r\n\r\n${bytes}`)) {
    const length = await connection.read(buffer);
    if (length === null) throw new Error(`the upload was answered with: ${text}`);
    text += new TextDecoder().decode(buffer.subarray(0, length));
  }
  if (!POLICED.test(text)) throw new Error(`the hooks did not run: ${text}`);
}

function head(target: string, ...fields: string[]): Uint8Array {
  const lines = [`${target} HTTP/1.1`, "host: bench", "x-tenant: bench", ...fields];
  return new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
}

async function send(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}
