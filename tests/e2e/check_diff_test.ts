import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { conduit, type Ended } from "../support/conduit.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { reload, writeConfig } from "../support/reload.ts";

const ADMIN = { listen: "unix:./admin.sock" };
const ENV = { REDIS_PASSWORD: "hush-one", NEXT_PASSWORD: "hush-two", SESSION_SECRET: "hush-three" };

const FIRST = {
  admin: ADMIN,
  pluginEnv: ["SESSION_SECRET"],
  pluginConfig: { "001-auth": { token: "hush-four", retries: 1 } },
  services: { cache: { driver: "redis", url: "redis://:${REDIS_PASSWORD}@127.0.0.1:1" } },
  routes: [
    { path: "/api/*", upstream: "http://127.0.0.1:1" },
    { path: "/gone/*", upstream: "http://127.0.0.1:2" },
  ],
};

/** In an environment without the gateway's secrets, as an operator's shell is. */
function diff(gateway: TestGateway): Promise<Ended> {
  return conduit(["check", "--diff", "--config", join(gateway.dir, "conduit.config.json")]);
}

for (const processes of [1, 2]) {
  Deno.test(`check --diff shows what a reload would change in ${processes} running processes, without secrets, and a reload then does that`, async () => {
    const first = { ...FIRST, processes };
    await using gateway = await testGateway({
      config: first,
      env: ENV,
      plugins: { "001-auth.ts": "export default {};" },
    });
    const same = await diff(gateway);
    assertEquals([same.code, same.stderr], [0, ""]);
    assertMatch(
      same.stdout,
      /beside the gateway that runs \(pid \d+\)\n\na reload would change nothing\n/,
    );

    await writeConfig(gateway, {
      ...first,
      hookTimeoutMs: 50,
      pluginEnv: [],
      pluginConfig: { "001-auth": { token: "hush-five", retries: 2 } },
      services: { cache: { driver: "redis", url: "redis://:${NEXT_PASSWORD}@127.0.0.1:1" } },
      routes: [{ path: "/api/*", upstream: "http://127.0.0.1:3", stripPrefix: true }],
    });
    const changed = await diff(gateway);
    assertEquals([changed.code, changed.stderr], [0, ""]);
    assertEquals(
      changed.stdout.split("\n").slice(2),
      [
        "changes",
        '  pluginEnv: ["SESSION_SECRET"] -> [] *',
        '  pluginConfig["001-auth"].token: another secret value *',
        '  pluginConfig["001-auth"].retries: 1 -> 2 *',
        "  hookTimeoutMs: 100 -> 50",
        "  services.cache.url: another secret value *",
        '  routes["/api/*"].stripPrefix: false -> true',
        '  routes["/api/*"].upstreams: ["http://127.0.0.1:1"] -> ["http://127.0.0.1:3"] *',
        changed.stdout.split("\n").find((line) => line.includes('routes["/gone/*"]')) ?? "missing",
        "",
        "*: by a new plugin host process",
        "  gains --allow-net=127.0.0.1:3",
        "  loses --allow-net=127.0.0.1:1",
        "  loses --allow-net=127.0.0.1:2",
        "  loses --allow-env=SESSION_SECRET",
        "",
      ],
    );
    assertMatch(
      changed.stdout,
      /routes\["\/gone\/\*"\]: \{.*"upstreams":\["http:\/\/127\.0\.0\.1:2"\].*\} -> \(none\) \*/,
    );
    assert(!/hush/.test(changed.stdout), changed.stdout);
    assertEquals((await diff(gateway)).stdout, changed.stdout, "asking changes nothing");
    const pathsOf = ({ stdout }: Ended) =>
      [...stdout.matchAll(/^ {2}(\S+): /gm)].map(([, path]) => path).join(", ");
    const line = await reload(gateway, JSON.stringify(await configOf(gateway)));
    assertEquals(line.changed, pathsOf(changed));
    assertStringIncludes((await diff(gateway)).stdout, "a reload would change nothing");
  });
}

async function configOf(gateway: TestGateway): Promise<unknown> {
  return JSON.parse(await Deno.readTextFile(join(gateway.dir, "conduit.config.json")));
}

Deno.test("check --diff says all that is in the way of a reload, exit 1", async () => {
  await using gateway = await testGateway({
    config: FIRST,
    env: ENV,
    plugins: { "001-auth.ts": "export default {};" },
  });
  await writeConfig(gateway, { ...FIRST, processes: 4 });
  const refused = await diff(gateway);
  assertEquals(refused.code, 1);
  assertMatch(refused.stdout, /a reload would be refused\n {2}processes: 1 cannot become 4/);
  await writeConfig(gateway, { ...FIRST, routes: [{ path: "x", upstream: "y" }], nope: 1 });
  const wrong = await diff(gateway);
  assertEquals(wrong.code, 1);
  for (const path of ["routes[0].path", "routes[0].upstream", "nope"]) {
    assertStringIncludes(wrong.stdout, `\n  ${path}: `);
  }
  await gateway[Symbol.asyncDispose]();

  const usage = await conduit(["check", "--diff", "--install"]);
  assertEquals(usage.code, 2);
});

Deno.test("check --diff without a gateway that runs says so, exit 1", async () => {
  await using gateway = await testGateway({
    config: { ...FIRST, services: {} },
    plugins: { "001-auth.ts": "export default {};" },
  });
  await writeConfig(gateway, { ...FIRST, admin: { listen: "unix:./nowhere.sock" } });
  const { code, stderr } = await diff(gateway);
  assertEquals(code, 1);
  assertMatch(stderr, /^conduit: unix:.*nowhere\.sock does not answer: /);
});
