import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  HEAP_FLAG,
  hostCommand,
  type HostFiles,
  pluginEnvironment,
  pluginHosts,
  SandboxError,
} from "../../gateway/sandbox.ts";
import type { Config } from "../../gateway/config.ts";
import { RELEASE_FLAGS } from "../../deploy/stage.ts";

const FILES: HostFiles = {
  deno: "/opt/deno",
  entry: "/opt/conduit/plugin-host/main.ts",
  sources: ["/opt/conduit/plugin-host", "/opt/conduit/protocol"],
  socket: "/run/c/host.sock",
  pluginsRoot: "/run/c/plugins",
  denoDir: "/run/c/deno",
};

/** The part of a configuration that the sandbox is derived from. */
function config(
  upstreams: readonly (readonly [hostname: string, port: number])[],
  pluginNet: readonly string[] = [],
): Pick<Config, "routes" | "pluginNet"> {
  const routes = upstreams.map(([hostname, port]) => ({
    upstreams: [{ protocol: "http:", hostname, port }],
  }));
  return { routes, pluginNet } as unknown as Pick<Config, "routes" | "pluginNet">;
}

function flag(name: string, args: readonly string[]): string | undefined {
  return args.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
}

Deno.test("plugins may reach upstreams and pluginNet, each once, in a fixed order", () => {
  assertEquals(
    pluginHosts(
      config([["b", 80], ["a", 8080], ["b", 80], ["[::1]", 443]], ["redis:6379", "a:8080"]),
    ),
    ["[::1]:443", "a:8080", "b:80", "redis:6379"],
  );
});

Deno.test("only what pluginEnv names and is set reaches plugins, empty values included", () => {
  const env: Readonly<Record<string, string>> = { A: "1", B: "", OTHER: "x" };
  assertEquals(pluginEnvironment({ pluginEnv: ["A", "B", "C"] }, (name) => env[name]), {
    A: "1",
    B: "",
  });
});

Deno.test("without pluginEnv there is no right to any variable; with it to those alone", () => {
  assertEquals(flag("--allow-env", hostCommand(config([]), FILES, {}).args), undefined);
  const { args, env } = hostCommand(config([]), FILES, { A: "secret-1", B: "secret-2" });
  assertEquals(flag("--allow-env", args), "A,B");
  assert(!args.join(" ").includes("secret"));
  assertEquals(env, {
    A: "secret-1",
    B: "secret-2",
    DENO_DIR: "/run/c/deno",
    DENO_NO_PACKAGE_JSON: "1",
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
  });
});

Deno.test("no variable that pluginEnv passes on can move the host's own", () => {
  const { env } = hostCommand(config([]), FILES, { DENO_DIR: "/evil", NO_COLOR: "" });
  assertEquals([env.DENO_DIR, env.NO_COLOR], ["/run/c/deno", "1"]);
});

Deno.test("the right to run, to FFI, to all of anything is never given, and what is not named is denied without a question", () => {
  const { args } = hostCommand(config([["a", 1]], ["b"]), FILES, { A: "" });
  for (
    const needed of [
      "--no-prompt",
      "--no-remote",
      "--cached-only",
      "--deny-run",
      "--deny-ffi",
      "--no-config",
      "--no-lock",
    ]
  ) {
    assert(args.includes(needed), needed);
  }
  for (const arg of args) {
    assert(
      !/^(-A|-[RWNES]|--allow-(all|run|ffi|sys|import|scripts)\b|--allow-\w+$)/.test(arg),
      arg,
    );
  }
});

Deno.test("every process that runs for long bounds V8's young generation alike, also from a checkout", async () => {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("../../deno.json", import.meta.url)),
  );
  assert(tasks.start.split(" ").includes(HEAP_FLAG), tasks.start);
  assert(RELEASE_FLAGS.includes(HEAP_FLAG));
  assert(hostCommand(config([]), FILES, {}).args.includes(HEAP_FLAG));
});

Deno.test("a path with a comma is refused, since Deno would allow the path before the comma", () => {
  const files = { ...FILES, pluginsRoot: "/run/a,b/plugins" };
  const error = assertThrows(() => hostCommand(config([]), files, {}), SandboxError);
  assert(error.message.includes('"/run/a,b/plugins"'), error.message);
});

Deno.test("a real Deno takes paths with spaces, and IPv6 addresses, as they were meant", async () => {
  const dir = await Deno.makeTempDir({ prefix: "conduit test " });
  try {
    await Deno.writeTextFile(
      `${dir}/entry.ts`,
      `const state = async (it) => (await Deno.permissions.query(it)).state;
      console.log((await Promise.all([
        state({ name: "read", path: ${JSON.stringify(dir)} }),
        state({ name: "read", path: ${JSON.stringify(dir.split(" ")[0])} }),
        state({ name: "read", path: "test" }),
        state({ name: "net", host: "[::1]:443" }),
        state({ name: "net", host: "[::1]:444" }),
        state({ name: "net", host: "a:80" }),
        state({ name: "env", variable: "A" }),
        state({ name: "env", variable: "HOME" }),
      ])).join());`,
    );
    const { command, args, env } = hostCommand(config([["[::1]", 443], ["a", 80]]), {
      ...FILES,
      deno: Deno.execPath(),
      entry: `${dir}/entry.ts`,
      sources: [dir],
      socket: `${dir}/host.sock`,
      pluginsRoot: `${dir}/plugins`,
      denoDir: `${dir}/deno`,
    }, { A: "1" });
    const { stdout, stderr } = await new Deno.Command(command, {
      args: [...args],
      env,
      clearEnv: true,
    }).output();
    const decoder = new TextDecoder();
    assertEquals(
      decoder.decode(stdout),
      "granted,prompt,prompt,granted,prompt,granted,granted,prompt\n",
      decoder.decode(stderr),
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
