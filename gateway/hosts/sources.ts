/**
 * Where plugin hosts come from: this process starts them, or a host service does.
 *
 * @module
 */

import type { HostStart } from "../../protocol/host_stdin.ts";
import type { Config } from "../config.ts";
import type { GatewayOptions } from "../gateway_options.ts";
import type { HostChild } from "../host_process.ts";
import type { PluginFiles } from "../plugin_files.ts";
import { PluginSocket } from "../plugin_socket.ts";
import type { ExternalHosts } from "./external_hosts.ts";
import type { LocalHosts } from "./local_hosts.ts";

/** How long the first requests may wait for a host service that is just connecting. */
const EXTERNAL_START_MS = 2000;

type SourceOptions = Pick<GatewayOptions, "log" | "metrics" | "traceIpc">;

/** What is not ended with a runtime, since another one has it. */
export interface Kept {
  readonly cache: boolean;
  readonly external: boolean;
}

/** Where hosts come from. */
export interface Hosts {
  readonly socket: PluginSocket;
  readonly files: PluginFiles | undefined;
  readonly lastGood: PluginFiles | undefined;
  readonly prepare: (files: PluginFiles) => Promise<(init: HostStart) => HostChild>;
  readonly isAway?: () => string | undefined;
  /** Resolves when there are files, or nobody is to wait for them any longer. */
  readonly arrival?: () => Promise<void>;
  readonly close: (kept: Kept) => Promise<void>;
}

/** Child processes of this one. */
export async function embedded(
  local: LocalHosts,
  { config, options }: { readonly config: Config; readonly options: SourceOptions },
): Promise<Hosts> {
  let socket: PluginSocket;
  try {
    socket = new PluginSocket(local.socketPath, socketOptions(config, options));
  } catch (error) {
    await local.close();
    throw error;
  }
  return {
    socket,
    files: local.files,
    lastGood: local.lastGood,
    prepare: (files) => local.prepare(config, files),
    async close() {
      socket.close();
      await local.close();
    },
  };
}

/** Of a host service. */
export function elsewhere(
  external: ExternalHosts,
  { config, lastGood }: { readonly config: Config; readonly lastGood: PluginFiles | undefined },
): Hosts {
  return {
    socket: external.socket,
    get files() {
      return external.files;
    },
    get lastGood() {
      return lastGood ?? external.lastGood;
    },
    prepare: (files) => Promise.resolve((init) => external.start(init, { config, files })),
    isAway: () => external.away,
    arrival: () => external.arrival(EXTERNAL_START_MS),
    close: async (kept) => kept.external ? undefined : await external.close(),
  };
}

/** How the plugin socket is to be. */
export function socketOptions(
  { maxFrameBytes }: Config,
  { log, metrics, traceIpc }: SourceOptions,
) {
  return { log, maxFrameBytes, meter: metrics.ipc, trace: traceIpc };
}
