import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { echoUpstream } from "../support/echo_upstream.ts";
import { isRunning, testGateway } from "../support/gateway.ts";

/** What one hostile plugin tries; each is an expression that throws or rejects where the sandbox holds (ATTACKS 22). */
const ATTEMPTS: Readonly<Record<string, string>> = {
  "read /etc/passwd": `Deno.readTextFile("/etc/passwd")`,
  "read /etc/passwd by node:fs": `(await import("node:fs")).readFileSync("/etc/passwd")`,
  "import /etc/passwd": `import("/etc/passwd")`,
  "import a file outside by URL": `import("file://" + outside + "/outside.ts")`,
  "read the gateway's lock": `Deno.readTextFile(at("lock"))`,
  "look at the plugin socket": `Deno.stat(at("host.sock"))`,
  "read the private folder": `Array.fromAsync(Deno.readDir(at("")))`,
  "read the host's environment": `Deno.readTextFile("/proc/self/environ")`,
  "read the gateway's memory map": `Deno.readTextFile("/proc/" + Deno.ppid + "/maps")`,
  "write outside": `Deno.writeTextFile(outside + "/written", "x")`,
  "write beside itself": `Deno.writeTextFile(new URL("written", import.meta.url), "x")`,
  "write by node:fs": `(await import("node:fs")).writeFileSync(outside + "/written", "x")`,
  "remove the plugin socket": `Deno.remove(at("host.sock"))`,
  "replace the plugin socket": `Deno.rename(at("host.sock"), at("other.sock"))`,
  "link out": `Deno.symlink("/etc", new URL("link", import.meta.url))`,
  "Deno.Command": `new Deno.Command("/usr/bin/touch", { args: [outside + "/written"] }).output()`,
  "node:child_process":
    `(await import("node:child_process")).execSync("/usr/bin/touch " + outside + "/written")`,
  "kill the gateway": `Deno.kill(Deno.ppid, "SIGKILL")`,
  "kill the gateway by node:process": `(await import("node:process")).kill(Deno.ppid, "SIGKILL")`,
  "Deno.connect": `Deno.connect({ hostname: "127.0.0.1", port: forbidden })`,
  "Deno.connect by another name": `Deno.connect({ hostname: "localhost", port: forbidden })`,
  "node:net": `new Promise((resolve, reject) => import("node:net").then((net) =>
    net.connect(forbidden, "127.0.0.1").on("connect", resolve).on("error", reject)).catch(reject))`,
  "fetch": `fetch("http://127.0.0.1:" + forbidden)`,
  "ctx.services.http.fetch": `ctx.services.http.fetch("http://127.0.0.1:" + forbidden)`,
  "WebSocket": `new WebSocket("ws://127.0.0.1:" + forbidden)`,
  // node:dgram throws where nobody can catch it.
  "send a datagram": `new Promise((resolve, reject) => {
    addEventListener("error", ({ error }) => reject(error), { once: true });
    import("node:dgram").then((dgram) =>
      dgram.createSocket("udp4").send("x", forbidden, "127.0.0.1", resolve)).catch(reject);
  })`,
  "listen": `Deno.listen({ port: 0 })`,
  "resolve a name": `Deno.resolveDns("secret.example.com", "A")`,
  "open the plugin socket again":
    `Deno.connect({ transport: "unix", path: at("host.sock").pathname })`,
  "open the plugin socket by node:net": `new Promise((resolve, reject) =>
    import("node:net").then((net) => net.connect(at("host.sock").pathname)
      .on("connect", resolve).on("error", reject)).catch(reject))`,
  "import from a registry over https": `import("https://esm.sh/left-pad@1.3.0?" + Math.random())`,
  "import over http from a forbidden host": `import("http://127.0.0.1:" + forbidden + "/x.js")`,
  "import over http from an upstream": `import("http://127.0.0.1:" + upstream + "/x.js")`,
  "import an npm package that is not cached": `import("npm:left-pad@1.3.0")`,
  "import a jsr package that is not cached": `import("jsr:@std/assert@1.0.0")`,
  "a Worker with more permissions": `new Worker(new URL("_nested.ts", import.meta.url), {
    type: "module", deno: { permissions: { read: true, net: true, run: true } } })`,
  "a Worker that inherits, and tries the socket": `nested("socket")`,
  "a Worker that inherits, and tries to read": `nested("read")`,
  "a node:worker_threads Worker": `new Promise((resolve, reject) => import("node:worker_threads")
    .then(({ Worker }) => new Worker("require('node:fs').readFileSync('/etc/passwd')", { eval: true })
      .on("exit", resolve).on("error", reject)).catch(reject))`,
  "Deno.env.get": `Deno.env.get("GATEWAY_ONLY")`,
  "Deno.env.toObject": `Deno.env.toObject()`,
  "Deno.env.set": `Deno.env.set("LD_PRELOAD", "/x.so")`,
  "FFI": `Deno.dlopen("libc.so.6", {})`,
  "system information": `Deno.hostname()`,
};

/** What a sandboxed attempt ends with. */
const REFUSED =
  /NotCapable|PermissionDenied|Requires .+ access|not found in cache|--cached-only|--no-remote|remote specifier|escalate|ERR_ACCESS_DENIED|not a host that plugins may reach/;

