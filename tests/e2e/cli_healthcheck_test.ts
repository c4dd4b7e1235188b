/** `conduit healthcheck` against real gateways: over TCP and a Unix socket, well and not. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { conduit, configText, scratch } from "../support/conduit.ts";
import { testGateway } from "../support/gateway.ts";

const ROUTES = { routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] };
const WELL = { code: 0, stdout: "", stderr: "" };

/** Asks with a configuration that has this `admin`. */
async function healthcheck(
  admin: unknown,
  { args = [], env = {} }: {
    readonly args?: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
  } = {},
) {
  await using dir = await scratch({ "conduit.config.json": configText({ admin }) });
  return await conduit(["healthcheck", ...args], { cwd: dir.path, env });
}

Deno.test("conduit healthcheck exits 0 for a gateway that lives, over TCP, whatever HTTP_PROXY says", async () => {
  await using gateway = await testGateway({ config: ROUTES });
  const listen = new URL(gateway.adminUrl).host;
  const proxy = "http://127.0.0.1:1";
  assertEquals(
    await healthcheck({ listen }, { env: { HTTP_PROXY: proxy, http_proxy: proxy } }),
    WELL,
  );
  assertEquals(await healthcheck({ listen }, { args: ["--ready"] }), WELL);
});

Deno.test("conduit healthcheck reaches a gateway that listens on every address", async () => {
  await using gateway = await testGateway({
    config: { ...ROUTES, admin: { listen: "0.0.0.0:0" } },
  });
  const { port } = new URL(gateway.adminUrl);
  assertEquals(await healthcheck({ listen: `:${port}` }), WELL);
});

Deno.test("conduit healthcheck asks over a Unix socket with the gateway's own file, also when that was spoiled since", async () => {
  await using gateway = await testGateway({
    config: { ...ROUTES, admin: { listen: "unix:./admin.sock" } },
  });
  const file = join(gateway.dir, "conduit.config.json");
  assertEquals(await conduit(["healthcheck", "--config", file]), WELL);
  const config = JSON.parse(await Deno.readTextFile(file));
  await Deno.writeTextFile(
    file,
    JSON.stringify({ ...config, routes: [], pluginsDir: "${NOT_SET}" }),
  );
  assertEquals(await conduit(["healthcheck", "--config", file]), WELL);
});

Deno.test("conduit healthcheck --ready exits 1 for a gateway that lives and is not ready", async () => {
  await using gateway = await testGateway({
    config: { ...ROUTES, failPolicy: "open" },
    command: "dev",
    plugins: { "001-broken.ts": "export default {" },
  });
  const listen = new URL(gateway.adminUrl).host;
  assertEquals(await healthcheck({ listen }), WELL);
  const { code, stderr } = await healthcheck({ listen }, { args: ["--ready"] });
  assertEquals(code, 1);
  assertMatch(stderr, /^conduit: 127\.0\.0\.1:\d+ answers 503: \{"status":"not ready"/);
});

Deno.test("conduit healthcheck exits 1 where nobody answers, and says where it asked", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const silent = healthcheck({ listen: `127.0.0.1:${port}` });
  const gone = await healthcheck({ listen: "unix:./gone.sock" });
  assertEquals(gone.code, 1);
  assertMatch(gone.stderr, /^conduit: unix:\S+\/gone\.sock does not answer: .*No such file/);
  const { code, stderr } = await silent;
  assertEquals(code, 1);
  assertStringIncludes(stderr, `conduit: 127.0.0.1:${port} does not answer: `);
});

const CANNOT: readonly (readonly [what: string, admin: unknown, stderr: string])[] = [
  ["admin is off", false, "admin is false in the configuration: nobody can be asked"],
  [
    "the port is left to the system",
    { listen: "127.0.0.1:0" },
    `admin.listen is "127.0.0.1:0": name a port, so that it can be asked`,
  ],
  ["admin is wrong", { listen: 1 }, `admin.listen: 1 is not an address like ":8080"`],
];
for (const [what, admin, stderr] of CANNOT) {
  Deno.test(`conduit healthcheck exits 1 where ${what}`, async () => {
    assertEquals(await healthcheck(admin), { code: 1, stdout: "", stderr: `conduit: ${stderr}\n` });
  });
}
