import { assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { writeFiles } from "../support/conduit.ts";
import { configurationKeys } from "../support/configuration_doc.ts";
import { untilReady } from "../support/failure.ts";
import { BASE_CONFIG, testGateway } from "../support/gateway.ts";
import { hostKeys, listenerKeys } from "../support/host_keys.ts";
import {
  adminPage,
  keyUpstream,
  OTHER_PLUGINS,
  PLUGINS,
  restStore,
  SETTINGS,
} from "../support/key_probe.ts";
import { reload, writeConfig } from "../support/reload.ts";
import { requestKeys } from "../support/request_keys.ts";

/** Those that a reload cannot change, and what it says. */
const REFUSED: Readonly<Record<string, readonly [Readonly<Record<string, unknown>>, RegExp]>> = {
  processes: [{ processes: 2 }, /^processes: 1 cannot become 2 by a reload/],
  // Nobody is there as a service, and without plugins nothing is taken on.
  "runtime.mode": [
    { runtime: { mode: "external", socket: "./host.sock" } },
    /no plugin host service is connected/,
  ],
};

interface LogSettings {
  readonly format: string;
  readonly level?: string;
}

/** Those that show otherwise: below, and for a host service in `config_changes_test.ts`. */
const ELSEWHERE = ["$schema", "shutdownGraceMs", "runtime.socket"];

Deno.test("reload: every key is effective for the next request, or the log says that a restart is needed", async (test) => {
  await using upstream = keyUpstream("one");
  await using other = keyUpstream("two");
  await using store = restStore();
  const base = { ...SETTINGS, routes: [{ path: "/*", upstream: upstream.url }] };
  await using gateway = await testGateway({
    config: base,
    plugins: PLUGINS,
    env: { CONDUIT_TRACE_IPC: "1", KEY_ONE: "1" },
  });
  await writeFiles(join(gateway.dir, "other"), OTHER_PLUGINS);
  const setting = { gateway, upstream, other, store };
  using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = free.addr;
  free.close();
  const effects = {
    ...requestKeys(setting),
    ...hostKeys(setting),
    ...listenerKeys(setting, port),
  };
  /** What it says of that is not what a test reads. */
  const writeLogConfig = async (settings: { readonly log?: LogSettings }) => {
    await writeConfig(gateway, { ...base, ...settings });
    gateway.signal("SIGHUP");
    const { format, level = "info" } = settings.log ?? BASE_CONFIG.log;
    await gateway.until(async () => {
      const { log } = await adminPage(gateway, "/config");
      return log.format === format && log.level === level;
    }, { what: "the other log" });
  };
  assertEquals(
    [...Object.keys(effects), ...Object.keys(REFUSED), ...ELSEWHERE].sort(),
    [...configurationKeys().gateway].sort(),
  );
  for (const [key, [settings, reason]] of Object.entries(REFUSED)) {
    await test.step(key, async () => {
      const line = await reload(gateway, { ...base, ...settings });
      assertEquals(line.level, "error");
      assertMatch(String(line.reason), reason);
    });
  }
  for (const [key, { from = {}, to, see, gives }] of Object.entries(effects)) {
    await test.step(key, async () => {
      for (const [index, settings] of [from, to].entries()) {
        if (!/^(admin\.)?(listen|allowedHosts)$/.test(key)) await untilReady(gateway);
        if (key === "log.format" || key === "log.level") await writeLogConfig(settings);
        else await reload(gateway, { ...base, ...settings });
        assertEquals(await see(), gives[index], `with ${JSON.stringify(settings)}`);
      }
    });
  }
  await test.step("$schema", async () => {
    await reload(gateway, base);
    const line = await reload(gateway, { ...base, $schema: "./schema.json" });
    assertEquals([line.level, line.changed], ["info", "nothing"]);
  });
  await test.step("shutdownGraceMs", async () => {
    await reload(gateway, { ...base, listen: `127.0.0.1:${port}`, shutdownGraceMs: 50 });
    const { length } = upstream.seen;
    const cut = fetch(`http://127.0.0.1:${port}/late`).then((it) => it.text()).catch(() => "cut");
    await gateway.until(() => upstream.seen.length > length, { what: "the request" });
    gateway.signal("SIGTERM");
    await gateway.waitForLog(({ message }) =>
      message === "requests still running at the end of shutdownGraceMs are cut"
    );
    assertEquals((await gateway.status).code, 0);
    await cut;
  });
});
