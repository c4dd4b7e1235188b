/** Attack 27: what arrives on the plugin socket may be anything. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { Connection } from "../../protocol/connection.ts";
import { decodeToHost, decodeToIsolate, PROTOCOL_VERSION } from "../../protocol/messages.ts";
import { encodeFrame } from "../../protocol/frame.ts";
import { attackTest } from "../support/attack_rows.ts";
import { ask, errorOf, hostProgram, POLICY } from "../support/failure.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { type LogLine, type TestGateway, testGateway } from "../support/gateway.ts";
import { scrape, total } from "../support/metrics.ts";

const BROKE_PROTOCOL = "a plugin connection broke the protocol";
const SOME_SECRET = "0".repeat(64);

function socketPath(gateway: TestGateway): string {
  const run = join(gateway.dir, "run");
  for (const { name } of Deno.readDirSync(run)) {
    if (name.startsWith("conduit-")) return join(run, name, "host.sock");
  }
  throw new Error("there is no private folder");
}

/** A length, then what stands in its place. */
function frame(length: number, content: string | Uint8Array = ""): Uint8Array {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const framed = new Uint8Array(4 + bytes.length);
  new DataView(framed.buffer).setUint32(0, length);
  framed.set(bytes, 4);
  return framed;
}

const framed = (text: string) => frame(text.length, text);

function hello(changed: Readonly<Record<string, unknown>> = {}): Uint8Array {
  return encodeFrame({
    type: "hello",
    protocol: PROTOCOL_VERSION,
    role: "host",
    generation: 0,
    pid: 1,
    version: "0.1.0",
    secret: SOME_SECRET,
    ...changed,
  });
}

function nested(depth: number): string {
  return "[".repeat(depth) + "]".repeat(depth);
}

/** What a stranger sends, what the log says of it, and what the stranger is told. */
const STRANGERS: readonly {
  readonly what: string;
  readonly send: Uint8Array;
  readonly reason: RegExp;
  readonly told?: RegExp;
  /** It ends its side without waiting for an answer. */
  readonly leaves?: true;
}[] = [
  { what: "a frame of length 0", send: frame(0), reason: /^a frame has length 0$/ },
  {
    what: "a frame of 4 GiB",
    send: frame(0xffff_ffff, "{"),
    reason: /^a frame of 4294967295 bytes is over the limit of 8388608$/,
  },
  {
    what: "bad UTF-8",
    send: frame(3, new Uint8Array([0x7b, 0xff, 0x7d])),
    reason: /^a frame is not UTF-8 JSON$/,
  },
  { what: "no JSON", send: framed("hello"), reason: /^a frame is not UTF-8 JSON$/ },
  { what: "a list", send: framed("[]"), reason: /^a frame is not a JSON object$/ },
  { what: "10,000 levels", send: framed(nested(10_000)), reason: /^a frame is not a JSON object$/ },
  {
    what: "a million levels under a key",
    send: framed(`{"type":"hello","role":${nested(1_000_000)}}`),
    reason: /^message\.role is not "host" or "isolate"/,
  },
  {
    what: "another message than hello",
    send: encodeFrame({ type: "pong", id: 1, started: {} }),
    reason: /^message\.type is not "hello"$/,
  },
  {
    what: "an unknown key",
    send: hello({ __proto__x: 1 }),
    reason: /^message has an unknown key "__proto__x"$/,
  },
  {
    what: "a wrong secret",
    send: hello(),
    reason: /^the secret is not the one this gateway gave out$/,
    told: /the secret is not the one/,
  },
  {
    what: "another protocol version",
    send: hello({ protocol: 999 }),
    reason: /^protocol version 999 is not 1; use a plugin host of the same Conduit version$/,
    told: /protocol version 999 is not 1/,
  },
  {
    what: "half a frame",
    send: frame(100, `{"type":`),
    reason: /^the connection ended within a frame, after 12 bytes of it$/,
    leaves: true,
  },
];