const HELPERS = `
const at = (name) => new URL("../../" + name, import.meta.url);
const nested = (what) => new Promise((resolve, reject) => {
  const worker = new Worker(new URL("_nested.ts", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => data.error ? reject(new Error(data.error)) : resolve(data);
  worker.onerror = (event) => { event.preventDefault(); reject(new Error(event.message)); };
  worker.postMessage({ what, socket: at("host.sock").pathname });
});`;
const NESTED = `self.onmessage = async ({ data }) => {
  try {
    if (data.what === "socket") await Deno.connect({ transport: "unix", path: data.socket });
    else await Deno.readTextFile("/etc/passwd");
    self.postMessage({});
  } catch (error) { self.postMessage({ error: error.name + ": " + error.message }); }
};`;

function hostilePlugin(values: Readonly<Record<string, unknown>>): string {
  const constants = Object.entries(values).map(([name, value]) =>
    `const ${name} = ${JSON.stringify(value)};`
  );
  const attempts = Object.entries(ATTEMPTS).map(([name, code]) =>
    `${JSON.stringify(name)}: async (ctx) => await (${code}),`
  );
  return `${constants.join("\n")}${HELPERS}
  const attempts = { ${attempts.join("\n")} };
  export default {
    async beforeRequest(ctx) {
      try {
        await attempts[ctx.request.searchParams().get("attempt")](ctx);
        ctx.response.setHeader("x-outcome", "it worked");
      } catch (error) {
        ctx.response.setHeader("x-outcome", (error.name + ": " + error.message).replace(/[^ -~]/g, " ").slice(0, 500));
      }
    },
  };`;
}

Deno.test("sandbox: a hostile plugin", async (t) => {
  await using upstream = echoUpstream();
  await using other = echoUpstream();
  const outside = await Deno.makeTempDir({ prefix: "conduit-test-" });
  await Deno.writeTextFile(join(outside, "outside.ts"), "export default 1;");
  try {
    await using gateway = await testGateway({
      config: {
        hookTimeoutMs: 15_000,
        hardCeilingMs: 16_000,
        pluginEnv: ["ALLOWED"],
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      env: { ALLOWED: "yes", GATEWAY_ONLY: "secret" },
      plugins: {
        "001-hostile.ts": hostilePlugin({
          outside,
          forbidden: other.port,
          upstream: upstream.port,
        }),
        "_nested.ts": NESTED,
      },
    });
    const [host = 0] = await gateway.hostPids();
    for (const name of Object.keys(ATTEMPTS)) {
      await t.step(`${name} is refused, and the plugin can tell why`, async () => {
        const response = await gateway.fetch(`/x?attempt=${encodeURIComponent(name)}`);
        await response.body?.cancel();
        assertEquals(response.status, 200);
        assertMatch(response.headers.get("x-outcome") ?? "", REFUSED);
      });
    }
    await t.step("and nothing was done", async () => {
      assertEquals([...Deno.readDirSync(outside)].map((each) => each.name), ["outside.ts"]);
      assertEquals(other.seen, []);
      assert(upstream.seen.every(({ target }) => target.startsWith("/x?attempt=")));
      assert(await isRunning(gateway.pid) && await isRunning(host));
      const [copy] = await Array.fromAsync(Deno.readDir(join(gateway.dir, "plugins")));
      assert(copy);
    });
  } finally {
    await Deno.remove(outside, { recursive: true });
  }
});

Deno.test("sandbox: a permission that a plugin asks for is denied without a question", async () => {
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
    plugins: {
      "001-asks.ts": `export default {
        async beforeRequest(ctx) {
          const states = [];
          for (const name of ["read", "write", "net", "run", "ffi", "env", "sys"]) {
            states.push((await Deno.permissions.request({ name })).state);
          }
          ctx.reject(418, [...new Set(states)].join());
        },
      };`,
    },
  });
  const answer = await (await gateway.fetch("/")).json();
  assertEquals(answer.error.message, "denied");
});

Deno.test("sandbox: what a plugin may do works: upstreams, pluginNet, pluginEnv, its own files, node's pure modules", async () => {
  await using upstream = echoUpstream({ name: "the upstream" });
  await using extra = echoUpstream({ name: "the extra host" });
  await using gateway = await testGateway({
    config: {
      hookTimeoutMs: 5000,
      hardCeilingMs: 6000,
      pluginNet: [`127.0.0.1:${extra.port}`],
      pluginEnv: ["ALLOWED"],
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    env: { ALLOWED: "yes" },
    plugins: {
      "001-good.ts": `import { createHash } from "node:crypto";
      import data from "./_data.json" with { type: "json" };
      export default {
        async beforeRequest(ctx) {
          const names = [];
          for (const port of [${upstream.port}, ${extra.port}]) {
            names.push((await (await ctx.services.http.fetch("http://127.0.0.1:" + port)).json()).name);
          }
          const hash = createHash("sha256").update("x").digest("hex").slice(0, 4);
          ctx.reject(418, [...names, Deno.env.get("ALLOWED"), data.is, hash].join());
        },
      };`,
      "_data.json": `{ "is": "read" }`,
    },
  });
  const answer = await (await gateway.fetch("/")).json();
  assertEquals(answer.error.message, "the upstream,the extra host,yes,read,2d71");
});
