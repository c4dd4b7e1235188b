/**
 * The commands that go on until they are stopped: `conduit run`, `dev` and `host`.
 *
 * @module
 */

import { type Config, loadConfig, withSettings } from "../config.ts";
import { UserError } from "../errors.ts";
import type { GatewayOptions } from "../gateway_options.ts";
import { HostService } from "../hosts/host_service.ts";
import { type Log, startLog } from "../log.ts";
import { PluginLogs } from "../plugin_logs.ts";
import { PluginRuntime } from "../plugin_runtime.ts";
import { keepRunning, onHangup, stopSignal } from "../process_events.ts";
import { joinProcesses, type Membership } from "../processes/member.ts";
import { processCount, superviseProcesses } from "../processes/supervise.ts";
import { Reloader, reloadWithLog } from "../reload.ts";
import { Gateway } from "../server.ts";
import { ServiceManager } from "../service_manager.ts";
import type { StartResult } from "../supervisor.ts";
import { startTelemetry, type Telemetry } from "../telemetry.ts";
import { EXIT } from "./commands.ts";

/** This program, as `main.ts` knows it. */
export interface Program {
  readonly version: string;
  readonly env: (name: string) => string | undefined;
  readonly gatewayOptions: (own: OwnOptions) => GatewayOptions;
}

/** What belongs to one command that runs. */
export interface OwnOptions {
  readonly log: Log;
  readonly lostLines?: () => number;
  /** Where `conduit dev` prints what it has to say about the plugins' files. */
  readonly print?: ((block: string) => void) | undefined;
}

/** `conduit run`. */
export async function run(configFile: string, program: Program): Promise<number> {
  const { version, env } = program;
  const config = await loadConfig(configFile);
  const count = processCount(config.processes);
  if (count === 1) return await serve(config, program);
  const { log, end, configure } = startLog({ ...config.log, isShared: true });
  keepRunning(log);
  const service = new ServiceManager(env, log);
  const reloader = new Reloader(log, service);
  onHangup(() => reloader.request());
  telemetry(log, env); // for what Deno traces of the admin listener
  const stopped = stopSignal({ log, end, exitCode: EXIT.internal });
  try {
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

function telemetry(log: Log, env: Program["env"]): Telemetry | undefined {
  const started = startTelemetry();
  const { standalone } = Deno.build;
  warnOfNoTraces(log, { standalone, env, traces: started !== undefined });
  return started;
}

/**
 * Whether an executable exports traces is decided where it is compiled: whoever asks for them where it runs is told that nothing comes
 * of it.
 */
export function warnOfNoTraces(
  log: Log,
  { standalone, env, traces }: {
    readonly standalone: boolean;
    readonly env: Program["env"];
    readonly traces: boolean;
  },
): void {
  if (!standalone || traces || /^(?:|0|false)$/.test(env("OTEL_DENO") ?? "")) return;
  log.warn("this executable exports no traces, whatever OTEL_DENO says");
}

/** One of the processes that `run` starts where the configuration wants several. */
export async function serveBesideOthers(program: Program): Promise<number> {
  const membership = await joinProcesses(program.version);
  return await serve(membership.config, program, { membership });
}

/** `conduit dev`, and `conduit run` with one process. */
export async function serve(
  config: Config,
  { env, gatewayOptions }: Program,
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
      ...gatewayOptions({ log, lostLines, print: dev ? print : undefined }),
      sharesPort: membership !== undefined,
      pages: membership?.pages ?? {},
      lastGoodDir: membership?.lastGoodDir,
      telemetry: telemetry(log, env),
      configureLog: dev ? undefined : configure,
    };
    const runtime = await PluginRuntime.open(config, options);
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
    throw new UserError(`plugins did not load:\n${started.reason}`);
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

/** The configuration as it is, with a plugin host of its own: what a plugin's author sees, and what `check` loads, is on this machine. */
export function embedded(config: Config): Config {
  return withSettings(config, { runtime: { mode: "embedded" } });
}

/** The plugin host as a service, for a gateway that is another one. */
export async function host(
  configFile: string,
  { env, gatewayOptions }: Program,
): Promise<number> {
  const config = await loadConfig(configFile);
  if (config.runtime.mode !== "external") {
    throw new UserError(
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
    const options = gatewayOptions({ log, lostLines });
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
