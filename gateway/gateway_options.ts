/**
 * What a gateway is given from outside, beside its configuration.
 *
 * @module
 */

import type { Trace } from "../protocol/connection.ts";
import type { AdminPage } from "./admin.ts";
import type { Config } from "./config.ts";
import type { LocalHostsOptions } from "./hosts/local_hosts.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./observe/metrics.ts";
import type { Stories } from "./observe/stories.ts";
import type { Telemetry } from "./telemetry.ts";

export interface GatewayOptions {
  readonly log: Log;
  /** Of the whole process: it outlives a change of the configuration. */
  readonly metrics: Metrics;
  /** As `metrics`. */
  readonly stories: Stories;
  readonly version: string;
  readonly hostProgram: LocalHostsOptions["hostProgram"];
  readonly env: (name: string) => string | undefined;
  /** `conduit dev`: broken plugins are explained, types checked, and responses show their way. */
  readonly dev?: DevTools | undefined;
  /** This is one of several gateway processes that listen on the same port. */
  readonly sharesPort?: boolean;
  /** Of one of several gateway processes: where they keep the set of plugins that went live last. */
  readonly lastGoodDir?: string | undefined;
  /** Of the admin listener, beside its own. */
  readonly pages?: Readonly<Record<string, AdminPage>>;
  /** Where Deno exports traces. */
  readonly telemetry?: Telemetry | undefined;
  /** Takes on what the log is to be from now on; `dev` has a log of its own. */
  readonly configureLog?: ((log: Config["log"]) => void) | undefined;
  /** Prints every frame of the plugin socket. */
  readonly traceIpc: Trace | undefined;
}

/** What `conduit dev` has and `conduit run` has not. */
export interface DevTools {
  /** Prints a block of lines from the author's own files. Whatever handles requests does not get it. */
  readonly print: (block: string) => void;
}
