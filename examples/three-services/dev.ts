/**
 * `deno task dev`: the services, the gateway in front of them as a process of its own, and what to try.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { CONFIG_FILE, exampleTokens, PORTS, startServices } from "./example.ts";
import { tryText } from "./try.ts";

const BASE_URL = "http://127.0.0.1:8080";
const READY_URL = "http://127.0.0.1:9901/readyz";
const POLL_MS = 50;
const MAIN = fromFileUrl(new URL("../../main.ts", import.meta.url));
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

if (import.meta.main) Deno.exit(await main());

/** @returns the exit code: the gateway's, or 1 where it could not be started */
async function main(): Promise<number> {
  // It would take the place of every address below.
  Deno.env.delete("DENO_SERVE_ADDRESS");
  try {
    await using _services = await startServices(PORTS);
    return await runGateway();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}

async function runGateway(): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "dev", "--config", CONFIG_FILE],
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
    const ready = sayWhatToTry(ended.signal);
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

async function sayWhatToTry(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (await isReady(signal)) return console.log(`\n${tryText(BASE_URL, exampleTokens())}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function isReady(signal: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(READY_URL, { signal });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false; // not listening yet, or ended
  }
}
