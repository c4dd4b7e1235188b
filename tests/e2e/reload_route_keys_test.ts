import { assertEquals } from "@std/assert";
import { configurationKeys } from "../support/configuration_doc.ts";
import { untilReady } from "../support/failure.ts";
import { testGateway } from "../support/gateway.ts";
import { type Effect, keyUpstream, look, PLUGINS, SETTINGS } from "../support/key_probe.ts";
import { reload } from "../support/reload.ts";
import { sharedKeys } from "../support/request_keys.ts";

Deno.test("reload: every key of a route is effective for the next request", async (test) => {
  await using upstream = keyUpstream("one");
  await using other = keyUpstream("two");
  await using gateway = await testGateway({
    config: { ...SETTINGS, routes: [{ path: "/r/*", upstream: upstream.url }] },
    plugins: PLUGINS,
    env: { CONDUIT_TRACE_IPC: "1" },
  });
  const at = (path: string, init?: RequestInit) => look(gateway, path, init);
  const statusAt = (path: string, init?: RequestInit) => async () => (await at(path, init)).status;
  const post = { method: "POST", body: "0123456789" };
  const effects: Readonly<Record<string, Effect>> = {
    ...sharedKeys({ gateway }, "/r"),
    path: { to: { path: "/s/*" }, see: statusAt("/r/x"), gives: [200, 404] },
    host: { to: { host: "other.test" }, see: statusAt("/r/x"), gives: [200, 404] },
    methods: { to: { methods: ["GET"] }, see: statusAt("/r/x", post), gives: [200, 405] },
    upstream: {
      to: { upstream: other.url },
      see: async () => (await at("/r/x")).json.name,
      gives: ["one", "two"],
    },
    stripPrefix: {
      to: { stripPrefix: true },
      see: async () => (await at("/r/x")).json.target,
      gives: ["/r/x", "/x"],
    },
    plugins: { to: { plugins: false }, see: statusAt("/r/throw"), gives: [500, 200] },
    maxRequestBytes: {
      to: { maxRequestBytes: 5 },
      see: statusAt("/r/x", post),
      gives: [200, 413],
    },
    encodedSlashes: {
      to: { encodedSlashes: "keep" },
      see: statusAt("/r/a%2Fb"),
      gives: [400, 200],
    },
  };
  assertEquals(Object.keys(effects).sort(), [...configurationKeys().route].sort());
  for (const [key, { from = {}, to, see, gives }] of Object.entries(effects)) {
    await test.step(key, async () => {
      for (const [index, settings] of [from, to].entries()) {
        const route = { path: "/r/*", upstream: upstream.url, ...settings };
        await untilReady(gateway);
        const line = await reload(gateway, { ...SETTINGS, routes: [route] });
        assertEquals(line.level, "info", String(line.reason));
        assertEquals(await see(), gives[index], `with ${JSON.stringify(settings)}`);
      }
    });
  }
});
