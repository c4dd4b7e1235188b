/**
 * Changing the configuration of a gateway that runs.
 *
 * @module
 */

import { join } from "@std/path";
import type { LogLine, TestGateway } from "./gateway.ts";

/** What `testGateway` gives each gateway, so that a changed file differs in what the test changes alone. */
const BASE = {
  listen: "127.0.0.1:0",
  admin: { listen: "127.0.0.1:0" },
  pluginsDir: "./plugins",
  pluginPoolSize: 2,
  log: { format: "json", level: "debug" },
  hookDispatch: Deno.env.get("CONDUIT_TEST_DISPATCH") ?? "per-hook",
} as const;

/** Writes another configuration, as `testGateway` would, and does not tell. */
export async function writeConfig(
  gateway: TestGateway,
  config: Readonly<Record<string, unknown>> | string,
): Promise<void> {
  const text = typeof config === "string" ? config : JSON.stringify({ ...BASE, ...config });
  await Deno.writeTextFile(join(gateway.dir, "conduit.config.json"), text);
}

/** Writes it, sends SIGHUP and waits for what the log says of it. With several processes: the parent's record. */
export async function reload(
  gateway: TestGateway,
  config: Readonly<Record<string, unknown>> | string,
): Promise<LogLine> {
  await writeConfig(gateway, config);
  const from = gateway.logs.length;
  gateway.signal("SIGHUP");
  return await gateway.waitForLog(
    ({ message, process }) =>
      process === undefined &&
      /^(configuration reloaded|the configuration was not reloaded)/.test(message),
    { from, what: "the end of a reload", withinMs: 60_000 },
  );
}
