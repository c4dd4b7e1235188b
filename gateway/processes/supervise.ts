/**
 * The parent of several gateway processes that share a port (`SO_REUSEPORT`, socket(7)): the kernel gives each new connection to
 * one of them. The parent serves no request; it starts them, replaces the ones that die, and answers for all of them on
 * `admin.listen`.
 *
 * @module
 */

import { join } from "@std/path";
import { type Readiness, serveAdmin } from "../admin.ts";
import { type Config, loadConfig } from "../config.ts";
import { isSame } from "../config_changes.ts";
import { listenAddressText, ListenError } from "../listen.ts";
import { adminAddress, adminHosts } from "../listeners.ts";
import type { Log } from "../log.ts";
import { configPage } from "../observe/config_page.ts";
import { diffPage } from "../observe/diff_page.ts";
import { makePrivateDir } from "../private_dir.ts";
import type { Reloader } from "../reload.ts";
import type { ServiceManager } from "../service_manager.ts";
import { GatewayProcess } from "./gateway_process.ts";
import { KeptProcess } from "./kept_process.ts";
import { PROCESS_COMMAND } from "./member.ts";
import { ParentMetrics } from "./parent_metrics.ts";
import { parentPages } from "./parent_pages.ts";
import { type Place, SharedConfig } from "./shared_config.ts";

export interface ParentOptions {
  readonly log: Log;
  readonly version: string;
  readonly env: (name: string) => string | undefined;
  /** Resolves when all is to end. */
  readonly stopped: Promise<undefined>;
  readonly reloader: Reloader;
  readonly service: ServiceManager;
  /** Takes on what the log is to be from now on. */
  readonly configureLog: (log: Config["log"]) => void;
}

/** How many processes `processes` means on this machine. */
export function processCount(processes: Config["processes"]): number {
  return processes === "auto" ? navigator.hardwareConcurrency : processes;
}

/**
 * Runs `count` gateway processes until `stopped`.
 *
 * @returns the exit code: 0, or that of a first process that could not start, which has said why
 * @throws {ListenError}
 */
export async function superviseProcesses(
  config: Config,
  count: number,
  { log, version, env, stopped, reloader, service, configureLog }: ParentOptions,
): Promise<number> {
  if (Deno.build.os !== "linux") {
    // Others have the option and give every connection to one process.
    throw new ListenError(
      `processes: only Linux shares a port between processes; use "processes": 1`,
    );
  }
  const dir = await makePrivateDir(env);
  try {
    const shared = new SharedConfig(config, log);
    const program = await ownProgram();
    const metrics = new ParentMetrics(() => processes);
    const places = Array.from({ length: count }, (_, index): Place => {
      const adminSocket = join(dir.path, `${index}.sock`);
      const spawn = () => {
        const lastGoodDir = join(dir.path, "last-good");
        const init = { version, lastGoodDir, config: shared.forProcess(adminSocket) };
        return metrics.watch(new GatewayProcess({ ...program, init, socketPath: adminSocket }));
      };
      return { process: new KeptProcess(spawn, log), adminSocket };
    });
    const processes = places.map(({ process }) => process);
    let isStopping = false;
    void stopped.then(() => isStopping = true);
    const openAdmin = async (section: Config["admin"]) =>
      section === false ? undefined : await serveAdmin(section.listen, log, {
        allowedHosts: () => adminHosts(shared.config),
        readiness: () => isStopping ? { reason: "shutting down" } : readinessOf(processes),
        pages: {
          "/metrics": () => metrics.page(),
          ...parentPages(() => processes),
          "/config": configPage(() => shared.config),
          "/config/diff": diffPage(() => shared.config),
        },
      });
    let admin = await openAdmin(config.admin);
    reloader.begin(async () => {
      const next = await loadConfig(config.file);
      if (isStopping) throw new Error("the gateway is stopping");
      const old = admin;
      const isKept = isSame(adminAddress(shared.config), adminAddress(next));
      admin = isKept ? old : await openAdmin(next.admin);
      try {
        const reloaded = await shared.reload(next, places);
        configureLog(next.log);
        if (admin !== old) void old?.shutdown();
        return reloaded;
      } catch (error) {
        if (admin !== old) void admin?.shutdown();
        admin = old;
        throw error;
      }
    });
    log.info("gateway processes are started", {
      processes: count,
      address: listenAddressText(shared.listen),
      admin: admin && listenAddressText(admin.address),
      pid: Deno.pid,
    });
    try {
      const failed = await Promise.race([startAll(processes), stopped]);
      if (failed?.signal) throw new Error(`the first gateway process ended by ${failed.signal}`);
      if (failed) return failed.code;
      if (!isStopping) {
        log.info("all gateway processes have been started");
        service.ready(`serving with ${config.file}, ${count} processes`);
      }
      await stopped;
      service.stopping();
      return 0;
    } finally {
      await Promise.all(processes.map((each) => each.stop(shared.config.shutdownGraceMs)));
      void admin?.shutdown();
    }
  } finally {
    await dir.remove();
  }
}

/**
 * One goes first, so that what the user has to put right is said once, and nothing else has begun.
 *
 * @returns how that one ended, if it did before it listened
 */
async function startAll(
  [first, ...others]: readonly KeptProcess[],
): Promise<Deno.CommandStatus | undefined> {
  const ended = await first?.start();
  if (ended) return ended;
  first?.keep();
  await Promise.all(others.map(async (each) => {
    const started = each.start();
    each.keep();
    await started;
  }));
  return undefined;
}

/** Ready is whose connections all go to a process that is ready: one that has died takes none. */
async function readinessOf(processes: readonly KeptProcess[]): Promise<Readiness> {
  const all = await Promise.all(processes.map((each) => each.readiness()));
  const listening = all.filter((each) => each !== undefined);
  const unready = listening.find(({ reason }) => reason !== undefined);
  return {
    reason: listening.length === 0 ? "no gateway process listens" : unready?.reason,
    processes: {
      ready: listening.filter(({ reason }) => reason === undefined).length,
      of: processes.length,
    },
  };
}

/**
 * The program that starts another process like this one: the executable, or Deno with the flags of this process and leave to
 * share a port, which needs `--unstable-net`.
 */
async function ownProgram(): Promise<{ readonly command: string; readonly args: string[] }> {
  const command = Deno.execPath();
  if (Deno.build.standalone) return { command, args: [PROCESS_COMMAND] };
  // program, flags, main module, Deno.args, and nothing behind the last NUL
  const words = (await Deno.readTextFile("/proc/self/cmdline")).split("\0");
  const flags = words.slice(1, -Deno.args.length - 1);
  const main = flags.pop() ?? "";
  return { command, args: [...flags, "--unstable-net", main, PROCESS_COMMAND] };
}
