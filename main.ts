/**
 * The commands of `conduit`. The only file that knows both the gateway and where the plugin host lies.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import project from "./deno.json" with { type: "json" };
import { checkReport } from "./gateway/check.ts";
import { type Arguments, parseArguments, UsageError } from "./gateway/cli/arguments.ts";
import { type CommandName, EXIT } from "./gateway/cli/commands.ts";
import { configDiff } from "./gateway/cli/diff.ts";
import { checkHealth, HealthcheckError } from "./gateway/cli/healthcheck.ts";
import { completionScript, type Shell } from "./gateway/cli/completions.ts";
import { manualPage, overview } from "./gateway/cli/help.ts";
import { type Config, ConfigError, loadAdmin, loadConfig, withSettings } from "./gateway/config.ts";
import { configJsonSchema } from "./gateway/config_json_schema.ts";
import { errorText } from "./gateway/errors.ts";
import { hostDeno, HostDenoError } from "./gateway/host_deno.ts";
import { HostService } from "./gateway/hosts/host_service.ts";
import { ListenError } from "./gateway/listen.ts";
import { type Log, startLog, writeAll } from "./gateway/log.ts";
import { Metrics } from "./gateway/observe/metrics.ts";
import { Stories } from "./gateway/observe/stories.ts";
import { PluginLoadError } from "./gateway/plugin_errors.ts";
import { PluginLogs } from "./gateway/plugin_logs.ts";
import { PluginsDirError } from "./gateway/plugin_files.ts";
import { installPackages } from "./gateway/plugin_packages.ts";
import {
  type GatewayOptions,
  openPluginRuntime,
  type PluginRuntime,
} from "./gateway/plugin_runtime.ts";
import { PrivateDirError } from "./gateway/private_dir.ts";
import { keepRunning, onHangup, stopSignal } from "./gateway/process_events.ts";
import {
  joinProcesses,
  type Membership,
  PROCESS_COMMAND,
  ProcessInitError,
} from "./gateway/processes/member.ts";
import { processCount, superviseProcesses } from "./gateway/processes/supervise.ts";
import { Reloader, reloadWithLog } from "./gateway/reload.ts";
import { SandboxError } from "./gateway/sandbox.ts";
import { Gateway } from "./gateway/server.ts";
import { EMBEDDED, readShipped } from "./gateway/shipped.ts";
import { ServiceManager } from "./gateway/service_manager.ts";
import type { StartResult } from "./gateway/supervisor.ts";
import { startTelemetry, type Telemetry } from "./gateway/telemetry.ts";
import { warnOfNoTraces } from "./gateway/traces_asked.ts";
import { denoWord, InitError, initProject, typeDeclarations } from "./plugin-host/author_files.ts";
import { packagedFiles, type ProgramFiles, sourceFiles } from "./plugin-host/program_files.ts";
import { PROTOCOL_VERSION } from "./protocol/messages.ts";

const HERE = new URL("./", import.meta.url);

/** What ends the program with a message for its user. */
class Failure extends Error {}

const env = (name: string) => Deno.env.get(name);

/** What the user can put right: told without a stack. */
const EXPECTED = [
  ConfigError,
  Failure,
  HealthcheckError,
  HostDenoError,
  InitError,
  ListenError,
  PluginLoadError,
  PluginsDirError,
  PrivateDirError,
  ProcessInitError,
  SandboxError,
  UsageError,
] as const;

const RUN: Readonly<Record<CommandName, (args: Arguments) => Promise<number>>> = {
  run: ({ configFile }) => run(configFile),
  dev: async ({ configFile }) => serve(embedded(await loadConfig(configFile)), { dev: true }),
  host: ({ configFile }) => host(configFile),
  check,
  init: ({ operand }) => init(operand ?? "."),
  healthcheck: async ({ configFile, options: { ready } }) => {
    await checkHealth(await loadAdmin(configFile), ready === undefined ? "/healthz" : "/readyz");
    return EXIT.ok;
  },
  schema: () => print(`${JSON.stringify(configJsonSchema(), null, 2)}\n`),
  types: async () => print(await typeDeclarations((await ownFiles()).read)),
  completions: ({ operand }) => print(completionScript(operand as Shell)),
  help: ({ operand }) =>
    print(operand ? manualPage(operand as CommandName) : overview(project.version)),
  version: ({ options: { json } }) =>
    print(
      json === undefined
        ? `conduit ${project.version} (deno ${Deno.version.deno})\n`
        : `${JSON.stringify(versions(), null, 2)}\n`,
    ),
};

/** What this program is made of. */
function versions() {
  const { version } = project;
  const { target, standalone } = Deno.build;
  return { conduit: version, protocol: PROTOCOL_VERSION, ...Deno.version, target, standalone };
}

