import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { loadConfig } from "../../gateway/config.ts";
import { isSecretVariable } from "../../gateway/masking.ts";
import { maskedConfig } from "../../gateway/observe/config_page.ts";
import { scratch } from "../support/conduit.ts";

const ENV: Readonly<Record<string, string>> = {
  SESSION_SECRET: "s3cr3t-of-sessions",
  PARTNER_TOKEN_FOR_EU: "t0k3n",
  SHORT_KEY: "a",
  EMPTY_SECRET: "",
  HOST_NAME: "users.internal",
};

/** The page of a configuration that has these settings beside what must be there. */
// deno-lint-ignore no-explicit-any -- tests look at what they asked for
async function pageOf(settings: Readonly<Record<string, unknown>>): Promise<any> {
  await using dir = await scratch();
  const file = join(dir.path, "c.json");
  await Deno.writeTextFile(
    file,
    JSON.stringify({ routes: [{ path: "/*", upstream: "http://a" }], ...settings }),
  );
  return JSON.parse(
    JSON.stringify(maskedConfig(await loadConfig(file, { env: (name) => ENV[name] }))),
  );
}

Deno.test("/config shows addresses as the file has them, and every default", async () => {
  const page = await pageOf({ listen: ":80", admin: { listen: "unix:/run/a.sock" } });
  assertEquals([page.listen, page.admin], [
    "0.0.0.0:80",
    { listen: "unix:/run/a.sock", allowedHosts: [] },
  ]);
  assertEquals([page.shutdownGraceMs, page.routes[0].hookTimeoutMs], [10_000, 100]);
  assertEquals((await pageOf({ admin: false })).admin, false);
});

Deno.test("/config masks passwords and tokens of the cache", async () => {
  const redis = await pageOf({
    services: { cache: { driver: "redis", url: "redis://user:p%40ss@cache:6379/1" } },
  });
  assertEquals(redis.services.cache.url, "redis://user:***@cache:6379/1");
  assertEquals(redis.services.cache.keyPrefix, "conduit:");
  const upstash = await pageOf({
    services: { cache: { driver: "upstash", url: "https://x.upstash.io", token: "hunter2" } },
  });
  assertEquals(upstash.services.cache.token, "***");
});

Deno.test("/config masks what is a secret by its key, whatever it is", async () => {
  const page = await pageOf({
    pluginConfig: {
      "006-session": { sessionKey: ["a"], password: { old: "b" }, pin: 7, token: 7, cookie: null },
      "001-api-key": { url: "https://u:p@h/?token=x&page=2", secret: false },
    },
    pluginEnv: ["SESSION_SECRET"],
  });
  assertEquals(page.pluginConfig, {
    "006-session": { sessionKey: "***", password: "***", pin: 7, token: "***", cookie: null },
    "001-api-key": { url: "https://u:***@h/?token=***&page=2", secret: false },
  });
  assertEquals(page.pluginEnv, ["SESSION_SECRET"], "names are no secrets");
});

Deno.test("/config masks what secret variables put in, wherever it stands", async () => {
  const page = await pageOf({
    pluginConfig: {
      "001-a": {
        salt: "${SESSION_SECRET}",
        partner: "v1:${PARTNER_TOKEN_FOR_EU}:x",
        again: "s3cr3t-of-sessions, written out",
        short: "${SHORT_KEY}",
        shortWithin: "banana${SHORT_KEY}",
        none: "x${EMPTY_SECRET:-}",
        host: "${HOST_NAME}",
      },
    },
  });
  assertEquals(page.pluginConfig["001-a"], {
    salt: "***",
    partner: "v1:***:x",
    again: "***, written out",
    short: "***",
    shortWithin: "bananaa",
    none: "x",
    host: "users.internal",
  });
});

Deno.test("a variable holds a secret by a word of its name", () => {
  const names = ["DB_PASSWORD", "JWT_SIGNING_KEY", "TOKEN_FOR_CI", "session_secret", "AUTH_DSN"];
  assertEquals(names.filter((name) => !isSecretVariable(name)), []);
  const plain = ["KEYCLOAK_HOST", "USERS_URL", "PASSENGER_COUNT", "MONKEYS", "AUTHOR"];
  assertEquals(plain.filter(isSecretVariable), []);
});
