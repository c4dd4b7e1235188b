import { assert, assertEquals } from "@std/assert";
import { ask, askMany, assertPoliced, POLICY, untilReady } from "../support/failure.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { assertRefused } from "../support/hostile_plugin.ts";

Deno.test("sandbox: a plugin cannot open the plugin socket again, and so not pose as another isolate (attack 22)", (t) =>
  assertRefused(t, {
    "Deno.connect": `Deno.connect({ transport: "unix", path: at("host.sock").pathname })`,
    "node:net": `emitted((await import("node:net")).connect(at("host.sock").pathname), "connect")`,
    "node:http":
      `emitted((await import("node:http")).get({ socketPath: at("host.sock").pathname }), "response")`,
    "fetch":
      `fetch("http://x/", { client: Deno.createHttpClient({ proxy: { transport: "unix", path: at("host.sock").pathname } }) })`,
    "asking for the permission":
      `Deno.permissions.request({ name: "net", host: "unix:" + at("host.sock").pathname })
      .then(({ state }) => { if (state !== "granted") throw new Deno.errors.NotCapable(state); })`,
    "listening in its place": `Deno.listen({ transport: "unix", path: at("host.sock").pathname })`,
  }));

Deno.test("sandbox: a plugin has no way to Deno's raw operations, by which it could write into the isolate's connection", (t) =>
  assertRefused(t, {
    "Deno[Deno.internal]": `Deno[Deno.internal].core.ops.op_write`,
    "its well-known symbol":
      `Object.getOwnPropertySymbols(Deno).map((each) => Deno[each].core)[0].ops`,
    "another Deno": `globalThis.Deno = {}`,
    "stdin, by which the gateway's commands come": `Deno.stdin.read(new Uint8Array(1))`,
    "import of an ext: module": `import("ext:core/mod.js")`,
    "a class that the connection is of": `(async () => {
      const conn = await Deno.connect({ hostname: "127.0.0.1", port: upstream });
      try {
        Object.getPrototypeOf(Object.getPrototypeOf(conn)).write = function () { return this; };
      } finally { conn.close(); }
    })()`,
  }, {
    refusedBy:
      /^TypeError: (?:Cannot read properties of undefined|Cannot assign to read only property|Unsupported scheme|.*ext:)/,
  }));

Deno.test("sandbox: a plugin that reads process.stdin finds it empty, and takes no command of the gateway away", async () => {
  await using upstream = echoUpstream();
  const source = (version: string) =>
    `import process from "node:process";
    process.stdin.on("data", () => {});
    export default { beforeRequest(ctx) { ctx.response.setHeader("x-version", "${version}"); } };`;
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { "001-reads.ts": source("0") },
  });
  // With two isolates that read, the main thread would get one command of three.
  for (const version of ["1", "2", "3", "4"]) {
    await gateway.savePlugin("001-reads.ts", source(version));
    await gateway.until(
      async () => (await ask(gateway, "/")).headers.get("x-version") === version,
      { what: version },
    );
  }
});

/** Deno 2.9.6 checks no permission here. Its own connection, those of other isolates and the host's are among them. */
const WRITES_TO_ALL = `import { Socket } from "node:net";
addEventListener("unhandledrejection", (event) => event.preventDefault());
export default {
  async beforeRequest(ctx) {
    if (ctx.request.path !== "/write") return;
    for (let fd = 3; fd < 64; fd++) {
      try { new Socket({ fd }).on("error", () => {}).write("\\0\\0\\0\\x0f{\\"type\\":\\"odd\\"}"); } catch { /* no socket */ }
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  },
};`;

Deno.test("sandbox: a plugin that writes into every descriptor of its process breaks that process, and no request passes the policy by", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      routes: [{ path: "/*", upstream: upstream.url }],
      hookTimeoutMs: 1000,
      hardCeilingMs: 1000,
    },
    plugins: { "001-policy.ts": POLICY, "002-writes.ts": WRITES_TO_ALL },
  });
  const [host] = await gateway.hostPids();
  const answers = [...await askMany(gateway, "/before", 10)];
  const [attack, ...beside] = await Promise.all([
    ask(gateway, "/write"),
    ...Array.from({ length: 20 }, () => ask(gateway, "/beside")),
  ]);
  assert(attack);
  await gateway.waitForLog((line) => line.message === "a plugin connection broke the protocol");
  await untilReady(gateway);
  await gateway.until(async () => (await ask(gateway, "/after")).status === 200, { what: "a 200" });
  for (const { status } of [attack, ...beside]) {
    assert([200, 500, 503].includes(status), `${status}`);
  }
  assertEquals(answers.map(({ status }) => status), Array(10).fill(200));
  assertPoliced(upstream);
  const [now] = await gateway.hostPids();
  assert(now !== undefined && host !== undefined);
});