async function run(configFile: string): Promise<number> {
  const config = await loadConfig(configFile);
  const count = processCount(config.processes);
  if (count === 1) return await serve(config);
  const { log, end, configure } = startLog({ ...config.log, isShared: true });
  keepRunning(log);
  const service = new ServiceManager(env, log);
  const reloader = new Reloader(log, service);
  onHangup(() => reloader.request());
  telemetry(log); // for what Deno traces of the admin listener
  const stopped = stopSignal({ log, end, exitCode: EXIT.internal });
  try {
    const { version } = project;
    const code = await superviseProcesses(config, count, {
      log,
      version,
      env,
      stopped,
      reloader,
      service,
      configureLog: configure,
    });
    if (code === EXIT.ok) log.info("stopped");
    return code;
  } finally {
    await end();
  }
}

function telemetry(log: Log): Telemetry | undefined {
  const started = startTelemetry();
  const { standalone } = Deno.build;
  warnOfNoTraces(log, { standalone, env, traces: started !== undefined });
  return started;
}

/** One of the processes that `run` starts where the configuration wants several. */
async function serveBesideOthers(): Promise<number> {
  const membership = await joinProcesses(project.version);
  return await serve(membership.config, { membership });
}

async function serve(
  config: Config,
  { dev = false, membership }: {
    readonly dev?: boolean;
    /** Of one of several processes. */
    readonly membership?: Membership;
  } = {},
): Promise<number> {
  const { log, end, lostLines, print, configure } = startLog(
    dev ? { format: "text", level: "debug", stacksBelow: true } : {
      ...config.log,
      ...(membership ? { isShared: true, fields: { process: Deno.pid } } : {}),
    },
  );
  keepRunning(log);
  // Several processes have a parent, which is the one that the service manager knows.
  const service = new ServiceManager(membership ? () => undefined : env, log);
  const reloader = new Reloader(log, service);
  if (!membership) onHangup(() => reloader.request());
  const stopped = membership?.stopped ?? stopSignal({ log, end, exitCode: EXIT.internal });
  try {
    const options = {
      ...await gatewayOptions({ log, lostLines, print: dev ? print : undefined }),
      sharesPort: membership !== undefined,
      pages: membership?.pages ?? {},
      lastGoodDir: membership?.lastGoodDir,
      telemetry: telemetry(log),
      configureLog: dev ? undefined : configure,
    };
    const runtime = await openPluginRuntime(config, options);
    let gateway: Gateway | undefined;
    try {
      // A signal while plugins load ends it before anybody was served.
      const started = await Promise.race([runtime.start(), stopped]);
      if (started) {
        gateway = await start(started, { config, runtime, options });
        const serving = gateway;
        reloader.begin(async () => {
          const next = await loadConfig(config.file);
          return await serving.reload(dev ? embedded(next) : next);
        });
        membership?.onReload((next) => reloadWithLog(log, () => serving.reload(next)));
        service.ready(`serving with ${config.file}`);
        await stopped;
        service.stopping();
        await serving.shutdown();
      }
    } finally {
      await (gateway ?? runtime).stop();
    }
    log.info("stopped");
    return EXIT.ok;
  } finally {
    await end();
  }
}

async function start(
  started: StartResult,
  { config, runtime, options }: {
    readonly config: Config;
    readonly runtime: PluginRuntime;
    readonly options: GatewayOptions;
  },
): Promise<Gateway> {
  const { log, dev } = options;
  if (started.kind === "failed" && !dev) {
    throw new Failure(`plugins did not load:\n${started.reason}`);
  }
  if (started.kind !== "ready") {
    // Why plugins do not load has been shown.
    const reason = started.kind === "absent" ? started.reason : undefined;
    log.error("serving without plugins, by failPolicy", { reason });
  }
  const gateway = await Gateway.start(config, runtime, options);
  log.info("ready", { config: config.file, pluginHost: runtime.supervisor.hostPid });
  return gateway;
}

/** As it is, with a plugin host of its own: what a plugin's author sees, and what `check` loads, is on this machine. */
function embedded(config: Config): Config {
  return withSettings(config, { runtime: { mode: "embedded" } });
}

