/**
 * A hostile plugin: one attempt a request. Where the sandbox holds, the attempt throws, the client gets 500 `plugin_error`, and
 * the log says what was refused (ATTACKS 22).
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { type EchoUpstream, echoUpstream } from "./echo_upstream.ts";
import { ask, errorOf, logOf } from "./failure.ts";
import { isRunning, type TestGateway, testGateway } from "./gateway.ts";

/**
 * Expressions by what they try. They may use `ctx` and `init`; `at(name)`, a URL in the gateway's private folder; `outside`, a folder
 * with one file; `forbidden` and `upstream`, ports of servers beyond and within the allowlist; `admin`, one that the gateway
 * listens on; and `event(target, good, bad)`, a promise of one event or the other.
 */
export type Attempts = Readonly<Record<string, string>>;

/** What a refused attempt fails with. */
export const REFUSED =
  /NotCapable|PermissionDenied|Requires .+ access|not found in cache|--cached-only|--no-remote|remote specifier|escalate|ERR_ACCESS_DENIED|not a host that plugins may reach/;

/** What one family of attempts needs beside its expressions. */
export interface HostileOptions {
  /** Another reason than a permission. */
  readonly refusedBy?: RegExp;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly plugins?: Readonly<Record<string, string>>;
}

const HELPERS = `
const at = (name) => new URL("../../" + name, import.meta.url);
const event = (target, good, bad) => new Promise((resolve, reject) => {
  target.addEventListener(good, resolve);
  target.addEventListener(bad, (event) => {
    event.preventDefault?.();
    reject(event.error ?? new Error(event.message ?? bad));
  });
});
const emitted = (emitter, good) => new Promise((resolve, reject) => emitter.on(good, resolve).on("error", reject));`;

function hostileSource(attempts: Attempts, values: Readonly<Record<string, unknown>>): string {
  const constants = Object.entries(values).map(([name, value]) =>
    `const ${name} = ${JSON.stringify(value)};`
  );
  const members = Object.entries(attempts).map(([name, code]) =>
    `${JSON.stringify(name)}: async (ctx) => await (${code}),`
  );
  return `${constants.join("\n")}${HELPERS}
  const attempts = { ${members.join("\n")} };
  let init;
  export default {
    onLoad(given) { init = given; },
    async beforeRequest(ctx) {
      const attempt = attempts[ctx.request.searchParams().get("attempt")];
      if (!attempt) return;
      const result = await attempt(ctx);
      ctx.reject(418, "it worked: " + Deno.inspect(result).slice(0, 200));
    },
  };`;
}

/** A gateway with a hostile plugin and what it aims at. */
export interface HostileGateway extends AsyncDisposable {
  readonly gateway: TestGateway;
  readonly upstream: EchoUpstream;
  /** A server that plugins may not reach. */
  readonly other: EchoUpstream;
  /** A folder that plugins may not reach. */
  readonly outside: string;
}

export async function hostileGateway(
  attempts: Attempts,
  { config, plugins }: HostileOptions = {},
): Promise<HostileGateway> {
  const upstream = echoUpstream({
    respond({ target }, request) {
      const to = new URL(request.url).searchParams.get("to");
      return to === null || target.startsWith("/x")
        ? undefined
        : Response.redirect(`http://127.0.0.1:${to}/`);
    },
  });
  const other = echoUpstream();
  const outside = await Deno.makeTempDir({ prefix: "conduit-test-" });
  await Deno.writeTextFile(join(outside, "outside.ts"), "export default 1;");
  const values = { outside, forbidden: other.port, upstream: upstream.port };
  const gateway = await testGateway({
    config: {
      hookTimeoutMs: 15_000,
      hardCeilingMs: 16_000,
      pluginEnv: ["ALLOWED"],
      routes: [{ path: "/*", upstream: upstream.url }],
      ...config,
    },
    env: { ALLOWED: "yes", GATEWAY_ONLY: "secret" },
    plugins: { "001-hostile.ts": hostileSource(attempts, values), ...plugins },
  });
  return {
    gateway,
    upstream,
    other,
    outside,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
      await Deno.remove(outside, { recursive: true });
    },
  };
}

/** Makes every attempt, each as a step: it is refused, the log says why, and in the end nothing has been done. */
export async function assertRefused(
  t: Deno.TestContext,
  attempts: Attempts,
  options: HostileOptions = {},
): Promise<void> {
  await using setting = await hostileGateway(attempts, options);
  const { gateway, upstream, other, outside } = setting;
  const [host = 0] = await gateway.hostPids();
  for (const name of Object.keys(attempts)) {
    await t.step(`${name}: refused, and the log says why`, async () => {
      const answer = await ask(gateway, `/x?attempt=${encodeURIComponent(name)}`);
      assertEquals([answer.status, errorOf(answer).message], [500, "a policy check failed"]);
      const record = await logOf(gateway, answer, "hook failed; treating as reject");
      assertEquals(record.plugin, "001-hostile");
      const { name: kind, message } = record.error as { name: string; message: string };
      const reason = `${kind}: ${message}`;
      assert(REFUSED.test(reason) || options.refusedBy?.test(reason), reason);
    });
  }
  await t.step("nothing was done, and the gateway serves", async () => {
    assertEquals([...Deno.readDirSync(outside)].map((each) => each.name), ["outside.ts"]);
    assertEquals(other.seen, []);
    assertEquals(upstream.seen.filter(({ target }) => !target.startsWith("/?to=")), []);
    assert(await isRunning(gateway.pid) && await isRunning(host));
    assertEquals((await ask(gateway, "/")).status, 200);
  });
}
