/**
 * Changing the configuration of a gateway that runs.
 *
 * @module
 */

import { join } from "@std/path";
import { BASE_CONFIG, type LogLine, type TestGateway } from "./gateway.ts";

/** Writes another configuration, as `testGateway` would, and does not tell. */
export async function writeConfig(
  gateway: TestGateway,
  config: Readonly<Record<string, unknown>> | string,
): Promise<void> {
  const text = typeof config === "string" ? config : JSON.stringify({ ...BASE_CONFIG, ...config });
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
