import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { cacheGateway, cacheStoreServer, SECRET } from "../support/cache_gateway.ts";
import { conduit, configText, scratch } from "../support/conduit.ts";
import { ask, hostProgram } from "../support/failure.ts";
import { NO_REDIS } from "../support/redis_server.ts";

/** All it can find out about its surroundings. */
const CURIOUS = `let loaded;
const attempt = (look) => { try { return look(); } catch (error) { return String(error); } };
const everything = (value) => {
  const seen = new Set();
  const walk = (each) => {
    if (typeof each !== "object" && typeof each !== "function" || each === null || seen.has(each)) return;
    seen.add(each);
    for (const name of Reflect.ownKeys(each)) {
      attempt(() => { texts.push(String(name), String(each[name])); walk(each[name]); });
    }
  };
  const texts = [];
  walk(value);
  return texts.join(" ");
};
export default {
  async onLoad(init) { loaded = init; await init.services.cache.set("curious", 1); },
  async beforeRequest(ctx) {
    if (ctx.request.path !== "/more/look") return;
    const looks = [
      () => JSON.stringify(Deno.env.toObject()),
      () => Deno.env.get("CACHE_URL"),
      () => Deno.env.get("CACHE_TOKEN"),
      () => Deno.args.join(" "),
      () => Deno.readTextFileSync("/proc/self/environ"),
      () => everything(loaded),
      () => everything(ctx),
    ].map((look) => String(attempt(look)));
    await ctx.services.cache.increment("seen", { ttlSeconds: 60 });
    const errors = await Promise.all([
      ctx.services.cache.get("").catch(everything),
      ctx.services.cache.increment("curious").catch(everything),
    ]);
    ctx.reject(418, JSON.stringify([looks, errors]));
  },
};`;

async function childrenOf(pid: number): Promise<number[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "");
  const direct = text.split(" ").filter(Boolean).map(Number);
  return [...direct, ...(await Promise.all(direct.map(childrenOf))).flat()];
}

for (const driver of ["redis", "upstash"] as const) {
  Deno.test({
    name:
      `cache (${driver}): address and secret reach neither the host process nor a frame, an answer or a log line${
        NO_REDIS ?? ""
      }`,
    ignore: NO_REDIS !== undefined,
    async fn() {
      await using store = await cacheStoreServer(driver);
      // What the host gets on its stdin is kept beside the program.
      await using program = await hostProgram('tee -a "$(dirname "$0")/stdin" | "$DENO" "$@"');
      await using running = await cacheGateway(store, {
        env: { ...program.env, CONDUIT_TRACE_IPC: "1" },
        plugins: { "000-curious.ts": CURIOUS },
      });
      const { gateway } = running;
      const look = await ask(gateway, "/more/look");
      assertEquals(look.status, 418, look.text);
      const processes = await childrenOf(gateway.pid);
      assert(processes.length >= 3, `${processes}`); // the shell, tee and the host
      const shown: Record<string, string> = { answer: look.text };
      for (const pid of [...processes, gateway.pid]) {
        shown[`cmdline of ${pid}`] = await Deno.readTextFile(`/proc/${pid}/cmdline`);
      }
      for (const pid of processes) {
        shown[`environ of ${pid}`] = await Deno.readTextFile(`/proc/${pid}/environ`);
      }
      await store.kill();
      const without = await ask(gateway, "/strict");
      assertEquals(without.status, 500);
      await gateway.waitForLog((line) => line.message === "the cache is not reachable");
      await gateway.until(() => gateway.stderr.includes("the cache is not reachable"), {
        what: "the frame",
      });
      shown["answer without a store"] = without.text;
      shown["stdin of the host"] = await Deno.readTextFile(join(program.dir, "stdin"));
      shown["frames"] = gateway.stderr;
      shown["log"] = JSON.stringify(gateway.logs);
      assert(shown["frames"].includes('"service":"cache"'), "no frame was shown");
      assert(shown["stdin of the host"].includes("secret"), "nothing of stdin was kept");
      const address = new URL(store.env.CACHE_URL ?? "").host;
      for (const [where, text] of Object.entries(shown)) {
        assert(!text.includes(SECRET), `the secret is in the ${where}: ${text}`);
        // The operator may read the address, in the log.
        if (where !== "log") assert(!text.includes(address), `the address is in the ${where}`);
      }
    },
  });

  Deno.test({
    name:
      `cache (${driver}): conduit check shows no secret, and warns of a timeoutMs that leaves hooks no time${
        NO_REDIS ?? ""
      }`,
    ignore: NO_REDIS !== undefined,
    async fn() {
      await using store = await cacheStoreServer(driver);
      await store.kill();
      const check = async (cache: object) => {
        await using dir = await scratch({
          "conduit.config.json": configText({ services: { cache } }),
          "plugins/README": "",
        });
        const { code, stdout, stderr } = await conduit(["check"], {
          env: store.env,
          cwd: dir.path,
        });
        const text = stdout + stderr;
        assert(!text.includes(SECRET), text);
        return { code, text };
      };
      const well = await check(store.cache);
      assertEquals([well.code, well.text.includes("warnings")], [0, false], well.text);
      const slow = await check({ ...store.cache, timeoutMs: 100 });
      assertEquals(slow.code, 0, slow.text);
      assert(slow.text.includes("warnings\n  services.cache.timeoutMs: 100 is not"), slow.text);
      const wrong = await check({ ...store.cache, url: `gopher://:${SECRET}@redis` });
      assertEquals(wrong.code, 1, wrong.text);
    },
  });
}