/** The plugin host as a service, for a gateway that is another one. */
async function host(configFile: string): Promise<number> {
  const config = await loadConfig(configFile);
  if (config.runtime.mode !== "external") {
    throw new Failure(
      `runtime.mode: "embedded" means that the gateway starts the plugin host itself; set "external" and "socket"`,
    );
  }
  const { log, end, lostLines } = startLog(config.log);
  keepRunning(log);
  const service = new ServiceManager(env, log);
  // What changes in the file is read with the next host that the gateway asks for.
  onHangup(() => log.info("the plugin host service reads the configuration for each host anew"));
  const stopped = stopSignal({ log, end, exitCode: EXIT.internal });
  try {
    const options = await gatewayOptions({ log, lostLines });
    const { socket } = config.runtime;
    const hosts = await HostService.open(config, socket, {
      ...options,
      trace: options.traceIpc,
      output: new PluginLogs({ ...options, level: config.log.level, limits: config.log }).output,
      onState: (state) => service.ready(state),
    });
    log.info("the plugin host service is ready", { socket, pid: Deno.pid });
    void stopped.then(() => {
      service.stopping();
      hosts.stop();
    });
    await hosts.run();
    log.info("stopped");
    return EXIT.ok;
  } finally {
    await end();
  }
}

async function check({ configFile, options: { install, diff } }: Arguments): Promise<number> {
  if (diff !== undefined) {
    if (install !== undefined) throw new UsageError("--diff and --install do not go together");
    const { text, isRefused } = await configDiff(await loadAdmin(configFile));
    await print(text);
    return isRefused ? EXIT.wrong : EXIT.ok;
  }
  const config = embedded(await loadConfig(configFile));
  const { log, flush } = startLog({ format: "text", level: "warn", write: printError });
  const options = await gatewayOptions({ log });
  if (install !== undefined) {
    await installPackages(config.pluginsDir, { deno: options.host.deno, env: options.env });
  }
  const runtime = await openPluginRuntime(config, options);
  try {
    const started = await runtime.start();
    if (started.kind !== "ready") throw new Failure(`plugins did not load:\n${started.reason}`);
    return await print(checkReport(config, runtime));
  } finally {
    await runtime.stop();
    flush();
  }
}

async function init(dir: string): Promise<number> {
  const word = (deno: string) => denoWord(deno, Deno.env.get("PATH") ?? "");
  const conduit = Deno.build.standalone
    ? [Deno.execPath()]
    : [await word(Deno.execPath()), "run", "-A", fromFileUrl(import.meta.url)];
  // Authors run their tests on what runs the plugin host.
  const { log, flush } = startLog({ format: "text", level: "warn", write: printError });
  const deno = await ownDeno(log).then(word, () => "deno");
  flush();
  const program = { conduit, deno };
  return await print(await initProject(dir, { read: (await ownFiles()).read, program }));
}

async function gatewayOptions(
  { log, print, lostLines }: {
    readonly log: Log;
    readonly lostLines?: () => number;
    /** Where `conduit dev` prints what it has to say about the plugins' files. */
    readonly print?: ((block: string) => void) | undefined;
  },
): Promise<GatewayOptions> {
  return {
    log,
    dev: print && { print },
    metrics: new Metrics({ version: project.version, lostLines }),
    stories: new Stories(),
    version: project.version,
    env,
    host: {
      deno: await ownDeno(log),
      program: (await ownFiles()).place,
    },
    ...(Deno.env.get("CONDUIT_TRACE_IPC") === "1" ? { traceIpc } : {}),
  };
}

/** @throws {HostDenoError} */
async function ownDeno(log: Log): Promise<string> {
  const shipped = await readShipped(HERE);
  return await hostDeno({ env, log, shipped, executable: Deno.execPath() });
}

/** Beside this module there are the sources, or what is packaged. */
async function ownFiles(): Promise<ProgramFiles> {
  return await readShipped(HERE) ? packagedFiles(new URL(EMBEDDED, HERE)) : sourceFiles(HERE);
}

function traceIpc(direction: "in" | "out", message: object): void {
  const hidden = {
    ...("secret" in message && { secret: "***" }),
    ...("init" in message && { init: "***" }),
  };
  const text = JSON.stringify({ ...message, ...hidden });
  printError(`ipc ${direction === "in" ? "<-" : "->"} ${text}\n`);
}

function print(text: string): Promise<number> {
  writeAll(Deno.stdout, text);
  return Promise.resolve(EXIT.ok);
}

function printError(text: string): void {
  writeAll(Deno.stderr, text);
}

async function main(): Promise<number> {
  // Deno.serve would listen there, whatever the configuration says.
  Deno.env.delete("DENO_SERVE_ADDRESS");
  try {
    if (Deno.args[0] === PROCESS_COMMAND) return await serveBesideOthers();
    const args = parseArguments(Deno.args);
    return await RUN[args.command](args);
  } catch (error) {
    if (EXPECTED.some((kind) => error instanceof kind)) {
      printError(`conduit: ${errorText(error)}\n`);
      return error instanceof UsageError ? EXIT.usage : EXIT.wrong;
    }
    printError(
      `conduit: internal error: ${error instanceof Error ? error.stack : errorText(error)}\n`,
    );
    return EXIT.internal;
  }
}

if (import.meta.main) Deno.exit(await main());
