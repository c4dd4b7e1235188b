import { assertEquals } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";

Deno.test("a request passes the plugins to the upstream and back", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { routes: [{ path: "/api/*", upstream: upstream.url }] },
    plugins: {
      "001-mark.ts": `export default {
        beforeRequest(ctx) { ctx.upstream.setHeader("x-mark", "seen by 001"); },
        afterResponse(ctx) { ctx.response.setHeader("x-marked", String(ctx.response.json().target)); },
      };`,
    },
  });
  const response = await gateway.fetch("/api/x?y=1");
  assertEquals(response.status, 200);
  assertEquals(response.headers.get("x-marked"), "/api/x?y=1");
  assertEquals((await response.json()).headers["x-mark"], "seen by 001");
});
