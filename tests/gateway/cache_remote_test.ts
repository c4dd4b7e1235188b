import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { openCache } from "../../gateway/cache/open.ts";
import type { LogFields } from "../../gateway/log.ts";
import { NO_REDIS, RedisServer } from "../support/redis_server.ts";
import { until } from "../support/until.ts";
import { REMOTE_DRIVERS, type RemoteStore, remoteStore } from "./cache_stores.ts";

// What stores over the network promise when the network, or the store, does not play along.

function remoteTest(
  name: string,
  test: (driver: typeof REMOTE_DRIVERS[number]) => Promise<void>,
): void {
  for (const driver of REMOTE_DRIVERS) {
    Deno.test({
      name: `${driver}: ${name}${NO_REDIS ?? ""}`,
      ignore: NO_REDIS !== undefined,
      fn: () => test(driver),
    });
  }
}

const works = (store: RemoteStore) => () => store.cache.set("works", 1).catch(() => false);

/** Every operation fails with `says`. */
async function assertFails({ cache }: RemoteStore, says: string): Promise<void> {
  const calls = [
    () => cache.get("k"),
    () => cache.set("k", "private-value", { onlyIfAbsent: true }),
    () => cache.delete("k"),
    () => cache.increment("k", { ttlSeconds: 5 }),
    () => cache.increment("k"),
    () => cache.expire("k", 5),
  ];
  for (const call of calls) assertEquals((await assertRejects(call, Error)).message, says);
}

/** Of the log: the messages, after a look that nothing private is in the lines. */
function messagesOf({ lines, secret }: RemoteStore): string[] {
  const text = JSON.stringify(lines);
  for (const hidden of [secret, encodeURIComponent(secret), "private-value"]) {
    assert(!text.includes(hidden), `${hidden} is in the log: ${text}`);
  }
  return lines.map((each) => `${each.level} ${each.message}`);
}

const AWAY = "warn the cache is not reachable";
const BACK = "info the cache is reachable again";

remoteTest(
  "a store that dies fails every call at once, and works again when it is back; the log says each once",
  async (driver) => {
    await using store = await remoteStore(driver);
    await store.cache.set("k", 1);
    await (store.bridge ? store.bridge.refuse() : store.redis.kill());
    const startedAt = performance.now();
    for (let round = 0; round < 5; round++) await assertFails(store, "the cache is not reachable");
    assert(performance.now() - startedAt < 4000, "the calls waited for something");
    assertEquals(messagesOf(store), [AWAY]);
    const { store: address, reason } = store.lines[0]?.fields ?? {};
    assertEquals(
      address,
      store.bridge ? `${store.bridge.url}/` : `redis://127.0.0.1:${store.redis.port}`,
    );
    assert(typeof reason === "string" && reason !== "", String(reason));

    await (store.bridge ? store.bridge.listen() : store.redis.restart());
    await until(works(store), "the store works again");
    await until(() => store.lines.length > 1, "the log says so");
    assertEquals(messagesOf(store), [AWAY, BACK]);
  },
);

remoteTest(
  "a store that is paused fails each call in its time, and works again",
  async (driver) => {
    await using store = await remoteStore(driver, { timeoutMs: 100 });
    await until(works(store), "it works");
    store.redis.pause();
    try {
      const startedAt = performance.now();
      const error = await assertRejects(() => store.cache.get("k"), Error);
      assertEquals(error.message, "the cache did not answer within 100 ms");
      const tookMs = performance.now() - startedAt;
      assert(tookMs > 50 && tookMs < 2000, `${tookMs} ms`);
      assertEquals(messagesOf(store), [AWAY]);
    } finally {
      store.redis.resume();
    }
    await until(works(store), "the store works again");
    await until(() => store.lines.length > 1, "the log says so");
    assertEquals(messagesOf(store), [AWAY, BACK]);
  },
);

remoteTest(
  "what is in the store has the prefix, JSON as its value and its time to live",
  async (driver) => {
    await using store = await remoteStore(driver, { keyPrefix: "edge:" });
    const { cache, redis } = store;
    await cache.set("session:1", { user: "ü" }, { ttlSeconds: 60 });
    await cache.increment("n", { ttlSeconds: 60 });
    await cache.set("forever", null);
    assertEquals((await redis.command("KEYS", "*") as string[]).toSorted(), [
      "edge:forever",
      "edge:n",
      "edge:session:1",
    ]);
    assertEquals(await redis.command("GET", "edge:session:1"), '{"user":"ü"}');
    assertEquals(await redis.command("GET", "edge:n"), "1");
    for (const key of ["edge:session:1", "edge:n"]) {
      const leftMs = Number(await redis.command("PTTL", key));
      assert(leftMs > 30_000 && leftMs <= 60_000, `${key}: ${leftMs}`);
    }
    assertEquals(await redis.command("PTTL", "edge:forever"), -1);
  },
);

