/**
 * Why plugins do not run: their files are at fault, or the process that should run them is.
 *
 * @module
 */

/** Where a plugin's file is wrong; `path` is that of the copy which was loaded. */
export interface PluginPlace {
  readonly path: string;
  readonly line: number;
  readonly column: number;
}

/** The same for people who know the folder and not its copies. */
export interface PluginFault {
  /** The path in `pluginsDir`. */
  readonly file: string;
  readonly line: number | undefined;
  readonly column: number | undefined;
  /** Without the place. */
  readonly message: string;
}

/** A set of plugins that did not load. The message names the file, the place and the reason. */
export class PluginLoadError extends Error {
  override readonly name = "PluginLoadError";
  readonly blocked: boolean;
  readonly place: PluginPlace | undefined;
  readonly fault: PluginFault | undefined;

  constructor(
    message: string,
    options: {
      /** A thread of the host is stuck in these files. */
      readonly blocked?: boolean;
      readonly place?: PluginPlace | undefined;
      readonly fault?: PluginFault;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, options);
    this.blocked = options.blocked ?? false;
    this.place = options.place;
    this.fault = options.fault;
  }
}

/** The process ended, or never came up. */
export class HostGoneError extends Error {
  override readonly name = "HostGoneError";
}
