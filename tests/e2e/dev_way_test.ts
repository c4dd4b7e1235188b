import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Answer, ask } from "../support/failure.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";

/** A plugin that does what the path says. */
const PLUGINS = {
  "001-first.ts": `export default {
    async beforeRequest(ctx) {
      const { path } = ctx.request;
      if (path === "/slow") await new Promise((resolve) => setTimeout(resolve, 60_000));
      if (path === "/loop") for (;;);
      if (path === "/throw") throw new Error("out of luck");
      if (path === "/reject") ctx.reject(401, "no\\nway", { "x-conduit-route": "forged" });
      if (path === "/forward") ctx.forward("http://other.invalid/?token=hunter2");
      ctx.upstream.setHeader("authorization", "Bearer hunter2");
      ctx.upstream.setHeader("x-user", ctx.request.headers["x-who"] ?? "nobody");
    },
  };`,
  "002-second.ts": `export default {
    readsBodies: false,
    beforeRequest() {},
    afterResponse(ctx) {
      ctx.response.setHeader("x-seen", "yes");
      ctx.response.setHeader("x-conduit-plugins", "forged");
    },
  };`,
};

const [FIRST, SECOND] = ["001-first;beforeRequest", "002-second;beforeRequest"];
const AFTER = "002-second;afterResponse=modify";
const WAY = [`${FIRST}=modify`, `${SECOND}=continue`, AFTER];

/** Every kind of response there is. `way` stands in `x-conduit-plugins`, without the times. */
const RESPONSES: readonly {
  readonly what: string;
  readonly path: string;
  readonly init?: RequestInit;
  readonly status: number;
  readonly route?: string;
  readonly way?: readonly string[];
}[] = [
  { what: "an upstream's answer", path: "/ok", status: 200, way: WAY },
  { what: "a stream", path: "/stream", status: 200, way: WAY },
  {
    what: "an answer without a body",
    path: "/ok",
    init: { method: "HEAD" },
    status: 200,
    way: WAY,
  },
  { what: "a rejection", path: "/reject", status: 401, way: [`${FIRST}=reject`] },
  { what: "a forward", path: "/forward", status: 200, way: [`${FIRST}=forward`, ...WAY.slice(1)] },
  { what: "a hook that throws", path: "/throw", status: 500, way: [`${FIRST}=error`] },
  { what: "a hook that times out", path: "/slow", status: 503, way: [`${FIRST}=timed_out`] },
  { what: "a hook in a loop", path: "/loop", status: 503, way: [`${FIRST}=timed_out`] },
  { what: "a route without plugins", path: "/plain", status: 200, route: "/plain", way: [] },
  { what: "a 502", path: "/dead/x", status: 502, route: "/dead/*", way: WAY.slice(0, 2) },
  { what: "a 504", path: "/late/x", status: 504, route: "/late/*", way: WAY.slice(0, 2) },
  { what: "a 404", path: "/ok", init: { headers: { "x-host": "other" } }, status: 404, route: "-" },
  { what: "a 400", path: "/%zz", status: 400, route: "-" },
  { what: "a 405", path: "/only-get", init: { method: "DELETE" }, status: 405, route: "-" },
  {
    what: "a preflight",
    path: "/ok",
    init: {
      method: "OPTIONS",
      headers: { "origin": "https://app.test", "access-control-request-method": "GET" },
    },
    status: 204,
    route: "-",
  },
  {
    what: "a body that is too large",
    path: "/ok",
    init: { method: "POST", body: "x".repeat(2000) },
    status: 413,
    route: "/*",
    way: [],
  },
];

function config(url: string, dead: number) {
  return {
    hookTimeoutMs: 400,
    hardCeilingMs: 800,
    onHookTimeout: "reject",
    bodies: { inlineLimitBytes: 1000, maxRequestBytes: 1000 },
    cors: { allowedOrigins: ["https://app.test"], allowedMethods: ["GET"] },
    routes: [
      { path: "/*", upstream: url, host: "127.0.0.1" },
      { path: "/plain", upstream: url, plugins: false },
      { path: "/only-get", upstream: url, methods: ["GET"] },
      { path: "/dead/*", upstream: `http://127.0.0.1:${dead}` },
      { path: "/late/*", upstream: url, timeouts: { responseHeaderMs: 200 } },
    ],
  };
}

