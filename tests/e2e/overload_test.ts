/** More is offered than can be served: what is refused is refused early, and what is admitted does not wait for it. */
import { assert, assertEquals } from "@std/assert";
import { Client } from "../soak/load.ts";
import { ask, assertPoliced, errorOf, POLICY } from "../support/failure.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";

const IN_FLIGHT = 10;

Deno.test("twice of what maxInFlight admits: half is served, half is a 503 with Retry-After while the others still wait", async () => {
  const arrived = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  let seen = 0;
  await using upstream = echoUpstream({
    async respond() {
      if (++seen === IN_FLIGHT) arrived.resolve();
      await held.promise;
      return undefined;
    },
  });
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      maxInFlight: IN_FLIGHT,
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: { "001-policy.ts": POLICY },
  });
  const admitted = Array.from({ length: IN_FLIGHT }, () => ask(gateway, "/admitted"));
  await arrived.promise;
  const refused = await Promise.all(
    Array.from(
      { length: IN_FLIGHT },
      () => ask(gateway, "/refused", { method: "POST", body: "x" }),
    ),
  );
  for (const answer of refused) {
    assertEquals([answer.status, answer.headers.get("retry-after")], [503, "1"]);
    assertEquals(errorOf(answer).code, "overloaded");
  }
  held.resolve();
  assertEquals(
    (await Promise.all(admitted)).map(({ status }) => status),
    Array(IN_FLIGHT).fill(200),
  );
  assertEquals(upstream.seen.length, IN_FLIGHT, "what is refused costs the upstream nothing");
  assertPoliced(upstream);
  const lines = () => gateway.logs.filter((line) => line.durationMs !== undefined);
  await gateway.until(() => lines().length === 2 * IN_FLIGHT, { what: "a line for each request" });
  const ofRefused = lines().filter((line) => line.error === "overloaded" && line.status === 503);
  assertEquals(ofRefused.length, IN_FLIGHT);
  assertEquals(gateway.logs.filter(({ level }) => level === "error"), []);
});

/** An upstream that works on so many at a time; the others wait. */
const WORKERS = 8;
const WORK_MS = 50;
const CAPACITY_PER_SECOND = WORKERS * 1000 / WORK_MS;
const OFFERED_MS = 3000;
const TICK_MS = 25;
/** Two rounds of work and a great deal for a busy machine; without a limit the last requests would wait for seconds. */
const BOUND_MS = 1200;

Deno.test("twice of what the upstream can do, for 3 s: what maxInFlight admits is answered in a bounded time", async () => {
  let free = WORKERS;
  const queue: (() => void)[] = [];
  await using upstream = echoUpstream({
    async respond() {
      if (free > 0) free--;
      else await new Promise<void>((resolve) => queue.push(resolve));
      await new Promise((resolve) => setTimeout(resolve, WORK_MS));
      const next = queue.shift();
      if (next) next();
      else free++;
      return undefined;
    },
  });
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      maxInFlight: 2 * WORKERS,
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: { "001-policy.ts": POLICY },
  });
  await gateway.until(async () => (await fetch(`${gateway.url}/warm`)).text(), {
    what: "an answer",
  });
  const idle: Client[] = [];
  const times: Record<string, number[]> = {};
  const offer = async () => {
    const client = idle.pop() ?? new Client(gateway.port);
    const askedAt = performance.now();
    const { outcome } = await client.ask("/x");
    (times[outcome] ??= []).push(performance.now() - askedAt);
    idle.push(client);
  };
  const running: Promise<void>[] = [];
  const startedAt = performance.now();
  for (let elapsedMs = 0; elapsedMs < OFFERED_MS; elapsedMs = performance.now() - startedAt) {
    while (running.length < elapsedMs / 1000 * 2 * CAPACITY_PER_SECOND) running.push(offer());
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  await Promise.all(running);
  for (const client of idle) client[Symbol.dispose]();

  const { "200": admitted = [], "503 overloaded": refused = [], ...others } = times;
  assertEquals(others, {});
  const slowest = Math.max(...admitted);
  const told = `${admitted.length} admitted, slowest ${
    slowest.toFixed(0)
  } ms; ${refused.length} refused`;
  console.log(told);
  assert(admitted.length > CAPACITY_PER_SECOND / 2, told);
  assert(refused.length > 0, told);
  assert(slowest < BOUND_MS, told);
});
