import { assertRefused } from "../support/hostile_plugin.ts";

Deno.test("sandbox: a plugin cannot start a program (attack 22)", (t) =>
  assertRefused(t, {
    "Deno.Command": `new Deno.Command("/usr/bin/touch", { args: [outside + "/written"] }).output()`,
    "Deno.Command spawn":
      `new Deno.Command("/usr/bin/touch", { args: [outside + "/written"] }).spawn()`,
    "Deno.Command of Deno itself":
      `new Deno.Command(Deno.execPath(), { args: ["eval", ""] }).outputSync()`,
    "node:child_process exec":
      `(await import("node:child_process")).execSync("/usr/bin/touch " + outside + "/written")`,
    "node:child_process spawn":
      `emitted((await import("node:child_process")).spawn("/usr/bin/touch", [outside + "/written"]), "exit")`,
    "node:child_process fork": `(await import("node:child_process")).fork(outside + "/outside.ts")`,
    "node:cluster": `(await import("node:cluster")).default.fork()`,
    "kill the gateway": `Deno.kill(Deno.ppid, "SIGKILL")`,
    "kill the gateway by node:process": `(await import("node:process")).kill(Deno.ppid, "SIGKILL")`,
  }));

Deno.test("sandbox: a plugin cannot load native code (attack 22)", (t) =>
  assertRefused(t, {
    "Deno.dlopen": `Deno.dlopen("libc.so.6", {})`,
    "Deno.UnsafePointer": `Deno.UnsafePointer.of(new Uint8Array(1))`,
    "Deno.UnsafeCallback": `new Deno.UnsafeCallback({ parameters: [], result: "void" }, () => {})`,
    "process.dlopen": `(await import("node:process")).default.dlopen({ exports: {} }, "/x.node")`,
    "require of an addon":
      `(await import("node:module")).createRequire(import.meta.url)("./x.node")`,
  }, { plugins: { "x.node": "" } }));

Deno.test("sandbox: a plugin cannot learn of or change the environment beyond pluginEnv (attack 22)", (t) =>
  assertRefused(t, {
    "Deno.env.get": `Deno.env.get("GATEWAY_ONLY")`,
    "Deno.env.get of PATH": `Deno.env.get("PATH")`,
    "Deno.env.has": `Deno.env.has("GATEWAY_ONLY")`,
    "Deno.env.toObject": `Deno.env.toObject()`,
    "Deno.env.set": `Deno.env.set("LD_PRELOAD", "/x.so")`,
    "Deno.env.delete": `Deno.env.delete("DENO_DIR")`,
    "process.env": `(await import("node:process")).default.env.GATEWAY_ONLY.length`,
    "all of process.env": `Object.keys((await import("node:process")).default.env)`,
    "the machine's name": `Deno.hostname()`,
    "node:os hostname": `(await import("node:os")).hostname()`,
    "the machine's addresses": `Deno.networkInterfaces()`,
    "the system": `Deno.osRelease()`,
    "the user": `Deno.uid()`,
    "node:os userInfo": `(await import("node:os")).userInfo()`,
    "the machine's load": `Deno.loadavg()`,
    "the machine's memory": `Deno.systemMemoryInfo()`,
  }));
