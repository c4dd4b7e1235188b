/**
 * Why plugins do not load: what is wrong with which of their files.
 *
 * @module
 */

import type { LoadProblem } from "../protocol/messages.ts";
import { UserError } from "./errors.ts";

/** What is wrong in a plugin's file: `file` is the path in `pluginsDir`, `message` is without the place. */
export interface PluginFault extends LoadProblem {
  /** The path of the copy that was loaded. */
  readonly path?: string | undefined;
}

/** A set of plugins that did not load. The message names the files, the places and the reasons, a line or more for each. */
export class PluginLoadError extends UserError {
  override readonly name = "PluginLoadError";
  readonly blocked: boolean;
  /** Empty where the gateway knows of no single place. */
  readonly faults: readonly PluginFault[];

  constructor(
    message: string,
    options: {
      /** A thread of the host is stuck in these files. */
      readonly blocked?: boolean;
      readonly faults?: readonly PluginFault[];
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, options);
    this.blocked = options.blocked ?? false;
    this.faults = options.faults ?? [];
  }
}

/** The process that was loading plugins died or hangs. Whether they are to blame is not known. */
export class HostLostError extends Error {
  override readonly name = "HostLostError";
  /** It is there, and says nothing. */
  readonly hangs: boolean;

  constructor(message: string, { hangs }: { readonly hangs: boolean }) {
    super(message);
    this.hangs = hangs;
  }
}

/** `001-auth.ts:3:14: does not load: …` */
export function faultText({ file, line, column, message }: PluginFault): string {
  return `${[file, line, column].filter((each) => each !== undefined).join(":")}: ${message}`;
}