remoteTest("what something else wrote is an error of that call only", async (driver) => {
  await using store = await remoteStore(driver);
  await store.redis.command("SET", "conduit:k", "not JSON");
  await store.redis.command("RPUSH", "conduit:list", "1");
  const error = await assertRejects(() => store.cache.get("k"), Error);
  assertEquals(
    error.message,
    'the value of "k" is not JSON: something else than Conduit wrote it',
  );
  assertEquals(messagesOf(store), []);
  await assertRejects(
    () => store.cache.increment("list", { ttlSeconds: 5 }),
    Error,
    "the cache refused the operation; the gateway's log says why",
  );
  assertEquals(messagesOf(store), ["warn the cache refused an operation"]);
});

remoteTest(
  "a store that is full refuses, which the log says once, with the reason",
  async (driver) => {
    await using store = await remoteStore(driver);
    await store.redis.command("CONFIG", "SET", "maxmemory", "1");
    for (let round = 0; round < 5; round++) {
      for (const ttlSeconds of [5, undefined]) {
        const options = ttlSeconds === undefined ? {} : { ttlSeconds };
        const says = "the cache refused the operation; the gateway's log says why";
        await assertRejects(() => store.cache.set("k", "private-value", options), Error, says);
        await assertRejects(() => store.cache.increment("k", options), Error, says);
      }
    }
    const messages = messagesOf(store);
    assertEquals(messages[0], "warn the cache refused an operation");
    assert(String(store.lines[0]?.fields.reason).startsWith("OOM "), JSON.stringify(store.lines));
    assert(messages.length <= 2, messages.join("\n"));
    await store.redis.command("CONFIG", "SET", "maxmemory", "0");
    assertEquals(await store.cache.set("k", 1), true);
  },
);

remoteTest(
  "a counter is never without its time to live, also where calls break off in the middle",
  async (driver) => {
    await using store = await remoteStore(driver);
    let next = 0;
    let failed = 0;
    let over = false;
    const count = async () => {
      while (!over) {
        await store.cache.increment(`n${next++}`, { ttlSeconds: 60 }).catch(async () => {
          failed++;
          await new Promise((resolve) => setTimeout(resolve, 1));
        });
      }
    };
    const counting = Array.from({ length: 20 }, count);
    for (let round = 0; round < 10; round++) {
      const before = failed;
      if (store.bridge) store.bridge.mode = "lose";
      else await store.redis.command("CLIENT", "KILL", "TYPE", "normal");
      await until(() => failed > before, "calls broke off");
      if (store.bridge) store.bridge.mode = "serve";
      await until(works(store), "the store works again");
    }
    over = true;
    await Promise.all(counting);
    const keys = (await store.redis.command("KEYS", "conduit:n*")) as string[];
    assert(keys.length > 10, `${keys.length}`);
    const left = await store.redis.commands(keys.map((key) => ["PTTL", key]));
    for (const [index, leftMs] of left.entries()) {
      assert(Number(leftMs) > 0, `${keys[index]}: ${leftMs}`);
    }
  },
);

const named = (name: string) => ({
  name: name + (NO_REDIS ?? ""),
  ignore: NO_REDIS !== undefined,
});

