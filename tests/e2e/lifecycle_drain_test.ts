import { assert, assertEquals, assertRejects } from "@std/assert";
import { isRunning, type TestGateway, testGateway } from "../support/gateway.ts";

const PLUGINS = {
  "001-mark.ts": `export default {
    readsBodies: false,
    afterResponse(ctx) { ctx.response.setHeader("x-policed", "yes"); },
  };`,
};

/** An upstream whose answers a test lets go on: `/slow` waits, `/stream` sends a first piece and waits. */
function heldUpstream() {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const arrived: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    arrived.push(pathname);
    if (pathname === "/stream") return new Response(twoPieces(released));
    if (pathname === "/slow") await released;
    return new Response(await request.text().catch(() => "cut") || pathname);
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    arrived,
    released,
    release,
    async [Symbol.asyncDispose]() {
      release();
      await server.shutdown();
    },
  };
}

/** A promise that is looked at later, also where the test fails before that. */
function later<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

function twoPieces(released: Promise<void>): ReadableStream<Uint8Array> {
  return ReadableStream.from((async function* () {
    yield new TextEncoder().encode("first,");
    await released;
    yield new TextEncoder().encode("second");
  })());
}

function gatewayFor(
  upstream: { readonly url: string },
  changes: Readonly<Record<string, unknown>> = {},
): Promise<TestGateway> {
  const config = { routes: [{ path: "/*", upstream: upstream.url }], ...changes };
  return testGateway({ plugins: PLUGINS, config });
}

/** What is left of a gateway that was to end in good order. */
async function assertAllGone(gateway: TestGateway, hosts: readonly number[]): Promise<void> {
  assertEquals((await gateway.status).code, 0, gateway.describe());
  for (const pid of hosts) assert(!await isRunning(pid), `host ${pid} still runs`);
  assertEquals([...Deno.readDirSync(`${gateway.dir}/run`)], [], "the private folder is gone");
  assertEquals(gateway.stderr, "");
}

const isDraining = ({ message }: { readonly message: string }) => message === "draining";

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`${signal}: running requests end, new connections are refused, both processes end, exit 0`, async () => {
    await using upstream = heldUpstream();
    await using gateway = await gatewayFor(upstream);
    const hosts = await gateway.hostPids();
    assertEquals(hosts.length, 1);
    const slow = later(gateway.fetch("/slow"));
    const download = await gateway.fetch("/stream");
    await gateway.until(() => upstream.arrived.length === 2, { what: "the requests upstream" });

    gateway.signal(signal);
    assertEquals((await gateway.waitForLog(isDraining)).inFlight, 2);
    await gateway.until(() => refused(gateway.port), { what: "new connections to be refused" });
    const readiness = await fetch(`${gateway.adminUrl}/readyz`);
    assertEquals([readiness.status, (await readiness.json()).reason], [503, "shutting down"]);

    upstream.release();
    const answer = await slow;
    assertEquals([answer.status, answer.headers.get("x-policed")], [200, "yes"]);
    assertEquals(await answer.text(), "/slow");
    assertEquals(await download.text(), "first,second");
    await assertAllGone(gateway, hosts);
    assertEquals(gateway.logs.at(-1)?.message, "stopped");
  });
}

Deno.test("a running upload ends too; until it has, new requests get 503 and no upstream", async () => {
  await using upstream = heldUpstream();
  await using gateway = await gatewayFor(upstream);
  const hosts = await gateway.hostPids();
  const body = twoPieces(upstream.released);
  const upload = later(gateway.fetch("/upload", { method: "POST", body }));
  const slow = later(gateway.fetch("/slow"));
  await gateway.until(() => upstream.arrived.length === 2, { what: "the requests upstream" });
  gateway.signal("SIGTERM");
  assertEquals((await gateway.waitForLog(isDraining)).inFlight, 2);
  const late = await gateway.fetch("/late");
  assertEquals([late.status, late.headers.get("retry-after")], [503, "1"]);
  const { error } = await late.json();
  assertEquals([error.code, error.traceId], ["overloaded", late.headers.get("x-request-id")]);
  assertEquals(late.headers.get("cache-control"), "no-store", "as each of the gateway's errors");
  upstream.release();
  assertEquals(await (await upload).text(), "first,second");
  assertEquals(await (await slow).text(), "/slow");
  await assertAllGone(gateway, hosts);
  assert(!upstream.arrived.includes("/late"));
});

