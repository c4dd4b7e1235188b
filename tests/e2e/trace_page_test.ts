import { assert, assertEquals, assertMatch } from "@std/assert";
import { adminPage, storyOf } from "../support/admin_pages.ts";
import { echoUpstream, silentUpstream } from "../support/echo_upstream.ts";
import { ask } from "../support/failure.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { codeBlocks, readDoc } from "../support/prose.ts";

const PLUGINS = {
  "001-auth.ts": `export default {
    readsBodies: false,
    async beforeRequest(ctx) {
      const { path } = ctx.request;
      if (path === "/a/slow") await new Promise((resolve) => setTimeout(resolve, 60_000));
      if (path === "/a/throw") throw new TypeError("out of luck");
      if (path === "/a/refused") ctx.forward("http://169.254.169.254/meta?token=hunter2");
      if (path === "/a/forwarded") ctx.forward(ctx.request.header("x-to"));
      ctx.user = { id: "u-1", password: "hunter2" };
      ctx.state.sessionToken = "hunter2";
      ctx.upstream.setHeader("x-user", "alice");
      ctx.upstream.setHeader("authorization", "Bearer hunter2");
      ctx.upstream.setHeader("content-length", "7");
    },
  };`,
  "002-gate.ts": `export default {
    readsBodies: false,
    beforeRequest(ctx) { if (ctx.request.path === "/a/rejected") ctx.reject(403, "not you", { "x-why": "gate" }); },
    afterResponse(ctx) { ctx.response.setBody("x".repeat(10_000)); },
  };`,
};

/** The keys of a story and of its hooks. */
function keysOf(stories: readonly { readonly hooks: readonly object[] }[]): string[] {
  return stories.flatMap((story) => [...Object.keys(story), ...story.hooks.flatMap(Object.keys)]);
}

Deno.test("/trace/<id> tells what each plugin proposed, what was denied, how long it took and what was decided", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    plugins: PLUGINS,
    config: {
      hookTimeoutMs: 1000,
      hardCeilingMs: 5000,
      onHookTimeout: "reject",
      routes: [
        { path: "/a/*", upstream: upstream.url },
        { path: "/dead", upstream: "http://127.0.0.1:1", plugins: false },
        { path: "/turns", upstream: ["http://127.0.0.1:1", upstream.url], plugins: false },
      ],
    },
  });
  const tell = async (path: string, init: RequestInit = {}) => {
    const id = `t${path.replace(/\?.*/, "").replaceAll("/", "-")}`;
    await ask(gateway, path, { ...init, headers: { ...init.headers, "x-request-id": id } });
    return await storyOf(gateway, id);
  };

  const { hooks, time, durationMs, upstream: trip, ...story } = await tell("/a/ok?q=hunter2");
  assertEquals(story, {
    traceId: "t-a-ok",
    method: "GET",
    path: "/a/ok",
    status: 200,
    route: "/a/*",
    clientAddr: "127.0.0.1",
    user: "u-1",
    bytes: 10_000,
    decided: `/a/* to ${upstream.url}, answered 200`,
  });
  assert(Math.abs(Date.parse(time) - Date.now()) < 60_000 && durationMs > 0);
  assert(trip.durationMs > 0 && trip.durationMs <= durationMs);
  assertEquals({ ...trip, durationMs: 0 }, {
    origin: upstream.url,
    forwarded: false,
    attempts: 1,
    durationMs: 0,
  });
  const [auth, gate, late] = hooks;
  assert(hooks.every((each: { durationMs: unknown }) => Number(each.durationMs) >= 0));
  assertEquals({ ...auth, durationMs: 0 }, {
    plugin: "001-auth",
    hook: "beforeRequest",
    action: "modify",
    durationMs: 0,
    proposed: {
      "upstream.headers.x-user": "alice",
      "upstream.headers.authorization": "***",
      "upstream.headers.content-length": "7",
      "user": { id: "u-1", password: "***" },
      "state.sessionToken": "***",
    },
    denied: auth.denied,
  });
  assertEquals(auth.denied.map(({ what }: { what: string }) => what), [
    'upstream header "content-length"',
  ]);
  assertEquals([gate.plugin, gate.action, gate.proposed], ["002-gate", "continue", undefined]);
  assertEquals([late.hook, late.proposed], ["afterResponse", { "response.body": "10000 bytes" }]);

  const rejected = await tell("/a/rejected");
  assertEquals(rejected.decided, "002-gate rejected it with 403");
  assertEquals([rejected.rejectedBy, rejected.upstream], ["002-gate", undefined]);
  assertEquals(rejected.hooks[1].proposed, {
    reject: "403 not you",
    "reject.headers.x-why": "gate",
  });
  const refused = await tell("/a/refused");
  assertEquals(refused.hooks[0].proposed.forward, "http://169.254.169.254/meta?token=***");
  assertMatch(refused.upstream.forwardRefused, /169\.254|not allowed|allowedHosts/);
  assertEquals(refused.decided, `/a/* to ${upstream.url}, answered 200`);
  const forwarded = await tell("/a/forwarded", { headers: { "x-to": `${upstream.url}/b` } });
  assertEquals(forwarded.upstream.forwarded, true);
  assertEquals(forwarded.decided, `forwarded to ${upstream.url}, answered 200`);
  const thrown = await tell("/a/throw");
  assertEquals([thrown.hooks[0].action, thrown.hooks[0].error], [
    "error",
    "TypeError: out of luck",
  ]);
  assertEquals(thrown.decided, "the gateway answered 500 plugin_error");
  const slow = await tell("/a/slow");
  assertEquals([slow.hooks[0].action, slow.decided], [
    "timed_out",
    "the gateway answered 503 hook_timeout",
  ]);
  assert(slow.hooks[0].durationMs >= 999);
  const dead = await tell("/dead");
  assertEquals([dead.upstream.failure, dead.decided], [
    "unreachable",
    "the gateway answered 502 upstream_unreachable",
  ]);
  assertEquals((await tell("/turns")).upstream.attempts, 2);
  const nowhere = await tell("/nowhere");
  assertEquals([nowhere.route, nowhere.hooks, nowhere.decided], [
    undefined,
    [],
    "the gateway answered 404 not_found",
  ]);

  const [block] = codeBlocks(await readDoc("docs/operations.md"), "json")
    .filter(({ info }) => info === "trace");
  const [example] = JSON.parse(block?.text ?? "").requests;
  const known = [{ ...rejected, hooks: [{ ...auth, ...rejected.hooks[1] }] }];
  assertEquals(keysOf([example]).filter((key) => !keysOf(known).includes(key)), []);

  const list = await (await fetch(`${gateway.adminUrl}/trace`)).text();
  assertEquals(
    JSON.parse(list).requests.map(({ path }: { path: string }) => path).slice(0, 3),
    ["/nowhere", "/turns", "/dead"],
  );
  const pages = await Promise.all(
    ["t-a-ok", "t-a-refused"].map((id) => adminPage(gateway, `/trace/${id}`)),
  );
  assert(!`${list}${JSON.stringify(pages)}`.includes("hunter2"));
});

