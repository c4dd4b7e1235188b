import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { type Config, loadConfig } from "../../gateway/config.ts";
import { configWarnings, pluginWarnings } from "../../gateway/config_warnings.ts";
import { configText, scratch } from "../support/conduit.ts";

async function configOf(settings: Readonly<Record<string, unknown>>): Promise<Config> {
  await using dir = await scratch({ "c.json": configText(settings) });
  return await loadConfig(join(dir.path, "c.json"));
}

async function warningsOf(settings: Readonly<Record<string, unknown>>): Promise<string[]> {
  return configWarnings(await configOf(settings));
}

Deno.test("check warns of an admin listener that others can reach", async () => {
  for (const listen of [":9901", "10.0.0.1:9901", "[::]:9901", "0.0.0.0:9901"]) {
    const [warning = "", ...others] = await warningsOf({ admin: { listen } });
    assert(warning.startsWith("admin.listen: ") && warning.includes("user ids"), warning);
    assertEquals(others, []);
  }
  for (const listen of ["127.0.0.1:9901", "127.8.9.1:9901", "[::1]:9901", "unix:/run/a.sock"]) {
    assertEquals(await warningsOf({ admin: { listen } }), [], listen);
  }
  assertEquals(await warningsOf({ admin: false }), []);
});

Deno.test("check warns of secrets that are to stand in access lines", async () => {
  const log = { requestHeaders: ["user-agent", "Cookie"], queryParameters: ["page", "api_key"] };
  assertEquals((await warningsOf({ log })).map((warning) => warning.split(" is ")[0]), [
    'log.requestHeaders: "cookie"',
    'log.queryParameters: "api_key"',
  ]);
});

Deno.test("check warns of settings for a plugin that is not there, of variables that are not set, and of plugins that no route runs", async () => {
  const upstream = "http://127.0.0.1:9";
  const loaded = { plugins: ["001-auth", "002-roles"], env: { KEY: "", DENO_DIR: "/tmp" } };
  const named = {
    pluginConfig: { "001-auth": {}, "002-rolse": {} },
    pluginEnv: ["SECRET", "KEY"],
    routes: [
      { path: "/*", upstream, plugins: ["001-auth"] },
      { path: "/health", upstream, plugins: false },
    ],
  };
  assertEquals(pluginWarnings(await configOf(named), loaded), [
    'pluginConfig["002-rolse"]: there is no plugin "002-rolse" in pluginsDir, so nothing reads it',
    'pluginEnv: "SECRET" is not set in this environment, so plugins do not have it',
    'routes: none runs "002-roles": all of them name other "plugins", or say false',
  ]);
  const all = { routes: [...named.routes, { path: "/all", upstream }] };
  assertEquals(pluginWarnings(await configOf(all), loaded), []);
});
