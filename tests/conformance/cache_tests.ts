/**
 * `http-cache-tests` from npm as a check of transparency. The gateway stores nothing, so its client has to find through the gateway exactly
 * what it finds at the origin itself: whatever differs, the gateway changed.
 *
 * @module
 */

import { join } from "@std/path";
import { gatewayBefore, output } from "./setting.ts";

const PACKAGES = ["http-cache-tests@0.4.5", "node-fetch@2.7.0"];

/** By the id of a test: `true`, or why not. */
type Results = Readonly<Record<string, true | readonly [string, string]>>;

/** @returns lines to print */
export async function runCacheTests(): Promise<string[]> {
  const dir = await Deno.makeTempDir({ prefix: "conduit-conformance-" });
  try {
    await install(dir);
    await using origin = await startOrigin(dir);
    const direct = await results(dir, origin.url);
    const lines = [
      `http-cache-tests: ${Object.keys(direct).length} tests, ${
        passed(direct)
      } pass at the origin itself`,
    ];
    for (const plugins of [false, true]) {
      await using gateway = await gatewayBefore(origin.url, { plugins });
      const through = await results(dir, gateway.url);
      const differing = Object.keys(direct).filter((id) => !same(direct[id], through[id]));
      lines.push(
        `through the gateway ${plugins ? "with a plugin that reads bodies" : "without plugins"}: ${
          passed(through)
        } pass, ${differing.length} differ`,
        ...differing.map((id) => `  ${id}: ${told(direct[id])} becomes ${told(through[id])}`),
      );
    }
    return lines;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function install(dir: string): Promise<void> {
  for (const name of PACKAGES) {
    // Without the dependencies of the first one, among which is all of npm.
    const { code, text } = await output("npm", ["pack", "--silent", name], { cwd: dir });
    if (code !== 0) throw new Error(`cannot fetch ${name}: ${text}`);
  }
  const files = [...Deno.readDirSync(dir)].map(({ name }) => name);
  const suite = files.find((name) => name.startsWith("http-cache-tests")) ?? "";
  await output("tar", ["xf", suite], { cwd: dir });
  await output("npm", ["install", "--silent", "--no-save", "--prefix", dir, "node-fetch@2.7.0"]);
}

async function startOrigin(dir: string): Promise<AsyncDisposable & { readonly url: string }> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const process = new Deno.Command("node", {
    args: ["server/server.mjs"],
    cwd: join(dir, "package"),
    env: {
      npm_config_protocol: "http",
      npm_config_port: `${port}`,
      npm_config_pidfile: join(dir, "pid"),
    },
    stdout: "null",
    stderr: "null",
  }).spawn();
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0;; tries++) {
    const response = await fetch(url).catch(() => undefined);
    await response?.body?.cancel();
    if (response) break;
    if (tries > 100) throw new Error("the origin of http-cache-tests does not start");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    url,
    async [Symbol.asyncDispose]() {
      process.kill();
      await process.status;
    },
  };
}

async function results(dir: string, base: string): Promise<Results> {
  const { text } = await output("node", ["--no-warnings", "cli.mjs"], {
    cwd: join(dir, "package"),
    env: { npm_config_base: base, npm_config_id: "", npm_package_config_id: "" },
  });
  return JSON.parse(text.slice(text.indexOf("{")));
}

function passed(results: Results): number {
  return Object.values(results).filter((each) => each === true).length;
}

function same(a: Results[string] | undefined, b: Results[string] | undefined): boolean {
  return a === true || b === true ? a === b : a?.[0] === b?.[0];
}

function told(result: Results[string] | undefined): string {
  return result === true ? "pass" : `${result?.[0]} (${result?.[1]})`;
}