Deno.test("/trace/<id> keeps the requests of a client that repeats its id apart, the latest first, and knows no others", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  for (const path of ["/first", "/second"]) {
    await ask(gateway, path, { headers: { "x-request-id": "same" } });
  }
  const { requests } = await gateway.until(async () => {
    const page = await adminPage(gateway, "/trace/same");
    return page.requests.length === 2 && page;
  }, { what: "both" });
  assertEquals(requests.map(({ path }: { path: string }) => path), ["/second", "/first"]);
  const unknown = await fetch(`${gateway.adminUrl}/trace/other`);
  assertEquals(unknown.status, 404);
  assertEquals(await unknown.json(), {
    error: "other is none of the requests that run and of the last ones",
    requests: [],
  });
});

Deno.test("what a client gave does nothing to the terminal that a page or a trace of the plugin socket is read in (attack 31)", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    plugins: {
      "001-user.ts": `export default {
        beforeRequest(ctx) { ctx.user = { id: decodeURIComponent(ctx.request.query) }; },
      };`,
    },
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    env: { CONDUIT_TRACE_IPC: "1" },
  });
  const id = "\u009b31m \u001b[2J \u2028 \u202e";
  await ask(gateway, `/?${encodeURIComponent(id)}`, { headers: { "x-request-id": "t-31" } });
  const page = await gateway.until(async () => {
    const response = await fetch(`${gateway.adminUrl}/trace/t-31`);
    return response.ok ? await response.text() : "";
  }, { what: "the story" });
  await gateway.until(() => gateway.stderr.includes("31m"), { what: "the frame" });
  assertEquals(JSON.parse(page).requests[0].user, id);
  for (const text of [page, gateway.stderr]) {
    assertEquals(/(?!\n)[\p{Cc}\p{Bidi_C}\u2028\u2029]/u.exec(text), null);
  }
});

Deno.test("/trace/<id> tells of a request that runs what it is waiting for", async () => {
  await using upstream = silentUpstream();
  await using gateway = await testGateway({
    plugins: PLUGINS,
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const answered = ask(gateway, "/waits", { headers: { "x-request-id": "waits" } });
  await gateway.until(() => upstream.seen.length === 1, { what: "the upstream to be asked" });
  const running = await storyOf(gateway, "waits");
  assertEquals(running.decided, `nothing yet: ${upstream.url} has not answered`);
  assertEquals([running.status, running.hooks.length, running.upstream.attempts], [
    undefined,
    2,
    1,
  ]);
  assertEquals((await adminPage(gateway, "/trace")).requests[0].traceId, "waits");
  upstream.release();
  await answered;
  await gateway.until(async () => (await storyOf(gateway, "waits")).status === 200, {
    what: "its end",
  });
});
