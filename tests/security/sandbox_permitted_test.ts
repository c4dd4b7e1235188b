import { assertEquals } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";

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
