/**
 * The upstream of the storm, a process of its own: `steady` always answers, `flappy` does what its mode says. It counts what arrives, and
 * above all what arrives without the mark that only the policy can make. Told by JSON lines on stdin, one answer a line.
 *
 * @module
 */

import { jsonLines } from "../../protocol/json_lines.ts";
import type { FlappyMode, UpstreamCommand, UpstreamCounts } from "./upstream.ts";
import { Wire, type WireHead } from "./wire.ts";

const SLOW_MS = 250;
const BIG_PIECE = new Uint8Array(65_536);
const BIG_PIECES = 16;
const CUT = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const [salt = ""] = Deno.args;
const counts = { requests: 0, unpoliced: 0, running: 0 };
const flappy = { mode: "up" as FlappyMode, conns: new Set<Deno.Conn>(), changed: deferred() };
let listener: Deno.Listener | undefined;

/** The routes that no request may pass without the policy's mark. */
const isClosed = (target: string) => !/^\/(?:open|plain)\//.test(target);

function isPoliced({ fields }: WireHead): boolean {
  const nonce = fields.get("x-nonce");
  return nonce !== undefined && fields.get("x-policed") === `${salt}.${nonce}`;
}

async function serve(conn: Deno.Conn, isFlappy: boolean): Promise<void> {
  using wire = new Wire(conn);
  if (isFlappy) flappy.conns.add(conn);
  try {
    for (let head; (head = await wire.head());) {
      const [, target = ""] = head.words;
      counts.requests++;
      if (isClosed(target) && !isPoliced(head)) counts.unpoliced++;
      counts.running++;
      try {
        await wire.body(head);
        if (!isFlappy || flappy.mode === "up") await answer(wire, target);
        else if (flappy.mode === "stall") await flappy.changed.promise;
        else return flappy.mode === "cut" ? await wire.send(CUT) : undefined;
      } finally {
        counts.running--;
      }
    }
  } catch {
    // The gateway has left, as its clients did.
  } finally {
    flappy.conns.delete(conn);
  }
}

async function answer(wire: Wire, target: string): Promise<void> {
  if (target.endsWith("/slow")) await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
  if (!target.endsWith("/big")) return await wire.send(OK);
  await wire.send(`HTTP/1.1 200 OK\r\ncontent-length: ${BIG_PIECE.length * BIG_PIECES}\r\n\r\n`);
  for (let sent = 0; sent < BIG_PIECES; sent++) {
    await wire.send(BIG_PIECE);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function accept(listening: Deno.Listener, isFlappy: boolean): Promise<void> {
  for await (const conn of listening) void serve(conn, isFlappy);
}

function setMode(mode: FlappyMode): void {
  flappy.mode = mode;
  flappy.changed.resolve();
  flappy.changed = deferred();
  for (const conn of flappy.conns) conn.close();
  flappy.conns.clear();
  if (mode === "down") {
    listener?.close();
    listener = undefined;
  } else if (!listener) {
    listener = Deno.listen({ hostname: "127.0.0.1", port: flappyPort });
    void accept(listener, true);
  }
}

function deferred(): PromiseWithResolvers<void> {
  return Promise.withResolvers<void>();
}

function say(line: object): void {
  console.log(JSON.stringify(line));
}

const steady = Deno.listen({ hostname: "127.0.0.1", port: 0 });
void accept(steady, false);
listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const flappyPort = (listener.addr as Deno.NetAddr).port;
void accept(listener, true);
say({ steady: (steady.addr as Deno.NetAddr).port, flappy: flappyPort });

for await (const command of jsonLines(Deno.stdin.readable)) {
  const { mode } = command as UpstreamCommand;
  if (mode) setMode(mode);
  say(counts satisfies UpstreamCounts);
}
Deno.exit(0);
