import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { scratch } from "./support/conduit.ts";
import { echoUpstream } from "./support/echo_upstream.ts";
import { ROOT } from "./support/gateway.ts";
import { lines } from "./support/lines.ts";

const UNITS = ["conduit.service", "conduit-host.service"] as const;

async function isThere(command: string): Promise<boolean> {
  const { success } = await new Deno.Command("sh", { args: ["-c", `command -v ${command}`] })
    .output();
  return success;
}

const noAnalyze = !await isThere("systemd-analyze");
const noStrace = noAnalyze || !await isThere("strace");
if (noAnalyze) console.log("IGNORED: systemd-analyze is not on this machine: no unit is verified");
if (noStrace) {
  console.log("IGNORED: without strace the system calls are not held against the units");
}

async function run(command: string, ...args: readonly string[]) {
  const output = await new Deno.Command(command, { args: [...args] }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}

/** Copies of the units that start a program which is there: `verify` looks for it. */
async function standIns() {
  const texts = await Promise.all(UNITS.map(async (name) => {
    const text = await Deno.readTextFile(join(ROOT, "deploy", name));
    assertMatch(text, /^ExecStart=\/usr\/local\/bin\/conduit /m);
    return [name, text.replaceAll("/usr/local/bin/conduit", "/bin/true")] as const;
  }));
  return await scratch(Object.fromEntries(texts));
}

Deno.test({
  name: "systemd-analyze verify finds nothing wrong with the units, and the exposure is below 3.0",
  ignore: noAnalyze,
  async fn() {
    await using dir = await standIns();
    for (const name of UNITS) {
      const unit = join(dir.path, name);
      await Deno.chmod(unit, 0o644);
      const verified = await run("systemd-analyze", "verify", "--man=no", unit);
      assertEquals([verified.code, verified.stderr], [0, ""]);
      const rated = await run(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=30",
        unit,
      );
      assertEquals(rated.code, 0, rated.stdout + rated.stderr);
      assertMatch(rated.stdout, /Overall exposure level/);
      // Both bite: a key that does not exist, and a unit without any protection.
      await Deno.writeTextFile(unit, "[Service]\nExecStart=/bin/true\nNoSuchKey=1\n");
      assertMatch((await run("systemd-analyze", "verify", "--man=no", unit)).stderr, /NoSuchKey/);
      const open = await run(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=30",
        unit,
      );
      assert(open.code !== 0);
    }
  },
});

Deno.test("the units are what the design wants of them", async () => {
  for (const name of UNITS) {
    const text = await Deno.readTextFile(join(ROOT, "deploy", name));
    const keys = text.replaceAll(/^#.*$/gm, "").split("\n");
    for (
      const line of [
        "DynamicUser=yes",
        "KillMode=mixed",
        "ProtectSystem=strict",
        "ConfigurationDirectory=conduit",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "SystemCallFilter=@system-service @pkey",
      ]
    ) {
      assert(keys.includes(line), `${name}: ${line}`);
    }
    assert(!keys.some((line) => line.startsWith("MemoryDenyWriteExecute")), "V8 would not start");
    assertEquals(keys.filter((line) => line.startsWith("EnvironmentFile")).length, 1);
  }
});

/** The calls that a filter lets pass, with those of the sets in it. */
async function permittedCalls(...sets: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>();
  for (const set of sets) {
    const { stdout } = await run("systemd-analyze", "syscall-filter", "--no-pager", set);
    for (const line of stdout.split("\n").slice(1)) {
      const name = line.trim();
      if (name.startsWith("@")) (await permittedCalls(name)).forEach((each) => found.add(each));
      else if (name !== "" && !name.startsWith("#")) found.add(name);
    }
  }
  return found;
}

Deno.test({
  name: "gateway and plugin host make no system call that the units' filter refuses",
  ignore: noStrace,
  async fn() {
    await using upstream = echoUpstream();
    await using dir = await scratch({
      "conduit.config.json": JSON.stringify({
        listen: "127.0.0.1:0",
        admin: { listen: "127.0.0.1:0" },
        pluginPoolSize: 1,
        log: { format: "json" },
        hookTimeoutMs: 20_000,
        hardCeilingMs: 20_000,
        routes: [{ path: "/*", upstream: upstream.url }],
      }),
      "plugins/001-a.ts": "export default { afterResponse(ctx) { ctx.response.setStatus(299); } };",
    });
    const calls = join(dir.path, "calls");
    const traced = new Deno.Command("strace", {
      args: [
        ...["-f", "-c", "-o", calls, Deno.execPath(), "run", "-A", join(ROOT, "main.ts")],
        ...["run", "--config", join(dir.path, "conduit.config.json")],
      ],
      env: { TMPDIR: dir.path, NO_COLOR: "1" },
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    let pid = 0;
    let reloaded = false;
    let log = "";
    for await (const line of lines(traced.stdout)) {
      log += `${line}\n`;
      const { message, address, pid: its, changed } = JSON.parse(line);
      if (message === "listening") {
        pid = its;
        const response = await fetch(`http://${address}/`, { method: "POST", body: "x" });
        await response.body?.cancel();
        assertEquals(response.status, 299);
        const file = join(dir.path, "conduit.config.json");
        const config = JSON.parse(await Deno.readTextFile(file));
        await Deno.writeTextFile(file, JSON.stringify({ ...config, pluginPoolSize: 2 }));
      }
      if (message === "ready") Deno.kill(pid, "SIGHUP");
      if (changed !== undefined) {
        reloaded = true;
        Deno.kill(pid, "SIGTERM");
      }
    }
    assertEquals([(await traced.status).code, reloaded], [0, true], log);
    const made = (await Deno.readTextFile(calls)).split("\n").slice(2)
      .map((line) => line.trim().split(/\s+/).at(-1) ?? "")
      .filter((name) => /^[a-z]\w+$/.test(name) && name !== "total");
    assert(made.length > 30, `${made}`);
    const permitted = await permittedCalls("@system-service", "@pkey");
    assertEquals(made.filter((name) => !permitted.has(name)), []);
  },
});
