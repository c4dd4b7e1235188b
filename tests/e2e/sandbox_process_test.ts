import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { echoUpstream } from "../support/echo_upstream.ts";
import { ROOT, testGateway } from "../support/gateway.ts";
import { wordsOf } from "../support/proc.ts";

const SECRETS = { SESSION_SECRET: "session-hush", GATEWAY_ONLY: "gateway-hush" };

async function startedHost(upstream: { readonly url: string }, pluginEnv: readonly string[]) {
  const gateway = await testGateway({
    config: {
      pluginEnv,
      pluginNet: ["redis.example.com:6379"],
      pluginConfig: { "001-env": { token: "config-hush" } },
      routes: [{ path: "/*", upstream: [upstream.url, "http://[::1]:2"] }],
    },
    env: SECRETS,
    plugins: {
      "001-env.ts": `let env;
      export default {
        onLoad(init) { env = init.env; },
        beforeRequest(ctx) { ctx.reject(418, JSON.stringify(env)); },
      };`,
    },
  });
  const [host = 0] = await gateway.hostPids();
  const run = join(gateway.dir, "run");
  const [entry] = await Array.fromAsync(Deno.readDir(run));
  return { gateway, host, privateDir: join(run, entry?.name ?? "") };
}

for (const pluginEnv of [[], ["SESSION_SECRET", "NOT_SET"]]) {
  const what = pluginEnv.length > 0 ? "pluginEnv" : "no pluginEnv";
  Deno.test(`sandbox: with ${what} the host runs with exactly the flags and the environment that it needs`, async () => {
    await using upstream = echoUpstream();
    const { gateway, host, privateDir } = await startedHost(upstream, pluginEnv);
    await using _ = gateway;
    const source = (folder: string) => join(ROOT, folder);
    const socket = join(privateDir, "host.sock");
    const names = pluginEnv.filter((name) => name in SECRETS);
    assertEquals(await wordsOf(host, "cmdline"), [
      Deno.execPath(),
      "run",
      "--no-prompt",
      "--no-config",
      "--no-lock",
      "--no-code-cache",
      "--v8-flags=--max-semi-space-size=8",
      "--no-remote",
      "--cached-only",
      "--unstable-worker-options",
      "--deny-run",
      "--deny-ffi",
      `--allow-net=127.0.0.1:${upstream.port},[::1]:2,redis.example.com:6379,unix:${socket}`,
      `--allow-read=${source("plugin-host")},${source("protocol")},${privateDir}/plugins,${socket}`,
      `--allow-write=${socket}`,
      ...(names.length > 0 ? [`--allow-env=${names.join(",")}`] : []),
      source("plugin-host/main.ts"),
    ]);
    assertEquals((await wordsOf(host, "environ")).sort(), [
      `DENO_DIR=${privateDir}/deno`,
      "DENO_NO_PACKAGE_JSON=1",
      "DENO_NO_UPDATE_CHECK=1",
      "NO_COLOR=1",
      ...names.map((name) => `${name}=session-hush`),
    ]);
    const answer = await (await gateway.fetch("/")).json();
    assertEquals(
      JSON.parse(answer.error.message),
      Object.fromEntries(names.map((name) => [name, "session-hush"])),
    );
  });
}

Deno.test("sandbox: no secret stands on a command line or in a log, and the private folder is closed to others", async () => {
  await using upstream = echoUpstream();
  const { gateway, host, privateDir } = await startedHost(upstream, ["SESSION_SECRET"]);
  await using _ = gateway;
  await (await gateway.fetch("/")).body?.cancel();
  const shown = [
    ...await wordsOf(host, "cmdline"),
    ...await wordsOf(gateway.pid, "cmdline"),
    JSON.stringify(gateway.logs),
    gateway.stderr,
  ].join("\n");
  assert(!/hush/.test(shown), shown);
  assert(!/config-hush|gateway-hush/.test((await wordsOf(host, "environ")).join("\n")));
  const mode = async (path: string) => ((await Deno.stat(path)).mode ?? 0) & 0o777;
  assertEquals(await mode(privateDir), 0o700);
  assertEquals(await mode(join(privateDir, "host.sock")), 0o600);
});
