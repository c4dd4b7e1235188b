import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { type Config, ConfigError, loadConfig } from "../../gateway/config.ts";
import { configWarnings } from "../../gateway/config_warnings.ts";
import type { Json } from "../../protocol/snapshot.ts";

/** What loading makes of `services.cache`: the settings, or the message. */
async function load(cache: Json, env: Readonly<Record<string, string>> = {}) {
  const dir = await Deno.makeTempDir({ prefix: "conduit-config-" });
  try {
    const file = join(dir, "conduit.config.json");
    const routes = [{ path: "/*", upstream: "http://127.0.0.1:1" }];
    await Deno.writeTextFile(file, JSON.stringify({ services: { cache }, routes }));
    const config = await loadConfig(file, { env: (name) => env[name] });
    return config.services.cache;
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const REDIS = {
  "redis://redis": "redis://redis",
  "redis://127.0.0.1:6380/2": "redis://127.0.0.1:6380/2",
  "rediss://:p%40ss@redis.example.com/": "rediss://:p%40ss@redis.example.com/",
  "redis://user:pass@[::1]:6379/15": "redis://user:pass@[::1]:6379/15",
};
for (const [url, read] of Object.entries(REDIS)) {
  Deno.test(`cache config: ${url} is a Redis`, async () => {
    const defaults = { timeoutMs: 80, keyPrefix: "conduit:" };
    assertEquals(await load({ driver: "redis", url }), { driver: "redis", url: read, ...defaults });
  });
}

Deno.test("cache config: url and token may come from the environment", async () => {
  const cache = {
    driver: "upstash",
    url: "${URL}",
    token: "${TOKEN}",
    timeoutMs: 5,
    keyPrefix: "",
  };
  const env = { URL: "https://eu-1.upstash.io", TOKEN: "AX-_09=" };
  assertEquals(await load(cache, env), {
    ...cache,
    driver: "upstash",
    url: "https://eu-1.upstash.io/",
    token: "AX-_09=",
  });
});

const SECRET = "hush";
const WRONG: readonly (readonly [url: string, driver: string])[] = [
  ["", "redis"],
  ["hush", "redis"],
  ["http://:hush@redis", "redis"],
  ["redis:", "redis"],
  ["redis://", "redis"],
  ["redis://:hush", "redis"],
  ["redis://:hush@", "redis"],
  ["redis://:hu/hush@redis", "redis"], // the password ends at the slash
  ["redis://:hu?hush@redis", "redis"],
  ["redis://:hu#hush@redis", "redis"],
  ["redis://:%hush@redis", "redis"],
  ["redis://:hush@redis:0", "redis"],
  ["redis://:hush@redis:99999", "redis"],
  ["redis://:hush@redis/sessions", "redis"],
  ["redis://:hush@redis/0?family=6", "redis"],
  ["https://u:hush@name.upstash.io", "upstash"],
  ["https://name.upstash.io?token=hush", "upstash"],
  ["rediss://:hush@name.upstash.io:6379", "upstash"],
  ["name.upstash.io/hush", "upstash"],
];
for (const [url, driver] of WRONG) {
  Deno.test(`cache config: "${url}" is no URL of ${driver}, and is not shown`, async () => {
    const message = await load({
      driver,
      url,
      ...(driver === "upstash" ? { token: SECRET } : {}),
    });
    assertEquals(
      message,
      driver === "redis"
        ? 'services.cache.url: what is given is not a redis or rediss URL; use "redis://user:password@host:6379/0" (a password with percent-encoding)'
        : 'services.cache.url: what is given is not an http or https URL; use "https://name.upstash.io"',
    );
  });
}

Deno.test("cache config: whatever is wrong with it, no message shows the url or the token", async () => {
  const good = { driver: "upstash", url: "https://hush.upstash.io", token: "hush" };
  const wrong: Json[] = [
    { ...good, token: "hush hush" },
    { ...good, token: "hush\n" },
    { ...good, token: ["hush"] },
    { ...good, token: { token: "hush" } },
    { ...good, url: ["redis://:hush@redis"] },
    { ...good, driver: "Upstash" },
    { ...good, driver: "memory" },
    { ...good, timeoutMs: "fast" },
    [good],
    [[good]],
    "redis://:hush@redis",
    "redis://:hu@hush@redis",
    "redis://:hu/hush@redis",
  ];
  for (const cache of wrong) {
    const message = await load(cache);
    assert(typeof message === "string", JSON.stringify(cache));
    assert(!message.includes(SECRET), message);
  }
});

function config(over: Readonly<Record<string, unknown>>): Config {
  const cache = { driver: "redis", url: "redis://r", timeoutMs: 80, keyPrefix: "" };
  const routes = [{ path: "/*", hookTimeoutMs: 100 }];
  const log = { requestHeaders: [], queryParameters: [] };
  const rest = { admin: false, log, processes: 1 };
  return { ...rest, services: { cache }, routes, ...over } as unknown as Config;
}

Deno.test("check warns of a memory cache with more than one process", () => {
  const services = { cache: { driver: "memory", maxEntries: 1, maxBytes: 1 } };
  assertEquals(configWarnings(config({ services })), []);
  for (const processes of [2, "auto"]) {
    const [warning = "", ...others] = configWarnings(config({ services, processes }));
    assert(warning.startsWith('services.cache.driver: "memory" is one store for each'), warning);
    assertEquals(others, []);
    assertEquals(configWarnings(config({ processes })), []);
  }
});

Deno.test("check warns of a cache whose timeoutMs is not below the hookTimeoutMs of a route", () => {
  const routes = [
    { path: "/well", hookTimeoutMs: 81 },
    { path: "/same", hookTimeoutMs: 80 },
    { path: "/less", hookTimeoutMs: 50 },
  ];
  assertEquals(configWarnings(config({})), []);
  assertEquals(
    configWarnings(config({ routes })).map((each) => each.split(":").slice(0, 2).join(":")),
    ["/same", "/less"].map((path) =>
      `services.cache.timeoutMs: 80 is not below the hookTimeoutMs of route "${path}" (${
        path === "/same" ? 80 : 50
      })`
    ),
  );
});