/** A call to the Redis at `url`, and what the log says of it. */
async function callAt(url: string): Promise<{ readonly error: string; readonly log: string }> {
  const lines: unknown[] = [];
  const say = (message: string, fields?: LogFields) => void lines.push(message, fields);
  const log = { debug: say, info: say, warn: say, error: say };
  const cache = { driver: "redis", url, timeoutMs: 2000, keyPrefix: "" } as const;
  const store = await openCache(cache, { log });
  try {
    // More than once: it does not come up later either.
    const errors = new Set<string>();
    for (let round = 0; round < 30; round++) {
      errors.add((await assertRejects(() => store.call("set", ["k", 1]), Error)).message);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return { error: [...errors].join("; "), log: JSON.stringify(lines) };
  } finally {
    store.close();
  }
}

const WRONG_STORES = {
  "that is not there": { url: "redis://localhost:PORT", reason: "ECONNREFUSED", gone: true },
  "with another password": { url: "redis://:private@127.0.0.1:PORT/3", reason: "WRONGPASS" },
  "with another user": { url: "redis://me:private@127.0.0.1:PORT", reason: "WRONGPASS" },
  "that wants a password": { url: "redis://127.0.0.1:PORT", reason: "NOAUTH" },
  "without that database": { url: "redis://:right@127.0.0.1:PORT/99", reason: "DB index" },
};
for (const [what, { url, reason, ...rest }] of Object.entries(WRONG_STORES)) {
  Deno.test({
    ...named(`redis: a store ${what} is opened, and not reachable; the log says why, once`),
    async fn() {
      await using redis = await RedisServer.start({ password: "right" });
      if ("gone" in rest) await redis.kill();
      const { error, log } = await callAt(url.replace("PORT", `${redis.port}`));
      assertEquals(error, "the cache is not reachable");
      const [message, fields, ...others] = JSON.parse(log);
      assertEquals([message, others], ["the cache is not reachable", []]);
      assert(fields.reason.includes(reason) && fields.reason !== "", log);
      assert(!log.includes("private") && !log.includes("right"), log);
      if (!("gone" in rest)) {
        assertEquals((await redis.command("INFO", "keyspace") as string).includes("db"), false);
      }
    },
  });
}

const OUTSIDE = Deno.networkInterfaces()
  .find(({ family, address }) => family === "IPv4" && !address.startsWith("127."))?.address;

Deno.test({
  name: `redis: a store in protected mode says so in the log, in one sentence${
    NO_REDIS ?? (OUTSIDE ? "" : " (ignored: this machine has no address but its own)")
  }`,
  ignore: NO_REDIS !== undefined || OUTSIDE === undefined,
  async fn() {
    await using redis = await RedisServer.start({ address: OUTSIDE ?? "" });
    const { log } = await callAt(`redis://${OUTSIDE}:${redis.port}`);
    const [message, { reason }, ...others] = JSON.parse(log);
    assertEquals([message, others], ["the cache is not reachable", []]);
    assertMatch(reason, /^DENIED Redis is running in protected mode [^.]*$/);
  },
});

Deno.test({
  ...named("redis: a call whose connection breaks fails at once, and is not sent again"),
  async fn() {
    await using store = await remoteStore("redis");
    await until(works(store), "it works");
    const { redis, cache } = store;
    await redis.command("CLIENT", "PAUSE", 60_000, "WRITE");
    const startedAt = performance.now();
    const calls = [cache.increment("n"), cache.increment("n", { ttlSeconds: 60 })];
    const settled = Promise.allSettled(calls);
    const list = async () => String(await redis.command("CLIENT", "LIST"));
    await until(async () => (await list()).includes("cmd=incr"), "the call is there");
    await redis.command("CLIENT", "KILL", "TYPE", "normal");
    assertEquals(
      (await settled).map((each) => each.status === "rejected" && each.reason.message),
      ["the cache is not reachable", "the cache is not reachable"],
    );
    assert(performance.now() - startedAt < 4000, "the calls waited for something");
    await redis.command("CLIENT", "UNPAUSE");
    await until(works(store), "the store works again");
    assertEquals(await cache.get("n"), null);
  },
});

Deno.test({
  ...named("redis: the rights that operations.md gives suffice, and reach nothing else"),
  async fn() {
    const doc = await Deno.readTextFile(new URL("../../docs/operations.md", import.meta.url));
    const [, rights = ""] = /`(ACL SETUSER conduit [^`]*)`/.exec(doc) ?? [];
    await using redis = await RedisServer.start();
    await redis.command(...rights.replace(">…", ">pass").split(" "));
    await redis.command("SET", "other", "1");
    const cache = {
      driver: "redis",
      url: `redis://conduit:pass@127.0.0.1:${redis.port}/1`,
      timeoutMs: 5000,
    } as const;
    const silent = () => {};
    const log = { debug: silent, info: silent, warn: silent, error: silent };
    const allowed = await openCache({ ...cache, keyPrefix: "conduit:" }, { log });
    const denied = await openCache({ ...cache, keyPrefix: "" }, { log });
    try {
      assertEquals(
        await allowed.call("set", ["k", 1, { ttlSeconds: 9, onlyIfAbsent: true }]),
        true,
      );
      assertEquals(await allowed.call("increment", ["k"]), 2);
      assertEquals(await allowed.call("increment", ["k", { ttlSeconds: 9 }]), 3);
      assertEquals(await allowed.call("get", ["k"]), 3);
      assertEquals(await allowed.call("expire", ["k", 9]), true);
      assertEquals(await allowed.call("delete", ["k"]), true);
      await assertRejects(() => denied.call("get", ["other"]), Error, "the cache refused");
    } finally {
      allowed.close();
      denied.close();
    }
  },
});

