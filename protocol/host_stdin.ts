/**
 * What the process that started the host tells its main thread, as JSON lines on stdin.
 *
 * @module
 */

import type { Json } from "./snapshot.ts";

/** The first line on stdin. It holds the secrets that neither the command line nor the environment may show. */
export interface HostInit {
  readonly socket: string;
  readonly secret: string;
  readonly version: string;
  readonly poolSize: number;
  readonly loadTimeoutMs: number;
  readonly maxFrameBytes: number;
  readonly pluginConfig: { readonly [plugin: string]: Json };
  readonly env: Readonly<Record<string, string>>;
  /** What isolates may reach, in the words of `--allow-net`, without the socket. */
  readonly netHosts: readonly string[];
  /** The folder that holds the generations' folders. */
  readonly pluginsRoot: string;
}

/** What of it the gateway says; where the host runs adds the rest. */
export type HostStart = Omit<HostInit, "socket" | "env" | "netHosts" | "pluginsRoot">;

/** Every later line on stdin. */
export interface LoadCommand {
  /** `dirUrl` is a file URL with a final `/`: the folder of this generation, which no longer changes. */
  readonly load: { readonly generation: number; readonly dirUrl: string };
}
