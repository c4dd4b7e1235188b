import { assert, assertEquals } from "@std/assert";
import { adminPage } from "../support/admin_pages.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { ask } from "../support/failure.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { codeBlocks, readDoc } from "../support/prose.ts";

const PLUGINS = {
  "001-a.ts": `import { name } from "./_name.ts";
  export default {
    readsBodies: false,
    onTimeout: "reject",
    beforeRequest(ctx) {
      if (ctx.request.path === "/no") ctx.reject(403, name);
      ctx.upstream.setHeader("x-a", "b");
      ctx.upstream.setHeader("host", "evil");
    },
    async afterResponse() { await new Promise((resolve) => setTimeout(resolve, 30)); },
  };`,
  "_name.ts": `export const name = "no";`,
};

async function sha256(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(bytes).toHex();
}

Deno.test("/plugins tells what runs, by hash, what each hook came to and took, and why the files on disk do not load", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    plugins: PLUGINS,
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const before = await adminPage(gateway, "/plugins");
  const [hostPid] = await gateway.hostPids();
  assertEquals(before, {
    generation: 1,
    generations: 1,
    readyIsolates: 2,
    hostPid,
    loadError: null,
    plugins: [{
      name: "001-a",
      file: "001-a.ts",
      sha256: await sha256(PLUGINS["001-a.ts"]),
      onTimeout: "reject",
      readsBodies: false,
      hooks: { beforeRequest: { count: 0 }, afterResponse: { count: 0 } },
    }],
    files: {
      "001-a.ts": await sha256(PLUGINS["001-a.ts"]),
      "_name.ts": await sha256(PLUGINS["_name.ts"]),
    },
  });

  for (const path of ["/1", "/2", "/3", "/no"]) await ask(gateway, path);
  const { beforeRequest, afterResponse } = await gateway.until(async () => {
    const { plugins: [{ hooks }] } = await adminPage(gateway, "/plugins");
    return hooks.beforeRequest.count === 4 && hooks;
  }, { what: "four hooks" });
  assertEquals(
    { outcomes: beforeRequest.outcomes, denials: beforeRequest.denials },
    { outcomes: { rejected: 1, denied: 3 }, denials: 3 },
  );
  assertEquals([afterResponse.count, afterResponse.outcomes], [3, { ok: 3 }]);
  const { meanMs, p50Ms, p95Ms, p99Ms } = afterResponse;
  assert(
    meanMs >= 29 && p50Ms > 25 && p50Ms <= p95Ms && p95Ms <= p99Ms,
    JSON.stringify(afterResponse),
  );

  await gateway.savePlugin("002-b.ts", "export default {\n  beforeRequest() {{\n};");
  await gateway.waitForLog(({ message }) => message.startsWith("plugins did not load"));
  const broken = await adminPage(gateway, "/plugins");
  const { file, line, column, message } = broken.loadError;
  assertEquals([file, line], ["002-b.ts", 3]);
  assert(column > 0 && message.startsWith("does not load: "), message);
  assertEquals([broken.generation, Object.keys(broken.files)], [1, ["001-a.ts", "_name.ts"]]);

  await gateway.savePlugin("002-b.ts", "export default {};");
  await gateway.waitForLog(({ message }) => message === "plugins reloaded");
  const mended = await adminPage(gateway, "/plugins");
  assertEquals([mended.loadError, mended.plugins.length], [null, 2]);
  assert(mended.generation > 1);
  assertEquals(mended.plugins[0].hooks.beforeRequest.count, 4, "a reload resets nothing");

  const [block] = codeBlocks(await readDoc("docs/operations.md"), "json")
    .filter(({ info }) => info === "plugins");
  const example = JSON.parse(block?.text ?? "");
  assertEquals(Object.keys(example), Object.keys(mended));
  assertEquals(Object.keys(example.loadError), Object.keys(broken.loadError));
  assertEquals(Object.keys(example.plugins[0].hooks.beforeRequest), Object.keys(beforeRequest));
});

Deno.test("/plugins says that nothing runs while the plugins of conduit dev do not load, and why", async () => {
  await using gateway = await testGateway({
    command: "dev",
    plugins: { "001-a.ts": `export default { beforeRequest: "no" };` },
    config: { routes: [{ path: "/*", upstream: "http://127.0.0.1:1" }] },
  });
  const page = await adminPage(gateway, "/plugins");
  assertEquals([page.generation, page.plugins, page.files], [null, [], {}]);
  assertEquals(page.loadError.file, "001-a.ts");
});

Deno.test("/config is the effective configuration, and no secret is on it", async () => {
  await using gateway = await testGateway({
    config: {
      pluginConfig: {
        "001-a": { apiKey: "hunter2", region: "eu", dsn: "db://u:${DB_PASSWORD}@h/${REGION}" },
      },
      routes: [{ path: "/*", upstream: "http://users:2001" }],
    },
    env: { DB_PASSWORD: "hunter2", REGION: "eu-1" },
  });
  const text = await (await fetch(`${gateway.adminUrl}/config`)).text();
  const page = JSON.parse(text);
  assert(!text.includes("hunter2"), text);
  assertEquals(page.pluginConfig, {
    "001-a": { apiKey: "***", region: "eu", dsn: "db://u:***@h/eu-1" },
  });
  assertEquals(page.routes[0].upstreams, ["http://users:2001"]);
  assertEquals([page.maxInFlight, page.hookTimeoutMs, page.log.format], [10000, 100, "json"]);
});
