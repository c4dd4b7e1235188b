import { assert, assertEquals, assertMatch } from "@std/assert";
import { ask, errorOf, logOf, logsOf } from "../support/failure.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";

type Rule = "continue" | "reject";

/** Two ways to misbehave, and what the configuration, a plugin and a route say of them. */
const MISBEHAVIOURS = [
  {
    row: "a hook takes longer than hookTimeoutMs",
    key: "onHookTimeout",
    member: "onTimeout",
    act: `await new Promise((resolve) => setTimeout(resolve, 300));
          ctx.upstream.setHeader("x-late", "yes");
          ctx.response.setHeader("x-late", "yes");
          ctx.state.late = true;`,
    log: (rule: Rule) => `hook timed out; treating as ${rule}`,
    level: "warn",
    refusal: { status: 503, code: "hook_timeout", message: "a policy check took too long" },
  },
  {
    row: "a hook throws",
    key: "onHookError",
    member: "onHookError",
    act: `ctx.upstream.setHeader("x-late", "yes");
          ctx.response.setHeader("x-late", "yes");
          ctx.state.late = true;
          throw new RangeError("out of luck");`,
    log: (rule: Rule) => `hook failed; treating as ${rule}`,
    level: "error",
    refusal: { status: 500, code: "plugin_error", message: "a policy check failed" },
  },
] as const;

for (const { row, key, member, act, log, level, refusal } of MISBEHAVIOURS) {
  const plugin = (own: Rule | undefined) =>
    `export default {
      ${own ? `${member}: "${own}",` : ""}
      async beforeRequest(ctx) { ${act} },
    };`;

  for (const rule of ["continue", "reject"] as const) {
    const other: Rule = rule === "continue" ? "reject" : "continue";

    Deno.test(`failure: ${row}; ${rule} by route before plugin before configuration; its patch is void`, async () => {
      await using upstream = echoUpstream();
      const route = (path: string, plugins: readonly string[], more = {}) => ({
        path,
        upstream: upstream.url,
        plugins: [...plugins, "009-last"],
        ...more,
      });
      await using gateway = await testGateway({
        config: {
          [key]: other,
          hookTimeoutMs: 60,
          routes: [
            route("/config", ["001-plain"], {}),
            route("/plugin", ["002-own"]),
            route("/route", ["003-other"], { [key]: rule }),
          ],
        },
        plugins: {
          "001-plain.ts": plugin(undefined),
          "002-own.ts": plugin(rule),
          "003-other.ts": plugin(other),
          "009-last.ts": `export default {
            beforeRequest(ctx) { ctx.upstream.setHeader("x-state", JSON.stringify(ctx.state)); },
          };`,
        },
      });
      const cases = [
        { path: "/config", plugin: "001-plain", expected: other },
        { path: "/plugin", plugin: "002-own", expected: rule },
        { path: "/route", plugin: "003-other", expected: rule },
      ];
      for (const { path, plugin, expected } of cases) {
        const answer = await ask(gateway, path);
        const record = await logOf(gateway, answer, log(expected));
        assertEquals([record.level, record.plugin, record.hook], [level, plugin, "beforeRequest"]);
        assertEquals(answer.headers.get("x-late"), null);
        const reached = upstream.seen.filter((each) => each.target === path);
        if (expected === "reject") {
          assertEquals(answer.status, refusal.status);
          const { code, message } = refusal;
          assertEquals(errorOf(answer), { code, message });
          assertEquals(reached.length, 0, "a rejected request reached the upstream");
        } else {
          assertEquals([answer.status, reached.length], [200, 1]);
          assertEquals(reached[0]?.headers["x-state"], "{}");
          assertEquals(reached[0]?.headers["x-late"], undefined);
        }
      }
    });
  }
}

Deno.test("failure: a hook takes longer than hookTimeoutMs; the answer does not wait for it", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { hookTimeoutMs: 50, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-never.ts": `export default { beforeRequest: () => new Promise(() => {}) };`,
    },
  });
  const answer = await ask(gateway, "/");
  assertEquals(answer.status, 200);
  assert(answer.durationMs >= 45, `answered after ${answer.durationMs} ms`);
  assert(answer.durationMs < 2000, `answered after ${answer.durationMs} ms`);
  await logOf(gateway, answer, "hook timed out; treating as continue");
  const lost = gateway.logs.find((line) => /isolate|host was renewed/.test(line.message));
  assertEquals(lost, undefined, "a slow hook is no reason to replace its isolate");
});

