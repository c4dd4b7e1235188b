/**
 * The commands of `conduit`. The only file that knows both the gateway and where the plugin host lies.
 *
 * @module
 */

import { fromFileUrl, isAbsolute } from "@std/path";
import project from "./deno.json" with { type: "json" };
import { checkReport } from "./gateway/check.ts";
import { type Config, ConfigError, loadConfig } from "./gateway/config.ts";
import { errorText } from "./gateway/errors.ts";
import { ListenError } from "./gateway/listen.ts";
import { type Log, startLog } from "./gateway/log.ts";
import {
  type Gateway,
  type GatewayOptions,
  openPluginRuntime,
  startGateway,
} from "./gateway/server.ts";

const EXIT = { ok: 0, wrong: 1, usage: 2, internal: 70 } as const;
const DEFAULT_CONFIG = "conduit.config.json";

const HELP = `conduit ${project.version}: a programmable API gateway

usage: conduit [COMMAND] [--config FILE]

  run      run the gateway (the default)
  dev      the same for plugin authors: readable logs, broken plugins explained, x-conduit-* response headers
  check    validate the configuration, load every plugin in the sandbox, print routes, chains and permissions
  help     print this
  version  print the version

  --config FILE   the configuration, default ./${DEFAULT_CONFIG}

environment:
  CONDUIT_DENO=/path/to/deno   the Deno that runs the plugin host
  CONDUIT_TRACE_IPC=1          print every frame between gateway and plugin host

exit codes: 0 well, 1 the configuration or a plugin is wrong, 2 wrong usage, 70 internal error
signals: SIGTERM and SIGINT let running requests end, then stop; a second one stops at once
`;

/** What ends the program with a message for its user and no stack. */
class Failure extends Error {
  constructor(message: string, readonly exitCode: number = EXIT.wrong) {
    super(message);
  }
}

const COMMANDS: Readonly<Record<string, (configFile: string) => Promise<number>>> = {
  run: (file) => serve(file, { dev: false }),
  dev: (file) => serve(file, { dev: true }),
  check,
  help: () => print(HELP),
  version: () => print(`conduit ${project.version} (deno ${Deno.version.deno})\n`),
};

function parseArguments(
  args: readonly string[],
): { readonly command: string; readonly configFile: string } {
  let command: string | undefined;
  let configFile = DEFAULT_CONFIG;
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] as string;
    const [flag, value] = arg.split(/=(.*)/s, 2);
    if (flag === "--config" || flag === "-config") {
      const file = value ?? args[++at];
      if (!file) throw new Failure(`${flag} needs a file`, EXIT.usage);
      configFile = file;
    } else if (arg === "--help" || arg === "-h") command = "help";
    else if (arg === "--version") command = "version";
    else if (arg.startsWith("-") || command !== undefined) {
      throw new Failure(`unknown argument "${arg}"; see conduit help`, EXIT.usage);
    } else command = arg;
  }
  command ??= "run";
  if (!Object.hasOwn(COMMANDS, command)) {
    throw new Failure(`unknown command "${command}"; see conduit help`, EXIT.usage);
  }
  return { command, configFile };
}

async function serve(configFile: string, { dev }: { readonly dev: boolean }): Promise<number> {
  const config = await loadConfig(configFile);
  const { log, flush } = startLog(
    dev ? { ...config.log, format: "text", level: "debug" } : config.log,
  );
  keepRunning(log);
  try {
    const options = await gatewayOptions({ log, dev });
    const runtime = await openPluginRuntime(config, options).catch((error) =>
      Promise.reject(pluginsDirFailure(error, config))
    );
    let gateway: Gateway;
    try {
      const started = await runtime.start();
      if (started.kind === "failed" && !dev) {
        throw new Failure(`plugins did not load:\n${started.reason}`);
      }
      if (started.kind !== "ready") {
        log.error("serving without plugins, by failPolicy", { reason: started.reason });
      }
      gateway = await startGateway(config, runtime, options);
    } catch (error) {
      await runtime.stop();
      throw error;
    }
    runtime.watch();
    log.info("ready", { config: config.file, pluginHost: runtime.supervisor.hostPid });
    await stopSignal(log);
    await gateway.shutdown();
    return EXIT.ok;
  } finally {
    flush();
  }
}

