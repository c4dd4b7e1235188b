/**
 * `deno task dev`: the services, the gateway in front of them as a process of its own, and what to try. With
 * `--free-ports` all of it is on ports that nobody has yet: for a test, or beside another one.
 *
 * @module
 */

import { fromFileUrl, join } from "@std/path";
import { CONFIG_FILE, exampleConfig, exampleTokens, PORTS, startServices } from "./example.ts";
import { tryText } from "./try.ts";

const POLL_MS = 50;
const MAIN = fromFileUrl(new URL("../../main.ts", import.meta.url));
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

if (import.meta.main) Deno.exit(await main());

interface Place {
  readonly configFile: string;
  readonly baseUrl: string;
  readonly readyUrl: string;
}

/** @returns the exit code: the gateway's, or 1 where it could not be started */
async function main(): Promise<number> {
  // It would take the place of every address below.
  Deno.env.delete("DENO_SERVE_ADDRESS");
  try {
    if (Deno.args.includes("--free-ports")) return await runOnFreePorts();
    await using _services = await startServices(PORTS);
    return await runGateway({
      configFile: CONFIG_FILE,
      baseUrl: "http://127.0.0.1:8080",
      readyUrl: "http://127.0.0.1:9901/readyz",
    });
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}

async function runOnFreePorts(): Promise<number> {
  await using services = await startServices({ user: 0, admin: 0, chat: 0, beta: 0 });
  const [listen, adminListen] = [freeAddress(), freeAddress()];
  const dir = await Deno.makeTempDir({ prefix: "three-services-" });
  try {
    const configFile = join(dir, "conduit.config.json");
    const { ports } = services;
    await Deno.writeTextFile(configFile, await exampleConfig({ listen, adminListen, ports }));
    return await runGateway({
      configFile,
      baseUrl: `http://${listen}`,
      readyUrl: `http://${adminListen}/readyz`,
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function freeAddress(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `127.0.0.1:${listener.addr.port}`;
}

async function runGateway({ configFile, baseUrl, readyUrl }: Place): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "dev", "--config", configFile],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
    // Out of reach of the terminal's Ctrl-C, so that it gets one signal and not two.
    detached: true,
  }).spawn();
  const ended = new AbortController();
  const end = once(() => {
    try {
      child.kill("SIGTERM");
    } catch {
      // It has just ended by itself.
    }
  });
  for (const signal of SIGNALS) Deno.addSignalListener(signal, end);
  try {
    const ready = sayWhatToTry({ baseUrl, readyUrl }, ended.signal);
    const { code } = await child.status;
    ended.abort();
    await ready;
    return code;
  } finally {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, end);
  }
}

/** Ctrl-C may arrive twice: from the terminal and from `deno task`. */
function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    action();
  };
}

async function sayWhatToTry(
  { baseUrl, readyUrl }: Pick<Place, "baseUrl" | "readyUrl">,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    if (await isReady(readyUrl, signal)) {
      return console.log(`\n${tryText(baseUrl, exampleTokens())}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function isReady(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(url, { signal });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false; // not listening yet, or ended
  }
}
