import { assertEquals } from "@std/assert";
import { Balancer } from "../../gateway/upstream/balancer.ts";
import type { Origin } from "../../gateway/upstream/origin.ts";
import { rawUpstream } from "../support/raw_upstream.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import {
  bodyText,
  disposableClient,
  failureOf,
  upstreamRequest,
} from "../support/upstream_request.ts";

function named(name: string) {
  return recordingUpstream(() =>
    `HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\n\r\n${name}`
  );
}

/** A client that counts its connection attempts by port, and lets tests take ports down. */
function countingClient(down: Set<number>) {
  const dialled: number[] = [];
  const client = disposableClient({
    maxIdlePerOrigin: 0,
    connect(options) {
      dialled.push(options.port);
      // Port 1 on loopback: nothing listens there, so the refusal is the kernel's.
      return Deno.connect(down.has(options.port) ? { ...options, port: 1 } : options);
    },
  });
  return { client, dialled, [Symbol.dispose]: () => client.close() };
}

Deno.test("balancer takes its upstreams in turn", async () => {
  await using a = named("a");
  await using b = named("b");
  using client = disposableClient();
  const balancer = new Balancer([a.origin, b.origin]);
  let order = "";
  for (let i = 0; i < 4; i++) {
    order += await bodyText(await balancer.send(client, () => upstreamRequest()));
  }
  assertEquals(order, "abab");
});

Deno.test("balancer goes on to the next upstream, leaves a refusing one out, and probes it with one request", async () => {
  await using a = named("a");
  await using b = named("b");
  const down = new Set([a.port]);
  using counting = countingClient(down);
  let now = 1_000;
  const balancer = new Balancer([a.origin, b.origin], { clock: () => now, probeAfterMs: 100 });
  const send = async () =>
    await bodyText(await balancer.send(counting.client, () => upstreamRequest()));
  const dialsOfA = () => counting.dialled.filter((port) => port === a.port).length;

  for (let i = 0; i < 6; i++) assertEquals(await send(), "b");
  assertEquals(dialsOfA(), 1, "left out after its first refusal");

  now += 100;
  assertEquals(await Promise.all([send(), send(), send(), send()]), ["b", "b", "b", "b"]);
  assertEquals(dialsOfA(), 2, "one probe for many requests");
  assertEquals(await send(), "b");
  assertEquals(dialsOfA(), 2, "left out again after the probe was refused");

  down.clear();
  now += 100;
  const names = [await send(), await send(), await send(), await send()];
  assertEquals(names.filter((name) => name === "a").length, 2, "back in turn");
});

Deno.test("balancer passes on the body stream of a request that no upstream has seen", async () => {
  await using b = named("b");
  using counting = countingClient(new Set([2]));
  const refusing: Origin = { ...b.origin, port: 2 };
  const stream = new Blob(["hello"]).stream();
  const request = upstreamRequest({ method: "POST", body: { stream } });
  await new Balancer([refusing, b.origin]).send(counting.client, () => request);
  assertEquals(new TextDecoder().decode(b.requests[0]?.body), "hello");
});

Deno.test("balancer tries all upstreams where all are left out, and fails where all refuse", async () => {
  await using a = named("a");
  await using b = named("b");
  const down = new Set([a.port, b.port]);
  using counting = countingClient(down);
  const balancer = new Balancer([a.origin, b.origin], { clock: () => 1_000 });
  const send = () => balancer.send(counting.client, () => upstreamRequest());
  assertEquals(await failureOf(send()), "unreachable");
  down.clear();
  assertEquals((await send()).status, 200);
});

Deno.test("balancer does not send a request again that an upstream has seen", async () => {
  await using a = rawUpstream(async (conn) => void await conn.readRequest());
  await using b = named("b");
  using client = disposableClient();
  const balancer = new Balancer([a.origin, b.origin]);
  assertEquals(await failureOf(balancer.send(client, () => upstreamRequest())), "closed");
  assertEquals(b.connections.length, 0);
});
