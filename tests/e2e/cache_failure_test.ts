import { assert, assertEquals } from "@std/assert";
import {
  cacheGateway,
  type CacheStoreServer,
  cacheStoreServer,
  type RemoteDriver,
} from "../support/cache_gateway.ts";
import { ask, assertAllServed, duringLoad, errorOf, logOf } from "../support/failure.ts";
import type { TestGateway } from "../support/gateway.ts";
import { NO_REDIS } from "../support/redis_server.ts";
import { selfSigned } from "../support/self_signed.ts";

function cacheTest(
  name: string,
  test: (store: CacheStoreServer, driver: RemoteDriver) => Promise<void>,
): void {
  for (const driver of ["redis", "upstash"] as const) {
    Deno.test({
      name: `cache (${driver}): ${name}${NO_REDIS ?? ""}`,
      ignore: NO_REDIS !== undefined,
      async fn() {
        await using store = await cacheStoreServer(driver);
        await test(store, driver);
      },
    });
  }
}

const countOf = async (gateway: TestGateway) =>
  (await ask(gateway, "/counts")).headers.get("x-count");

const works = (gateway: TestGateway) =>
  gateway.until(() => countOf(gateway), { what: "the cache to work" });

/** How often the log said it. */
const said = (gateway: TestGateway, message: string) =>
  gateway.logs.filter((line) => line.message === message).length;

cacheTest(
  "the store dies; a plugin that catches it goes on, another is a hook error; it is back without a restart",
  async (store) => {
    await using running = await cacheGateway(store);
    const { gateway } = running;
    assertEquals(await countOf(gateway), "1");
    assertEquals((await ask(gateway, "/strict")).status, 200);

    await store.kill();
    for (let round = 0; round < 5; round++) {
      const caught = await ask(gateway, "/counts");
      assertEquals([caught.status, caught.headers.get("x-cache")], [
        200,
        "the cache is not reachable",
      ]);
    }
    const uncaught = await ask(gateway, "/strict");
    assertEquals(uncaught.status, 500);
    assertEquals(errorOf(uncaught).code, "plugin_error");
    await logOf(gateway, uncaught, "hook failed; treating as reject");
    assertEquals(said(gateway, "the cache is not reachable"), 1);

    await store.restart();
    await works(gateway);
    await gateway.waitForLog((line) => line.message === "the cache is reachable again");
    assertEquals((await ask(gateway, "/strict")).status, 200);
    assertEquals(said(gateway, "the cache is not reachable"), 1);
  },
);

cacheTest("the store dies and comes back under load; no request is lost", async (store) => {
  await using running = await cacheGateway(store);
  const { gateway } = running;
  await works(gateway);
  const { others } = await duringLoad(gateway, async () => {
    await store.kill();
    await gateway.until(async () => await countOf(gateway) === null, { what: "calls to fail" });
    await store.restart();
    await works(gateway);
  }, { path: "/counts", clients: 20 });
  assertAllServed(others);
  assert(others.some((each) => each.headers.has("x-count")));
  assert(others.some((each) => each.headers.has("x-cache")));
  assertEquals(gateway.stderr, "");
});

cacheTest(
  "the store hangs; calls end after timeoutMs, and work again when it goes on",
  async (store) => {
    await using running = await cacheGateway(store);
    const { gateway } = running;
    await works(gateway);
    store.redis.pause();
    try {
      const answer = await ask(gateway, "/counts");
      assertEquals([answer.status, answer.headers.get("x-cache")], [
        200,
        "the cache did not answer within 80 ms",
      ]);
      assert(answer.durationMs < 3000, `${answer.durationMs} ms`);
    } finally {
      store.redis.resume();
    }
    await works(gateway);
  },
);

cacheTest("the gateway starts without the store, and uses it when it comes", async (store) => {
  await store.kill();
  await using running = await cacheGateway(store);
  const { gateway } = running;
  const answer = await ask(gateway, "/counts");
  assertEquals([answer.status, answer.headers.get("x-cache")], [200, "the cache is not reachable"]);
  await store.restart();
  await works(gateway);
  assertEquals(gateway.stderr, "");
});

cacheTest(
  "what onLoad asks of the store is answered, although the connection has only begun",
  async (store) => {
    await using running = await cacheGateway(store, {
      config: { services: { cache: { ...store.cache, timeoutMs: 5000 } } },
      plugins: {
        "003-load.ts": `let seen;
        export default {
          async onLoad(init) {
            await init.services.cache.set("loaded", true);
            seen = await init.services.cache.get("loaded");
          },
          beforeRequest(ctx) { ctx.reject(418, String(seen)); },
        };`,
      },
    });
    const answer = await ask(running.gateway, "/more/");
    assertEquals([answer.status, errorOf(answer).message], [418, "true"]);
  },
);

const tls = await selfSigned("localhost");
const noTls = NO_REDIS ?? (tls ? undefined : " (ignored: no openssl on this machine)");

Deno.test({
  name: `cache (redis): rediss speaks TLS, and only with a store whose certificate is trusted${
    noTls ?? ""
  }`,
  ignore: noTls !== undefined,
  async fn() {
    await using store = await cacheStoreServer("redis");
    const { cert = "", key = "" } = tls ?? {};
    using front = Deno.listenTls({ hostname: "localhost", port: 0, cert, key });
    void forward(front, store.redis.port);
    const url = new URL(store.env.CACHE_URL ?? "");
    const env = {
      CACHE_URL: `rediss://:${url.password}@localhost:${front.addr.port}/2`,
      DENO_CERT: await Deno.makeTempFile(),
    };
    try {
      await Deno.writeTextFile(env.DENO_CERT, cert);
      {
        await using trusting = await cacheGateway(store, { env });
        await works(trusting.gateway);
        assert(String(await store.redis.command("INFO", "keyspace")).includes("db2:"));
      }
      await using strict = await cacheGateway(store, { env: { ...env, DENO_CERT: "" } });
      const { headers } = await ask(strict.gateway, "/counts");
      assertEquals(headers.get("x-cache"), "the cache is not reachable");
      const { reason } = await strict.gateway.waitForLog((line) =>
        line.message === "the cache is not reachable"
      );
      assert(/certificate/.test(String(reason)), String(reason));
    } finally {
      await Deno.remove(env.DENO_CERT);
    }
  },
});

/** Takes TLS off what comes in, and passes it on. */
async function forward(front: Deno.TlsListener, port: number): Promise<void> {
  try {
    for await (const conn of front) {
      const inner = await Deno.connect({ hostname: "127.0.0.1", port });
      // Either side may break off: a refused handshake above all.
      void conn.readable.pipeTo(inner.writable).catch(() => {});
      void inner.readable.pipeTo(conn.writable).catch(() => {});
    }
  } catch {
    // closed, at the end of the test
  }
}
