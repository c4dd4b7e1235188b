/**
 * The keys of the plugin host, the cache, the listeners and the log, and how their effect shows.
 *
 * @module
 */

import { join } from "@std/path";
import { adminPage, type KeyEffects, type KeySetting, look } from "./key_probe.ts";
import { scrape, total } from "./metrics.ts";

/** By key. */
export function hostKeys(setting: KeySetting): KeyEffects {
  return { ...ofHosts(setting), ...ofCache(setting), ...ofLog(setting) };
}

function ofHosts({ gateway }: KeySetting): KeyEffects {
  const told = (path: string) => async () => (await look(gateway, path)).told;
  const hostPid = async () => (await adminPage(gateway, "/plugins")).hostPid;
  // What they do has tests of its own; here nothing shows but that a plugin host is started for them.
  const newHost = (key: string, value: number) => {
    let before: number;
    const see = async () => {
      const isAnother = before !== (before = await hostPid());
      return isAnother;
    };
    return { to: { [key]: value }, see, gives: [true, true] } as const;
  };
  return {
    pluginsDir: { to: { pluginsDir: "./other" }, see: told("/where"), gives: ["plugins", "other"] },
    pluginPoolSize: {
      to: { pluginPoolSize: 3 },
      see: async () => (await scrape(gateway)).series.get("conduit_isolates"),
      gives: [1, 3],
    },
    pluginEnv: { to: { pluginEnv: ["KEY_ONE"] }, see: told("/env"), gives: [[], ["KEY_ONE"]] },
    pluginNet: {
      to: { pluginNet: ["127.0.0.1:9"] },
      see: told("/net"),
      gives: ["prompt", "granted"],
    },
    pluginConfig: {
      to: { pluginConfig: { "001-probe": 7 } },
      see: told("/config"),
      gives: [{}, 7],
    },
    hardCeilingMs: newHost("hardCeilingMs", 1600),
    maxFrameBytes: newHost("maxFrameBytes", 4_194_304),
  };
}

function ofCache({ gateway, store }: KeySetting): KeyEffects {
  const count = async (key: string) => (await look(gateway, `/cache?${key}`)).told;
  const memory = (settings: object) => ({ services: { cache: { driver: "memory", ...settings } } });
  const upstash = (settings: object) => ({
    services: {
      cache: {
        driver: "upstash",
        url: `http://127.0.0.1:${store.port}`,
        token: "one",
        timeoutMs: 1000,
        ...settings,
      },
    },
  });
  /** Whether the first of three is still there. */
  const isKept = async () => {
    for (const key of ["a", "b", "c"]) await count(key);
    return await count("a") === 2;
  };
  return {
    "services.cache.driver": {
      to: upstash({}),
      see: async () => {
        await count("driver");
        return store.last().body.includes("driver");
      },
      gives: [false, true],
    },
    "services.cache.maxEntries": {
      to: memory({ maxEntries: 2 }),
      see: isKept,
      gives: [true, false],
    },
    "services.cache.maxBytes": { to: memory({ maxBytes: 4 }), see: isKept, gives: [true, false] },
    "services.cache.url": {
      from: upstash({}),
      to: upstash({ url: `http://localhost:${store.port}` }),
      see: async () => {
        await count("url");
        return store.last().host;
      },
      gives: [`127.0.0.1:${store.port}`, `localhost:${store.port}`],
    },
    "services.cache.token": {
      from: upstash({}),
      to: upstash({ token: "two" }),
      see: async () => {
        await count("token");
        return store.last().token;
      },
      gives: ["one", "two"],
    },
    "services.cache.keyPrefix": {
      from: upstash({}),
      to: upstash({ keyPrefix: "other:" }),
      see: async () => {
        await count("prefix");
        return /"(\w+:)prefix"/.exec(store.last().body)?.[1];
      },
      gives: ["conduit:", "other:"],
    },
    "services.cache.timeoutMs": {
      from: upstash({ token: "mute" }),
      to: upstash({ token: "mute", timeoutMs: 60 }),
      see: () => count("time"),
      gives: [
        "the cache did not answer within 1000 ms",
        "the cache did not answer within 60 ms",
      ],
    },
  };
}

function ofLog({ gateway }: KeySetting): KeyEffects {
  const line = async (matches: RegExp) => {
    const from = gateway.logs.length;
    await look(gateway, "/marked");
    return await gateway.waitForLog(({ message }) => matches.test(message), { from });
  };
  const dropped = async () => {
    const before = total(await scrape(gateway), "conduit_log_records_dropped_total");
    await look(gateway, "/log");
    return total(await scrape(gateway), "conduit_log_records_dropped_total") > before;
  };
  return {
    "log.format": {
      to: { log: { format: "text" } },
      see: async () => (await line(/GET \/marked 200/)).level,
      gives: ["info", "text"],
    },
    "log.level": {
      to: { log: { format: "json", level: "error" } },
      see: async () => {
        const from = gateway.logs.length;
        await look(gateway, "/unmarked");
        await look(gateway, "/throw"); // an error, which is written in its turn
        await gateway.waitForLog(({ level }) => level === "error", { from });
        return gateway.logs.slice(from).some(({ path }) => path === "/unmarked");
      },
      gives: [true, false],
    },
    "log.pluginRecordsPerSecond": {
      to: { log: { format: "json", pluginRecordsPerSecond: 1 } },
      see: dropped,
      gives: [false, true],
    },
    "log.pluginBytesPerSecond": {
      to: { log: { format: "json", pluginBytesPerSecond: 100 } },
      see: dropped,
      gives: [false, true],
    },
  };
}

/** Those that move a listener; they come last, since the gateway is elsewhere then. */
export function listenerKeys({ gateway }: KeySetting, port: number): KeyEffects {
  const isThere = (path: string, host = "127.0.0.1") => async () => {
    const client = Deno.createHttpClient({
      proxy: { transport: "tcp", hostname: "127.0.0.1", port },
    });
    try {
      const answer = await fetch(`http://${host}${path}`, { client });
      await answer.body?.cancel();
      return answer.status;
    } catch {
      return "nobody";
    } finally {
      client.close();
    }
  };
  const socket = join(gateway.dir, "admin.sock");
  const admin = { listen: `127.0.0.1:${port}` };
  return {
    "admin.listen": { to: { admin }, see: isThere("/healthz"), gives: ["nobody", 200] },
    "admin.allowedHosts": {
      from: { admin },
      to: { admin: { ...admin, allowedHosts: ["gateway.test"] } },
      see: isThere("/healthz", "gateway.test"),
      gives: [403, 200],
    },
    listen: {
      from: { admin: { listen: `unix:${socket}` } },
      to: { admin: { listen: `unix:${socket}` }, listen: `127.0.0.1:${port}` },
      see: isThere("/x"),
      gives: ["nobody", 200],
    },
  };
}