async function lastWords(conn: Deno.UnixConn): Promise<string> {
  try {
    return await new Response(conn.readable).text();
  } catch {
    return ""; // reset: it had not read all of ours
  }
}

function nextProblem(gateway: TestGateway, from: number): Promise<LogLine> {
  return gateway.waitForLog((line) => line.message === BROKE_PROTOCOL, { from });
}

attackTest(
  "attack 27: a stranger on the plugin socket is dropped with a reason, whatever it says, and the gateway goes on serving",
  { 27: STRANGERS },
  async (strangers, test) => {
    await using upstream = echoUpstream();
    await using gateway = await testGateway({
      config: { routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: { "001-policy.ts": POLICY },
    });
    const path = socketPath(gateway);
    const hosts = await gateway.hostPids();
    assertEquals((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
    assertEquals((Deno.statSync(join(path, "..")).mode ?? 0) & 0o777, 0o700);
    using silent = await Deno.connect({ transport: "unix", path });

    for (const { what, send, reason, told, leaves } of strangers) {
      await test.step(what, async () => {
        const from = gateway.logs.length;
        using conn = await Deno.connect({ transport: "unix", path });
        for (let at = 0; at < send.length;) at += await conn.write(send.subarray(at));
        if (leaves) await conn.closeWrite();
        const answer = await lastWords(conn);
        if (told) assertMatch(answer, told);
        assertMatch(String((await nextProblem(gateway, from)).reason), reason);
        assertEquals((await ask(gateway, "/")).status, 200);
      });
    }

    await test.step("nothing at all", async () => {
      const from = gateway.logs.length;
      assertEquals(await lastWords(silent), "");
      assertEquals((await nextProblem(gateway, from)).reason, "no hello within 5000 ms");
    });
    assertEquals(await gateway.hostPids(), hosts);
    assert(upstream.seen.every((each) => each.headers["x-policed"] === "yes"));
  },
);

/** A gateway whose plugin host is this test: it says hello for the host and one isolate, and answers hooks as told. */
async function rogueHost(
  options: { readonly config: Readonly<Record<string, unknown>> },
) {
  const program = await hostProgram(
    `IFS= read -r line; printf %s "$line" > "$(dirname "$0")/init.part"
     mv "$(dirname "$0")/init.part" "$(dirname "$0")/init.json"; exec cat > /dev/null`,
  );
  const gateway = await testGateway({ ...options, env: program.env, mayFail: true });
  const text = await gateway.until(
    () => Deno.readTextFile(join(program.dir, "init.json")).catch(() => ""),
    { what: "the host's first line" },
  );
  const init: { readonly socket: string; readonly secret: string } = JSON.parse(text);
  const connect = async (identity: Readonly<Record<string, unknown>>) => {
    const socket = await Deno.connect({ transport: "unix", path: init.socket });
    const connection = new Connection<object>(socket);
    await socket.write(hello({ secret: init.secret, ...identity }));
    return connection;
  };
  return {
    gateway,
    connect,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await program[Symbol.asyncDispose]();
    },
  };
}

/** What an isolate with the right secret answers to a hook. */
const ANSWERS: readonly {
  readonly what: string;
  readonly answer: (id: number) => object;
  readonly reason: RegExp;
}[] = [
  {
    what: "an id that was never sent",
    answer: (id) => result(id + 1000),
    reason: /^a result for hook \d+ of "001-a", which was not asked for$/,
  },
  {
    what: "another plugin's name",
    answer: (id) => ({ ...result(id), plugin: "002-b" }),
    reason: /^a result for hook \d+ of "002-b", which was not asked for$/,
  },
  {
    what: "an answer that it gave before",
    answer: (id) => result(id - 1),
    reason: /^a result for hook \d+ of "001-a", which was not asked for$/,
  },
  {
    what: "a second hello",
    answer: () => ({ ...JSON.parse(helloText()) }),
    reason: /^a second hello$/,
  },
  {
    what: "no message of this protocol",
    answer: () => ({ type: "grant", all: true }),
    reason: /^message\.type is not /,
  },
  {
    what: "an action that does not exist",
    answer: (id) => ({ ...result(id), action: "allow" }),
    reason: /^message\.action is not /,
  },
  {
    what: "a state that nests 10,000 levels",
    answer: (id) => ({
      ...result(id),
      action: "modify",
      patch: { state: { deep: JSON.parse(nested(10_000)) } },
    }),
    reason: /nests deeper than 64 levels$/,
  },
];

function result(id: number): object {
  return { type: "result", id, plugin: "001-a", action: "continue", durationMs: 1 };
}

function helloText(): string {
  return new TextDecoder().decode(hello().subarray(4));
}

attackTest(
  "attack 27: an isolate that breaks the protocol is dropped and replaced, its hook fails, and the gateway goes on",
  { 27: ANSWERS },
  async (answers, test) => {
    await using upstream = echoUpstream();
    await using rogue = await rogueHost({
      config: {
        pluginPoolSize: 1,
        hookTimeoutMs: 10_000,
        hardCeilingMs: 10_000,
        routes: [{ path: "/*", upstream: upstream.url }],
      },
    });
    const { gateway, connect } = rogue;
    const plugins = [{
      name: "001-a",
      file: "001-a.ts",
      hooks: ["beforeRequest"],
      readsBodies: false,
    }];
    const pool = (isolate: number) => ({
      type: "pool",
      generation: 1,
      plugins,
      isolates: [isolate],
    });
    let answer: (id: number) => object = result;
    let isolates = 0;
    const addIsolate = async () => {
      const isolate = ++isolates;
      const connection = await connect({ role: "isolate", generation: 1, isolate });
      let begun = 0;
      void connection.receive((message) => {
        const decoded = decodeToIsolate(message);
        if (decoded.type !== "hook") return;
        begun = decoded.id;
        connection.send(answer(decoded.id));
      });
      return { isolate, begun: () => begun };
    };
    const host = await connect({});
    let current = await addIsolate();
    host.send(pool(current.isolate));
    void host.receive(async (message) => {
      const decoded = decodeToHost(message);
      if (decoded.type === "ping") {
        host.send({
          type: "pong",
          id: decoded.id,
          started: { [current.isolate]: current.begun() },
        });
      }
      if (decoded.type !== "replace") return;
      const { isolate, reason } = decoded;
      host.send({ type: "isolate_lost", isolate, reason, started: current.begun() });
      current = await addIsolate();
      host.send(pool(current.isolate));
    });
    await gateway.listening();
    assertEquals((await ask(gateway, "/before")).status, 200);

    for (const { what, answer: wrong, reason } of answers) {
      await test.step(what, async () => {
        const from = gateway.logs.length;
        answer = wrong;
        const failed = await ask(gateway, "/wrong");
        assertEquals([failed.status, errorOf(failed).code], [500, "plugin_error"]);
        assertMatch(String((await nextProblem(gateway, from)).reason), reason);
        answer = result;
        assertEquals((await ask(gateway, "/right")).status, 200);
      });
    }
    assert(upstream.seen.every((each) => each.target !== "/wrong"));
    const page = await scrape(gateway);
    const dropped = (reason: string) =>
      total(page, "conduit_hook_answers_dropped_total", { reason });
    assertEquals(["unknown", "double", "late"].map(dropped), [2, 1, 0]);

    await test.step("a second hello on the host's own connection ends that host", async () => {
      const from = gateway.logs.length;
      host.send(JSON.parse(helloText()));
      assertEquals((await nextProblem(gateway, from)).reason, "a second hello");
      await gateway.waitForLog((line) => line.message === "the plugin host died", { from });
      assertEquals((await ask(gateway, "/away")).status, 503);
    });
  },
);
