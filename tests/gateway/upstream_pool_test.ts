import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type RawConn, rawUpstream } from "../support/raw_upstream.ts";
import { OK, recordingUpstream } from "../support/recording_upstream.ts";
import { selfSigned } from "../support/self_signed.ts";
import {
  bodyText,
  disposableClient,
  failureOf,
  until,
  upstreamRequest,
} from "../support/upstream_request.ts";

/** Answers every request after `ready`, for as long as the connection lasts. */
function okUpstream(ready: () => boolean = () => true) {
  return recordingUpstream(() => until(ready).then(() => OK));
}

const LEAVE: Record<string, (conn: RawConn) => Promise<void>> = {
  "ends": (conn) => conn.endSending(),
  "speaks unasked": (conn) => conn.send("HTTP/1.1 408 Late\r\n\r\n"),
};
for (const [what, act] of Object.entries(LEAVE)) {
  Deno.test(`upstream pool drops an idle connection that ${what}, so a POST gets a fresh one`, async () => {
    let idle = false;
    await using upstream = rawUpstream(async (conn) => {
      await conn.readRequest();
      await conn.send(OK);
      await until(() => idle);
      if (conn.index === 0) await act(conn);
      await conn.ended();
    });
    using client = disposableClient();
    await client.send(upstream.origin, upstreamRequest());
    idle = true;
    await upstream.connections[0]?.left; // The client has noticed: nothing else ends the connection.
    const response = await client.send(upstream.origin, upstreamRequest({ method: "POST" }));
    assertEquals([response.status, response.reused, response.retried], [200, false, false]);
  });
}

Deno.test("upstream pool closes a connection that was idle for idleTimeoutMs", async () => {
  await using upstream = okUpstream();
  using client = disposableClient({ idleTimeoutMs: 50 });
  await client.send(upstream.origin, upstreamRequest());
  await upstream.connections[0]?.left;
  const response = await client.send(upstream.origin, upstreamRequest({ method: "POST" }));
  assertEquals(response.reused, false);
});

Deno.test("upstream pool keeps at most maxIdlePerOrigin connections, and uses the last one first", async () => {
  await using upstream = okUpstream(() => upstream.requests.length >= 3);
  using client = disposableClient({ maxIdlePerOrigin: 2 });
  const send = () => client.send(upstream.origin, upstreamRequest());
  await Promise.all([send(), send(), send()]);
  assertEquals(upstream.connections.length, 3);
  await Promise.race(upstream.connections.map((conn) => conn.left));
  const before = upstream.connections.map((conn) => conn.received.length);
  await send();
  await send();
  const after = upstream.connections.filter((conn, i) => conn.received.length > before[i]!);
  assertEquals([after.length, upstream.connections.length], [1, 3]);
});

Deno.test("upstream pool does not share connections between origins that differ in the dialled address", async () => {
  await using upstream = okUpstream();
  using client = disposableClient();
  const named = { ...upstream.origin, hostname: "localhost", address: "127.0.0.1" };
  await client.send(named, upstreamRequest());
  const other = await client.send({ ...named, address: undefined }, upstreamRequest());
  const again = await client.send(named, upstreamRequest());
  assertEquals([other.reused, again.reused, upstream.connections.length], [false, true, 2]);
});

Deno.test("upstream client closed while a request runs lets it finish and keeps no connection", async () => {
  let ready = false;
  await using upstream = okUpstream(() => ready);
  using client = disposableClient();
  const pending = client.send(upstream.origin, upstreamRequest());
  await until(() => upstream.requests.length === 1);
  client.close();
  ready = true;
  assertEquals(await bodyText(await pending), "ok");
  await upstream.connections[0]?.left;
});

Deno.test("upstream client calls a refused port, a name that does not resolve and failed TLS unreachable", async () => {
  using client = disposableClient();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  await using plain = rawUpstream(async (conn) => {
    await conn.readExactly(1);
    await conn.send("HTTP/1.1 400 Not TLS\r\n\r\n");
  });
  for (
    const origin of [
      { protocol: "http:", hostname: "127.0.0.1", port },
      { protocol: "http:", hostname: "upstream.invalid", port: 80 },
      { ...plain.origin, protocol: "https:" },
    ] as const
  ) {
    const failure = await failureOf(client.send(origin, upstreamRequest()));
    assertEquals(failure, "unreachable", JSON.stringify(origin));
  }
});

const tls = await selfSigned("upstream.test");
const ignore = tls === undefined;
const why = ignore ? " (ignored: no openssl on this machine)" : "";

function tlsUpstream(handler: Parameters<typeof rawUpstream>[0]) {
  assert(tls !== undefined);
  return rawUpstream(handler, { tls });
}

Deno.test({
  name: `upstream client verifies TLS against the host name while it dials the address${why}`,
  ignore,
  async fn() {
    await using upstream = tlsUpstream(async (conn) => {
      for (;;) {
        await conn.readRequest();
        await conn.send(OK.slice(0, -1), "k");
      }
    });
    using client = disposableClient({ caCerts: [tls?.cert ?? ""] });
    const origin = { ...upstream.origin, hostname: "upstream.test", address: "127.0.0.1" };
    for (const reused of [false, true]) {
      const response = await client.send(origin, upstreamRequest());
      assertEquals([await bodyText(response), response.reused], ["ok", reused]);
    }
  },
});

Deno.test({
  name:
    `upstream client refuses a TLS upstream whose certificate is unknown or for another name${why}`,
  ignore,
  async fn() {
    await using upstream = tlsUpstream((conn) => conn.ended());
    using trusting = disposableClient({ caCerts: [tls?.cert ?? ""] });
    using strict = disposableClient();
    const origin = { ...upstream.origin, hostname: "upstream.test", address: "127.0.0.1" };
    const other = { ...origin, hostname: "other.test" };
    assertEquals(await failureOf(strict.send(origin, upstreamRequest())), "unreachable");
    assertEquals(await failureOf(trusting.send(other, upstreamRequest())), "unreachable");
  },
});

Deno.test("upstream client ends at once when aborted or too slow in the middle of a TLS handshake", async () => {
  const controller = new AbortController();
  await using upstream = rawUpstream(async (conn) => {
    await conn.readExactly(1);
    if (conn.index === 0) controller.abort();
    await conn.ended();
  });
  using client = disposableClient();
  const origin = { ...upstream.origin, protocol: "https:" } as const;
  const aborted = client.send(origin, upstreamRequest({ signal: controller.signal }));
  assertEquals(await failureOf(aborted), "aborted");
  const slow = await client.send(origin, upstreamRequest({ timeouts: { connectMs: 100 } }))
    .catch((error) => error);
  assertEquals(slow.failure, "timeout");
  assertStringIncludes(slow.message, "within 100 ms");
});
