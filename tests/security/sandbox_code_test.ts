import { assertRefused } from "../support/hostile_plugin.ts";

Deno.test("sandbox: a plugin imports no code from the network, which would carry data out (attack 22)", (t) =>
  assertRefused(t, {
    "over https from a registry": `import("https://esm.sh/left-pad@1.3.0?" + Math.random())`,
    "over http from a forbidden host": `import("http://127.0.0.1:" + forbidden + "/x.js")`,
    "over http from an upstream": `import("http://127.0.0.1:" + upstream + "/x.js")`,
    "an npm package that is not cached": `import("npm:left-pad@1.3.0")`,
    "an npm package with data in its name": `import("npm:secret-" + Date.now())`,
    "a jsr package that is not cached": `import("jsr:@std/assert@1.0.0")`,
    "a Worker from a remote URL":
      `event(new Worker("http://127.0.0.1:" + upstream + "/x.js", { type: "module" }), "message", "error")`,
  }));

const NESTED = `self.onmessage = async ({ data: { what, socket } }) => {
  try {
    const result = await {
      socket: () => Deno.connect({ transport: "unix", path: socket }),
      read: () => Deno.readTextFile("/etc/passwd"),
      run: () => new Deno.Command("/usr/bin/id").output(),
      environment: () => Deno.env.toObject(),
      remote: () => import("https://esm.sh/left-pad"),
    }[what]();
    self.postMessage({ result: String(result) });
  } catch (error) { self.postMessage({ error: error.name + ": " + error.message }); }
};`;
const nested = (what: string) =>
  `new Promise((resolve, reject) => {
    const worker = new Worker(new URL("_nested.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => (worker.terminate(), data.error ? reject(new Error(data.error)) : resolve(data));
    worker.onerror = (event) => { event.preventDefault(); reject(new Error(event.message)); };
    worker.postMessage({ what: "${what}", socket: at("host.sock").pathname });
  })`;
const withPermissions = (permissions: string) =>
  `new Worker(new URL("_nested.ts", import.meta.url), { type: "module", deno: { permissions: ${permissions} } })`;

Deno.test("sandbox: a Worker inside of an isolate has no more rights than the isolate (attack 22)", (t) =>
  assertRefused(t, {
    "read more": withPermissions("{ read: true }"),
    "reach more": withPermissions("{ net: true }"),
    "run": withPermissions("{ run: true }"),
    "load native code": withPermissions("{ ffi: true }"),
    "import": withPermissions("{ import: true }"),
    "see more of the environment": withPermissions("{ env: true }"),
    "inherit, and open the plugin socket": nested("socket"),
    "inherit, and read": nested("read"),
    "inherit, and run": nested("run"),
    "inherit, and see the environment": nested("environment"),
    "inherit, and import": nested("remote"),
    "a Worker of node:worker_threads":
      `emitted(new (await import("node:worker_threads")).Worker("require('node:fs').readFileSync('/etc/passwd')", { eval: true }), "exit")`,
  }, { plugins: { "_nested.ts": NESTED } }));