async function check(configFile: string): Promise<number> {
  const config = await loadConfig(configFile);
  const { log, flush } = startLog({
    format: "text",
    level: "warn",
    write: (lines) => printError(lines),
  });
  const runtime = await openPluginRuntime(config, await gatewayOptions({ log, dev: false }))
    .catch((error) => Promise.reject(pluginsDirFailure(error, config)));
  try {
    const started = await runtime.start();
    if (started.kind !== "ready") throw new Failure(`plugins did not load:\n${started.reason}`);
    return await print(checkReport(config, runtime));
  } finally {
    await runtime.stop();
    flush();
  }
}

async function gatewayOptions(
  { log, dev }: { readonly log: Log; readonly dev: boolean },
): Promise<GatewayOptions> {
  // Deno.serve would listen there, whatever the configuration says.
  Deno.env.delete("DENO_SERVE_ADDRESS");
  const here = fromFileUrl(import.meta.resolve("./"));
  return {
    log,
    dev,
    version: project.version,
    env: (name) => Deno.env.get(name),
    host: {
      deno: await hostDeno(),
      entry: `${here}plugin-host/main.ts`,
      sources: [`${here}plugin-host`, `${here}protocol`],
    },
    ...(Deno.env.get("CONDUIT_TRACE_IPC") === "1" ? { traceIpc: traceIpc } : {}),
  };
}

/** The Deno that runs the plugin host: `CONDUIT_DENO`, or the one that runs this. */
async function hostDeno(): Promise<string> {
  const chosen = Deno.env.get("CONDUIT_DENO");
  if (chosen === undefined || chosen === "") return Deno.execPath();
  if (!isAbsolute(chosen)) throw new Failure(`CONDUIT_DENO: "${chosen}" is not an absolute path`);
  const output = await new Deno.Command(chosen, { args: ["--version"], stderr: "null" }).output()
    .catch(() => undefined);
  const version = /^deno (\S+)/.exec(new TextDecoder().decode(output?.stdout))?.[1];
  if (version !== Deno.version.deno) {
    throw new Failure(
      `CONDUIT_DENO: "${chosen}" is ${
        version ? `Deno ${version}` : "no Deno"
      }; Deno ${Deno.version.deno} is needed`,
    );
  }
  return chosen;
}

function traceIpc(direction: "in" | "out", message: object): void {
  const text = JSON.stringify("secret" in message ? { ...message, secret: "***" } : message);
  printError(`ipc ${direction === "in" ? "<-" : "->"} ${text}\n`);
}

function pluginsDirFailure(error: unknown, config: Config): unknown {
  if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
    return new Failure(
      `pluginsDir: "${config.pluginsDir}" is not a folder; create it, or name another one`,
    );
  }
  return error;
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process. */
function stopSignal(log: Log): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let received = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => {
      if (received) Deno.exit(EXIT.internal);
      received = true;
      log.info("stopping", { signal });
      resolve();
    });
  }
  return promise;
}

/** A mistake of ours in one request must not end all the others. */
function keepRunning(log: Log): void {
  addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    log.error("unhandled rejection in the gateway", { error: event.reason });
  });
  addEventListener("error", (event) => {
    event.preventDefault();
    log.error("uncaught error in the gateway", { error: event.error });
  });
}

function print(text: string): Promise<number> {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
  return Promise.resolve(EXIT.ok);
}

function printError(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

async function main(): Promise<number> {
  try {
    const { command, configFile } = parseArguments(Deno.args);
    return await (COMMANDS[command] as (file: string) => Promise<number>)(configFile);
  } catch (error) {
    if (error instanceof Failure) {
      printError(`conduit: ${error.message}\n`);
      return error.exitCode;
    }
    if (error instanceof ConfigError || error instanceof ListenError) {
      printError(`conduit: ${error.message}\n`);
      return EXIT.wrong;
    }
    printError(
      `conduit: internal error: ${error instanceof Error ? error.stack : errorText(error)}\n`,
    );
    return EXIT.internal;
  }
}

if (import.meta.main) Deno.exit(await main());