Deno.test("idle keep-alive connections do not hold up the end, and neither does the grace that nobody needs", async () => {
  await using upstream = heldUpstream();
  await using gateway = await gatewayFor(upstream, { shutdownGraceMs: 60_000 });
  const hosts = await gateway.hostPids();
  const idle = await Promise.all(["/a", "/b"].map(async (path) => {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: gateway.port });
    await conn.write(new TextEncoder().encode(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`));
    assert(await conn.read(new Uint8Array(65_536)));
    return conn;
  }));
  const slowHead = await Deno.connect({ hostname: "127.0.0.1", port: gateway.port });
  await slowHead.write(new TextEncoder().encode("GET / HT"));
  const silent = await Deno.connect({ hostname: "127.0.0.1", port: gateway.port });
  const startedAt = performance.now();
  gateway.signal("SIGTERM");
  await assertAllGone(gateway, hosts);
  assert(performance.now() - startedAt < 15_000);
  for (const conn of [...idle, slowHead, silent]) conn.close();
});

for (const withUpload of [false, true]) {
  const what = withUpload ? "an upload" : "a request";
  Deno.test(`${what} longer than shutdownGraceMs is cut and logged, and the end comes in time with exit 0`, async () => {
    await using upstream = heldUpstream();
    await using gateway = await gatewayFor(upstream, { shutdownGraceMs: 300 });
    const hosts = await gateway.hostPids();
    const cuts = ["/slow", ...(withUpload ? ["/upload"] : [])].map((path) => {
      const body = path === "/upload" ? twoPieces(upstream.released) : null;
      const init = body ? { method: "POST", body } : {};
      return later(assertRejects(async () => await (await gateway.fetch(path, init)).text()));
    });
    const download = await gateway.fetch("/stream");
    cuts.push(later(assertRejects(() => download.text())));
    await gateway.until(() => upstream.arrived.length === cuts.length, { what: "the requests" });
    const startedAt = performance.now();
    gateway.signal("SIGTERM");
    await Promise.all(cuts);
    await assertAllGone(gateway, hosts);
    const tookMs = performance.now() - startedAt;
    assert(tookMs >= 300 && tookMs < 10_000, `${tookMs} ms`);
    const line = gateway.logs.find((each) => each.message.includes("are cut"));
    assertEquals([line?.level, line?.inFlight], ["warn", cuts.length]);
    const access = gateway.logs.filter((each) => typeof each.status === "number");
    assertEquals(access.map((each) => each.path).sort(), upstream.arrived.toSorted());
    assert(access.every((each) => each.cut === true || each.status === 499), gateway.describe());
  });
}

Deno.test("shutdownGraceMs 0 cuts at once", async () => {
  await using upstream = heldUpstream();
  await using gateway = await gatewayFor(upstream, { shutdownGraceMs: 0 });
  const hosts = await gateway.hostPids();
  const cut = later(assertRejects(async () => await (await gateway.fetch("/slow")).text()));
  await gateway.until(() => upstream.arrived.length === 1, { what: "the request upstream" });
  gateway.signal("SIGTERM");
  await cut;
  await assertAllGone(gateway, hosts);
});

Deno.test("a second signal ends at once, whatever still runs, and leaves no process behind", async () => {
  await using upstream = heldUpstream();
  await using gateway = await gatewayFor(upstream, { shutdownGraceMs: 60_000 });
  const hosts = await gateway.hostPids();
  const cut = later(assertRejects(async () => await (await gateway.fetch("/slow")).text()));
  await gateway.until(() => upstream.arrived.length === 1, { what: "the request upstream" });
  gateway.signal("SIGINT");
  await gateway.waitForLog(isDraining);
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 70);
  assertEquals(gateway.logs.at(-1)?.message, "stopped at once");
  await cut;
  await gateway.until(async () => !await isRunning(hosts[0] ?? 0), { what: "the host to end" });
});

async function refused(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return false;
  } catch (error) {
    return error instanceof Deno.errors.ConnectionRefused;
  }
}