/** Closed, and so refused. */
function deadPort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function upstreamOfMany() {
  return echoUpstream({
    async respond({ target }) {
      if (target.startsWith("/late")) await new Promise((resolve) => setTimeout(resolve, 1500));
      if (target !== "/stream") return undefined;
      return new Response(ReadableStream.from([new Uint8Array(3), new Uint8Array(3)]));
    },
  });
}

/** `fetch` sets no host, so a 404 is asked for by another name of this machine. */
function askAs(gateway: TestGateway, { path, init = {} }: (typeof RESPONSES)[number]) {
  const isOther = new Headers(init.headers).has("x-host");
  if (!isOther) return ask(gateway, path, init);
  return fetch(`http://localhost:${gateway.port}${path}`).then(async (
    response,
  ): Promise<Answer> => ({
    status: response.status,
    headers: response.headers,
    text: await response.text(),
    durationMs: 0,
  }));
}

Deno.test("dev: every response says its route and what each hook did, with the milliseconds it took", async (t) => {
  await using upstream = upstreamOfMany();
  await using gateway = await testGateway({
    command: "dev",
    config: config(upstream.url, deadPort()),
    plugins: PLUGINS,
  });
  for (const response of RESPONSES) {
    const { what, status, route = "/*", way = [] } = response;
    await t.step(what, async () => {
      // A busy machine may be too slow for the time limit of a hook: then the answer is another one.
      let answer = await askAs(gateway, response);
      await gateway.until(
        async () => answer.status === status || !(answer = await askAs(gateway, response)),
        { what: `${what} with status ${status}` },
      );
      assertEquals(answer.headers.get("x-conduit-route"), route);
      const steps = (answer.headers.get("x-conduit-plugins") ?? "").split(", ");
      assertEquals(
        steps.map((each) => each.replace(/;dur=\d+\.\d$/, "")),
        way.length ? way : ["-"],
      );
      for (const each of steps) assertMatch(each, /^-$|;dur=\d+\.\d$/);
    });
  }
});

Deno.test("dev: the log shows what each hook proposed, on one line and without secrets; run says nothing of it", async () => {
  await using upstream = upstreamOfMany();
  for (const command of ["dev", "run"] as const) {
    await using gateway = await testGateway({
      command,
      config: {
        ...config(upstream.url, deadPort()),
        hookTimeoutMs: 5000,
        hardCeilingMs: 5000,
        log: { format: "text", level: "debug" },
      },
      plugins: PLUGINS,
    });
    const { headers } = await ask(gateway, "/ok", { headers: { "x-who": "al ice" } });
    assertEquals(headers.has("x-conduit-route"), command === "dev");
    await ask(gateway, "/reject");
    await ask(gateway, "/forward");
    await gateway.waitForLog((line) => / GET \/forward 200 /.test(line.message));
    const lines = gateway.logs.map((line) => line.message);
    assert(!lines.some((line) => line.includes("hunter2") && line.includes("proposed")));
    const proposed = lines.filter((line) => line.includes("plugin proposed"))
      .map((line) =>
        line.replace(/^.* plugin proposed /, "").replace(/durationMs=\S+ ?/, "").trim()
      );
    assertEquals(
      proposed,
      command === "run" ? [] : [
        'plugin=001-first hook=beforeRequest action=modify upstream.headers.authorization=*** upstream.headers.x-user="al ice"',
        "plugin=002-second hook=beforeRequest action=continue",
        "plugin=002-second hook=afterResponse action=modify response.headers.x-seen=yes response.headers.x-conduit-plugins=forged",
        'plugin=001-first hook=beforeRequest action=reject reject="401 no\\nway" reject.headers.x-conduit-route=forged',
        'plugin=001-first hook=beforeRequest action=forward forward="http://other.invalid/?token=***" upstream.headers.authorization=*** upstream.headers.x-user=nobody',
        "plugin=002-second hook=beforeRequest action=continue",
        "plugin=002-second hook=afterResponse action=modify response.headers.x-seen=yes response.headers.x-conduit-plugins=forged",
      ],
    );
  }
});