Deno.test("failure: a hook takes longer than hookTimeoutMs; in afterResponse reject hides the answer, continue does not", async () => {
  await using upstream = echoUpstream();
  const route = (path: string, onHookTimeout: Rule) => ({
    path,
    upstream: upstream.url,
    onHookTimeout,
  });
  await using gateway = await testGateway({
    config: {
      hookTimeoutMs: 50,
      routes: [route("/continue", "continue"), route("/reject", "reject")],
    },
    plugins: {
      "001-slow.ts": `export default {
        async afterResponse(ctx) {
          await new Promise((resolve) => setTimeout(resolve, 200));
          ctx.response.setHeader("x-late", "yes");
        },
      };`,
    },
  });
  const continued = await ask(gateway, "/continue");
  assertEquals([continued.status, continued.headers.get("x-late")], [200, null]);
  assertEquals(JSON.parse(continued.text).target, "/continue");
  const rejected = await ask(gateway, "/reject");
  assertEquals([rejected.status, errorOf(rejected).code], [503, "hook_timeout"]);
  const record = await logOf(gateway, rejected, "hook timed out; treating as reject");
  assertEquals([record.plugin, record.hook], ["001-slow", "afterResponse"]);
});

Deno.test("failure: a hook throws; onError of that plugin alone runs, with the error and the request", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { onHookError: "continue", routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-calm.ts": `export default {
        beforeRequest() {},
        onError(error, ctx) { ctx.log.error("onError of the wrong plugin"); },
      };`,
      "002-throws.ts": `export default {
        beforeRequest(ctx) { throw new RangeError("out of luck"); },
        onError(error, ctx) {
          ctx.log.info("onError ran", { name: error.name, message: error.message, path: ctx.request.path });
        },
      };`,
      "003-throws-twice.ts": `export default {
        beforeRequest(ctx) { throw "a string"; },
        onError(error, ctx) { throw new Error("onError threw too: " + error); },
      };`,
    },
  });
  const answer = await ask(gateway, "/here");
  assertEquals(answer.status, 200);
  const ran = await logOf(gateway, answer, "onError ran");
  assertEquals(ran.plugin, "002-throws");
  assertEquals(ran.fields, { name: "RangeError", message: "out of luck", path: "/here" });
  await logOf(gateway, answer, "onError failed");
  const failures = logsOf(gateway, answer).filter((line) =>
    line.message === "hook failed; treating as continue"
  );
  assertEquals(failures.map((line) => line.plugin), ["002-throws", "003-throws-twice"]);
  assertMatch(JSON.stringify(failures[0]), /RangeError.*out of luck/);
  assertEquals(logsOf(gateway, answer).filter((line) => /wrong plugin/.test(line.message)), []);
});

Deno.test("failure: a hook throws; in afterResponse the answer goes on without that hook's patch, whatever the rule", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { onHookError: "reject", routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-first.ts": `export default {
        afterResponse(ctx) { ctx.response.setHeader("x-first", "1"); },
      };`,
      "002-throws.ts": `export default {
        onHookError: "reject",
        afterResponse(ctx) { ctx.response.setHeader("x-second", "2"); throw new Error("late"); },
      };`,
      "003-third.ts": `export default {
        afterResponse(ctx) { ctx.response.setHeader("x-third", "3"); },
      };`,
    },
  });
  const answer = await ask(gateway, "/");
  const marks = ["x-first", "x-second", "x-third"].map((name) => answer.headers.get(name));
  assertEquals([answer.status, ...marks], [200, "1", null, "3"]);
  const record = await logOf(gateway, answer, "hook failed; treating as continue");
  assertEquals([record.plugin, record.hook], ["002-throws", "afterResponse"]);
});

Deno.test("failure: reject(401); no later hook, no upstream, no afterResponse, no onError; its headers and what was set before go out", async () => {
  await using upstream = echoUpstream();
  const every = (name: string) =>
    `beforeRequest(ctx) { ctx.log.info("${name} before"); ctx.response.setHeader("x-${name}", "set"); },
     afterResponse(ctx) { ctx.log.info("${name} after"); },
     onError(error, ctx) { ctx.log.info("${name} error"); },`;
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-early.ts": `export default { ${every("early")} };`,
      "002-gate.ts": `export default { ${every("gate")}
        beforeRequest(ctx) {
          ctx.reject(401, "no token", { "www-authenticate": "Bearer", "connection": "close" });
        },
      };`,
      "003-later.ts": `export default { ${every("later")} };`,
    },
  });
  const answer = await ask(gateway, "/secret", { method: "POST", body: "not for the upstream" });
  assertEquals(answer.status, 401);
  assertEquals(errorOf(answer), { code: "rejected", message: "no token" });
  const fields = ["www-authenticate", "x-early", "x-later"].map((name) => answer.headers.get(name));
  assertEquals(fields, ["Bearer", "set", null]);
  assertEquals(upstream.seen.length, 0);
  const access = await logOf(gateway, answer, "POST /secret 401");
  assertEquals(access.rejectedBy, "002-gate");
  await logOf(gateway, answer, "denied what a plugin set"); // `connection` is the gateway's
  const said = logsOf(gateway, answer).map((line) => line.message)
    .filter((message) => / (before|after|error)$/.test(message));
  assertEquals(said, ["early before"]);
});

Deno.test("failure: reject(401); made in afterResponse it replaces the upstream's answer", async () => {
  await using upstream = echoUpstream({
    respond: () => new Response("secret", { headers: { "x-upstream": "secret" } }),
  });
  await using gateway = await testGateway({
    config: { routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-gate.ts": `export default {
        afterResponse(ctx) { if (ctx.response.text() === "secret") ctx.reject(403, "not for you"); },
      };`,
      "002-later.ts": `export default {
        afterResponse(ctx) { ctx.response.setHeader("x-later", "ran"); },
      };`,
    },
  });
  const answer = await ask(gateway, "/");
  assertEquals([answer.status, errorOf(answer).message], [403, "not for you"]);
  const fields = ["x-upstream", "x-later"].map((name) => answer.headers.get(name));
  assertEquals(fields, [null, null]);
  assertEquals(upstream.seen.length, 1);
});

Deno.test("failure: forward() to a refused target; it is logged, ignored, and the original route answers", async () => {
  await using upstream = echoUpstream({ name: "route" });
  await using beta = echoUpstream({ name: "beta" });
  await using gateway = await testGateway({
    config: {
      routes: [
        { path: "/api/*", upstream: upstream.url },
        { path: "/beta/*", upstream: beta.url },
      ],
    },
    plugins: {
      "001-forward.ts": `export default {
        beforeRequest(ctx) {
          const target = ctx.request.header("x-target");
          if (target) ctx.forward(target);
        },
      };`,
      "002-gate.ts": `export default {
        beforeRequest(ctx) { if (ctx.request.header("x-refuse")) ctx.reject(403, "not this way"); },
      };`,
    },
  });
  const refused = [
    "http://169.254.169.254/latest/meta-data",
    `http://127.0.0.1:${new URL(gateway.adminUrl).port}/healthz`,
    `http://user@127.0.0.1:${beta.port}/`,
    "file:///etc/passwd",
    "/relative",
  ];
  for (const target of refused) {
    const answer = await ask(gateway, "/api/x", { headers: { "x-target": target } });
    assertEquals([answer.status, JSON.parse(answer.text).name], [200, "route"], target);
    const record = await logOf(gateway, answer, "forward refused; using the original route");
    assertEquals([record.level, record.url], ["warn", target]);
  }
  assertEquals(beta.seen.length, 0);

  const headers = { "x-target": `${beta.url}/elsewhere?q=1` };
  const allowed = JSON.parse((await ask(gateway, "/api/x", { headers })).text);
  assertEquals([allowed.name, allowed.target], ["beta", "/elsewhere?q=1"]);

  const rejected = await ask(gateway, "/api/x", { headers: { ...headers, "x-refuse": "1" } });
  assertEquals([rejected.status, beta.seen.length], [403, 1], "a later hook can still refuse");
});
