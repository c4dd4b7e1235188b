/**
 * Writes `compose.config.json`: the example's configuration with the names of `compose.yaml` in the place of this machine's ports, and with
 * its cache in Redis.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { CONFIG_FILE, PORTS, type Ports } from "./example.ts";

export const COMPOSE_CONFIG_FILE = fromFileUrl(new URL("compose.config.json", import.meta.url));

/** The text of the file; how its lines are broken is `deno fmt`'s affair. */
export async function composeConfig(): Promise<string> {
  const names = Object.keys(PORTS) as (keyof Ports)[];
  const text = (await Deno.readTextFile(CONFIG_FILE)).replaceAll(
    /127\.0\.0\.1:(\d+)/g,
    (address, port) => {
      const name = names.find((name) => PORTS[name] === Number(port));
      return name ? `${name}-service:${port}` : address;
    },
  );
  const cache = { driver: "redis", url: "${REDIS_URL}" };
  return JSON.stringify({ ...JSON.parse(text), services: { cache } }, null, 2);
}

if (import.meta.main) {
  await Deno.writeTextFile(COMPOSE_CONFIG_FILE, await composeConfig());
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", COMPOSE_CONFIG_FILE] })
    .output();
}