Deno.test({
  ...named("redis: a silent connection is given up, so that nothing piles up behind it"),
  async fn() {
    await using store = await remoteStore("redis", { timeoutMs: 100 });
    await until(works(store), "it works");
    store.redis.pause();
    try {
      // Once the connection is given up, calls no longer wait.
      await until(async () => {
        const error = await assertRejects(() => store.cache.increment("late"), Error);
        return error.message === "the cache is not reachable";
      }, "calls fail at once");
    } finally {
      store.redis.resume();
    }
    await until(works(store), "the store works again");
    assertEquals(messagesOf(store)[0], AWAY);
  },
});

Deno.test({
  ...named(
    "upstash: what may be repeated is repeated once, what may not is not, although its answer was lost",
  ),
  async fn() {
    await using store = await remoteStore("upstash");
    const { cache, bridge, redis } = store;
    if (!bridge) throw new Error("no bridge");
    const requests = async (mode: "drop" | "lose", call: () => Promise<unknown>) => {
      bridge.mode = mode;
      bridge.seen.length = 0;
      await assertRejects(call, Error, "the cache is not reachable");
      bridge.mode = "serve";
      return bridge.seen.length;
    };
    for (const mode of ["drop", "lose"] as const) {
      assertEquals(await requests(mode, () => cache.get("k")), 2);
      assertEquals(await requests(mode, () => cache.set("k", 1, { ttlSeconds: 9 })), 2);
      assertEquals(await requests(mode, () => cache.expire("k", 9)), 2);
      assertEquals(await requests(mode, () => cache.delete("k")), 2);
      assertEquals(await requests(mode, () => cache.set("x", 1, { onlyIfAbsent: true })), 1);
      assertEquals(await requests(mode, () => cache.increment("n")), 1);
      assertEquals(await requests(mode, () => cache.increment("m", { ttlSeconds: 9 })), 1);
    }
    assertEquals(await redis.commands([["GET", "conduit:n"], ["GET", "conduit:m"]]), ["1", "1"]);
    // A break that is over at once is not noticed where repeating is safe.
    bridge.mode = "drop";
    const got = cache.get("n");
    bridge.seen.length = 0;
    await until(() => bridge.seen.length === 1, "the first try came");
    bridge.mode = "serve";
    assertEquals(await got, 1);
  },
});

Deno.test({
  ...named(
    "upstash: a bridge that hangs, fails or refuses the token is told from one another in the log",
  ),
  async fn() {
    await using store = await remoteStore("upstash", { timeoutMs: 100 });
    const { cache, bridge } = store;
    if (!bridge) throw new Error("no bridge");
    await until(works(store), "it works");
    bridge.mode = "hang";
    await assertRejects(() => cache.get("k"), Error, "the cache did not answer within 100 ms");
    bridge.mode = "fail";
    const refused = "the cache refused the operation; the gateway's log says why";
    await assertRejects(() => cache.get("k"), Error, refused);
    assertEquals(messagesOf(store), [AWAY, "warn the cache refused an operation"]);
    assertEquals(store.lines.map(({ fields }) => fields.reason), [
      "no answer within 100 ms",
      "an answer that is not JSON",
    ]);

    bridge.mode = "serve";
    Object.assign(bridge, { token: "rotated" });
    await assertRejects(() => cache.set("k", "private-value"), Error, refused);
    messagesOf(store);
    assertEquals(store.lines.at(-1)?.fields.reason, "Unauthorized");
  },
});

Deno.test({
  ...named("upstash: nothing in the environment changes where it goes or what it says of itself"),
  async fn() {
    const traps: Readonly<Record<string, string>> = {
      UPSTASH_REDIS_REST_URL: "http://127.0.0.1:1",
      UPSTASH_REDIS_REST_TOKEN: "other",
      KV_REST_API_URL: "http://127.0.0.1:1",
      KV_REST_API_TOKEN: "other",
      UPSTASH_CONSOLE: "1",
      VERCEL: "1",
      AWS_REGION: "eu-west-1",
    };
    for (const [name, value] of Object.entries(traps)) Deno.env.set(name, value);
    try {
      await using store = await remoteStore("upstash");
      assertEquals(await store.cache.increment("n", { ttlSeconds: 5 }), 1);
      assertEquals(await store.cache.get("n"), 1);
      const seen = store.bridge?.seen ?? [];
      assertEquals(seen.map((each) => each.path), ["/multi-exec", "/"]);
      for (const { headers } of seen) {
        assertEquals(headers.authorization, "Bearer hush-token");
        assertEquals(headers["upstash-encoding"], "base64");
        assertEquals(Object.keys(headers).filter((name) => /telemetry/i.test(name)), []);
      }
    } finally {
      for (const name of Object.keys(traps)) Deno.env.delete(name);
    }
  },
});
