import { assertEquals } from "@std/assert";
import { ask, POLICY } from "../support/failure.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { assertRefused } from "../support/hostile_plugin.ts";

/** One assignment for each built-in that results, frames and deadlines are made with. */
const PATCHES = [
  "JSON.parse",
  "JSON.stringify",
  "Atomics.load",
  "Atomics.compareExchange",
  "Promise.prototype.then",
  "Promise.prototype.finally",
  "TextEncoder.prototype.encodeInto",
  "TextDecoder.prototype.decode",
  "EventTarget.prototype.addEventListener",
  "EventTarget.prototype.dispatchEvent",
  "AbortSignal.timeout",
  "AbortSignal.any",
  "Performance.prototype.now",
  "globalThis.JSON",
  "globalThis.Promise",
  "globalThis.Map",
  "globalThis.Array",
  "globalThis.Object",
  "globalThis.Uint8Array",
  "globalThis.Atomics",
  "globalThis.TextEncoder",
  "globalThis.TextDecoder",
  "globalThis.Error",
  "globalThis.setTimeout",
  "globalThis.clearTimeout",
  "globalThis.performance",
];

Deno.test("sandbox: a plugin cannot change the built-ins that its isolate works with", (t) =>
  assertRefused(
    t,
    {
      ...Object.fromEntries(
        PATCHES.map((what) => [`${what} = …`, `${what} = () => { throw new Error("patched"); }`]),
      ),
      "delete JSON.parse": `delete JSON.parse`,
      "define JSON.parse": `Object.defineProperty(JSON, "parse", { value: 1 })`,
      "a prototype of JSON": `Object.setPrototypeOf(JSON, {})`,
      "a key that every object gets": `Object.prototype.action = "continue"`,
      "a key that every object gets, from a client's JSON":
        `Object.assign({}.constructor.prototype, JSON.parse('{"forward":"http://evil/"}'))`,
      "a getter that every object gets":
        `Object.defineProperty(Object.prototype, "patch", { get() { return {}; } })`,
      "a key of the request": `ctx.request.path = "/other"`,
      "a header of the request": `ctx.request.headers.authorization = "x"`,
      "a builder's method": `ctx.upstream.setHeader = () => {}`,
      "the classes of ctx": `Object.getPrototypeOf(ctx).user = {}`,
      "a service": `ctx.services.http.fetch = () => {}`,
      "the environment that all plugins are given": `init.env.ALLOWED = "no"`,
    },
    {
      refusedBy:
        /^TypeError: (?:Cannot (?:assign to read only|redefine|delete|define|add) property|#<Object> is not extensible|object is not extensible)|Immutable prototype|is not extensible|Cannot read private member|only a getter/,
    },
  ));

/** What one isolate's plugins can still change, they change for that isolate alone. */
const PATCHES_ALL = `
export default {
  async beforeRequest(ctx) {
    if (ctx.request.path !== "/patch") return;
    for (const target of [Array.prototype, Map.prototype, Set.prototype, String.prototype, Uint8Array.prototype,
        Object.getPrototypeOf(Uint8Array.prototype), Response.prototype, Request.prototype, Headers.prototype, URL.prototype,
        RegExp.prototype, Function.prototype, Object, Reflect, globalThis]) {
      for (const key of Reflect.ownKeys(target)) {
        try { target[key] = () => { throw new Error("patched " + String(key)); }; } catch { /* as it should be */ }
      }
    }
  },
};`;

Deno.test("sandbox: a plugin that spoils every built-in it can spoils its isolate, which is replaced; the gateway and other isolates go on", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      routes: [{ path: "/*", upstream: upstream.url }],
      hookTimeoutMs: 1000,
      hardCeilingMs: 1000,
    },
    plugins: {
      "001-policy.ts": POLICY,
      "002-patches.ts": PATCHES_ALL,
    },
  });
  await ask(gateway, "/patch");
  await gateway.waitForLog((line) => line.message === "an isolate is lost; it is replaced");
  await gateway.until(async () => {
    const { status } = await ask(gateway, "/after");
    return status === 200;
  }, { what: "a 200" });
  assertEquals(upstream.seen.filter(({ headers }) => headers["x-policed"] !== "yes"), []);
});
