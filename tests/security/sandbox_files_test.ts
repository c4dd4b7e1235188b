import { assertRefused } from "../support/hostile_plugin.ts";

Deno.test("sandbox: a plugin cannot read outside its folder (attack 22)", (t) =>
  assertRefused(t, {
    "Deno.readTextFile": `Deno.readTextFile("/etc/passwd")`,
    "Deno.open": `Deno.open("/etc/passwd")`,
    "Deno.stat": `Deno.stat("/etc")`,
    "Deno.realPath": `Deno.realPath("/proc/self/exe")`,
    "Deno.readDir": `Array.fromAsync(Deno.readDir("/"))`,
    "Deno.readLink": `Deno.readLink("/proc/self/cwd")`,
    "Deno.watchFs": `Deno.watchFs("/etc")`,
    "node:fs": `(await import("node:fs")).readFileSync("/etc/passwd")`,
    "node:fs open": `(await import("node:fs")).openSync("/etc/passwd")`,
    "node:fs/promises": `(await import("node:fs/promises")).readFile("/etc/passwd")`,
    "node:fs exists": `(await import("node:fs")).accessSync("/etc/passwd")`,
    "node:module require": `(await import("node:module")).createRequire("/etc/")("/etc/passwd")`,
    "node:sqlite":
      `new (await import("node:sqlite")).DatabaseSync(outside + "/outside.ts", { readOnly: true })`,
    "import": `import("/etc/passwd")`,
    "import by URL": `import("file://" + outside + "/outside.ts")`,
    "import as JSON": `import("file://" + outside + "/outside.ts", { with: { type: "json" } })`,
    "import by a way out of the folder": `import("../../../../../../../../../etc/passwd")`,
    "fetch file:": `fetch("file:///etc/passwd")`,
    "Worker from a file":
      `event(new Worker("file://" + outside + "/outside.ts", { type: "module" }), "message", "error")`,
    "the gateway's lock": `Deno.readTextFile(at("lock"))`,
    "the plugin socket": `Deno.stat(at("host.sock"))`,
    "the private folder": `Array.fromAsync(Deno.readDir(at("")))`,
    "Deno's cache of the host": `Array.fromAsync(Deno.readDir(at("deno")))`,
    "the host's environment": `Deno.readTextFile("/proc/self/environ")`,
    "the host's stdin, which its secret came by": `Deno.readTextFile("/proc/self/fd/0")`,
    "the gateway's memory map": `Deno.readTextFile("/proc/" + Deno.ppid + "/maps")`,
  }));

Deno.test("sandbox: a plugin cannot write anywhere (attack 22)", (t) =>
  assertRefused(t, {
    "Deno.writeTextFile": `Deno.writeTextFile(outside + "/written", "x")`,
    "beside itself": `Deno.writeTextFile(new URL("written", import.meta.url), "x")`,
    "itself": `Deno.writeTextFile(new URL(import.meta.url), "x")`,
    "Deno.create": `Deno.create(outside + "/written")`,
    "Deno.mkdir": `Deno.mkdir(outside + "/written")`,
    "Deno.makeTempFile": `Deno.makeTempFile()`,
    "Deno.makeTempDir in a folder": `Deno.makeTempDir({ dir: outside })`,
    "Deno.chmod": `Deno.chmod(outside + "/outside.ts", 0o777)`,
    "Deno.chown": `Deno.chown(outside + "/outside.ts", 0, 0)`,
    "Deno.truncate": `Deno.truncate(outside + "/outside.ts")`,
    "Deno.utime": `Deno.utime(outside + "/outside.ts", 0, 0)`,
    "Deno.copyFile": `Deno.copyFile(new URL(import.meta.url), outside + "/written")`,
    "Deno.rename": `Deno.rename(outside + "/outside.ts", outside + "/written")`,
    "Deno.link": `Deno.link(outside + "/outside.ts", outside + "/written")`,
    "Deno.symlink out of the folder": `Deno.symlink("/etc", new URL("link", import.meta.url))`,
    "Deno.chdir": `Deno.chdir("/")`,
    "remove a file": `Deno.remove(outside + "/outside.ts")`,
    "remove the plugin socket": `Deno.remove(at("host.sock"))`,
    "replace the plugin socket": `Deno.rename(at("host.sock"), at("other.sock"))`,
    "node:fs": `(await import("node:fs")).writeFileSync(outside + "/written", "x")`,
    "node:fs/promises": `(await import("node:fs/promises")).writeFile(outside + "/written", "x")`,
    "a stream of node:fs":
      `emitted((await import("node:fs")).createWriteStream(outside + "/written"), "open")`,
    "node:sqlite": `new (await import("node:sqlite")).DatabaseSync(outside + "/written")`,
    "a heap snapshot": `(await import("node:v8")).writeHeapSnapshot(outside + "/written")`,
    "the Cache API, which asks no permission": `caches.open("written")`,
    "the Cache API in a Worker": `new Promise((resolve, reject) => {
      const worker = new Worker(new URL("_cache.ts", import.meta.url), { type: "module" });
      worker.onmessage = ({ data }) => (worker.terminate(), data ? reject(new Error(data.replace(/^Error: /, ""))) : resolve());
    })`,
  }, {
    refusedBy: /^Error: Failed to create cache storage directory/,
    plugins: {
      "_cache.ts":
        `caches.open("written").then(() => "", String).then((error) => postMessage(error));`,
    },
  }));
