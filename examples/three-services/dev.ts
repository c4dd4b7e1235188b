/**
 * `deno task dev`: the services, the gateway in front of them as a process of its own, and what to try. With
 * `--free-ports` all of it is on ports that nobody has yet: for a test, or beside another one. With the variable `REDIS_URL` sessions are
 * kept in that Redis.
 *
 * @module
 */

import { fromFileUrl, join } from "@std/path";
import { CONFIG_FILE, exampleConfig, PORTS, startServices } from "./example.ts";
import { HEAP_FLAG } from "../../gateway/sandbox.ts";
import { denoWords } from "../../plugin-host/author_files.ts";
import { ApiClient } from "./session_client.ts";
import { tryText } from "./try.ts";

const POLL_MS = 50;
const MAIN = fromFileUrl(new URL("../../main.ts", import.meta.url));
/** As in `conduit.config.json`. */
const [LISTEN, ADMIN] = ["127.0.0.1:8080", "127.0.0.1:9901"];
/** Runs `"$@"`, and ends it when whoever started this is gone: also where that was killed and could not say so. */
const UNTIL_STDIN_ENDS =
  `exec 3<&0; "$@" </dev/null 3<&- & pid=$!; { cat <&3 >/dev/null; kill "$pid" 2>/dev/null; } & wait "$pid"`;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

if (import.meta.main) Deno.exit(await main());

interface Place {
  readonly configFile: string;
  readonly listen: string;
  readonly adminListen: string;
}

/** @returns the exit code: the gateway's, or 1 where it could not be started */
async function main(): Promise<number> {
  // It would take the place of every address below.
  Deno.env.delete("DENO_SERVE_ADDRESS");
  const secret = Deno.env.get("ADMIN_JWT_SECRET") || crypto.randomUUID();
  Deno.env.set("ADMIN_JWT_SECRET", secret); // for the gateway
  const redis = Boolean(Deno.env.get("REDIS_URL"));
  const isFree = Deno.args.includes("--free-ports");
  try {
    const anyPorts = { user: 0, admin: 0, chat: 0, beta: 0 };
    await using services = await startServices(isFree ? anyPorts : PORTS, { secret });
    if (!isFree && !redis) {
      return await runGateway({ configFile: CONFIG_FILE, listen: LISTEN, adminListen: ADMIN });
    }
    const [listen, adminListen] = isFree ? [freeAddress(), freeAddress()] : [LISTEN, ADMIN];
    const dir = await Deno.makeTempDir({ prefix: "three-services-" });
    try {
      const configFile = join(dir, "conduit.config.json");
      const { ports } = services;
      const text = await exampleConfig({ listen, adminListen, ports, redis });
      await Deno.writeTextFile(configFile, text);
      return await runGateway({ configFile, listen, adminListen });
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}

function freeAddress(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `127.0.0.1:${listener.addr.port}`;
}

async function runGateway({ configFile, listen, adminListen }: Place): Promise<number> {
  if (!await isInstalled(configFile)) return 1;
  const gateway = [Deno.execPath(), "run", "-A", HEAP_FLAG, MAIN, "dev", "--config", configFile];
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", UNTIL_STDIN_ENDS, "sh", ...gateway],
    stdin: "piped",
    stdout: "inherit",
    stderr: "inherit",
    // Out of reach of the terminal's Ctrl-C, so that it gets one signal and not two.
    detached: true,
  }).spawn();
  const ended = new AbortController();
  const end = once(() => void child.stdin.close().catch(() => {}));
  for (const signal of SIGNALS) Deno.addSignalListener(signal, end);
  try {
    const ready = sayWhatToTry({ listen, adminListen }, ended.signal);
    const { code } = await child.status;
    ended.abort();
    await ready;
    return code;
  } finally {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, end);
  }
}

/** Fetches the npm packages of the plugins, unless they are there; says why where that fails. */
async function isInstalled(configFile: string): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "check", "--install", "--config", configFile],
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).output();
  return success;
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
  { listen, adminListen }: Pick<Place, "listen" | "adminListen">,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    if (await isReady(`http://${adminListen}/readyz`, signal)) {
      const baseUrl = `http://${listen}`;
      const token = await new ApiClient(baseUrl).adminLogin("root", "toor");
      const deno = await denoWords(Deno.execPath(), Deno.env.get("PATH") ?? "");
      return console.log(`\n${tryText({ baseUrl, token, deno })}`);
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
