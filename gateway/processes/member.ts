/**
 * One of several gateway processes, seen from inside: what its parent tells it over stdin, and its share of the log.
 *
 * @module
 */

import { jsonLines } from "../../protocol/json_lines.ts";
import { type AdminPage, json } from "../admin.ts";
import type { Config } from "../config.ts";
import { UserError } from "../errors.ts";

/** The command that a parent starts its processes with. It is no user's: without a parent's line on stdin it ends. */
export const PROCESS_COMMAND = "process";

/** The first line on stdin. The configuration holds secrets, so it stands neither on the command line nor in the environment. */
export interface ProcessInit {
  /** Of the parent; after an update on disk a process of another version must not begin beside the old ones. */
  readonly version: string;
  readonly config: Config;
  /** Where all of them keep the set of plugins that went live last. */
  readonly lastGoodDir: string;
}

/** Every later line on stdin. */
export type ProcessCommand =
  | { readonly command: "stop" }
  /** What became of it stands on the admin listener, at `RELOAD_PAGE`. */
  | { readonly command: "reload"; readonly id: number; readonly config: Config };

/** Where the parent reads what became of the last reload. */
export const RELOAD_PAGE = "/reload";

export interface ReloadOutcome {
  /** Of the command; 0 before the first. */
  readonly id: number;
  /** Why nothing changed. */
  readonly reason?: string | undefined;
}

/** What one of several processes is told. */
export interface Membership extends Pick<ProcessInit, "config" | "lastGoodDir"> {
  /** Resolves when this process is to end. */
  readonly stopped: Promise<undefined>;
  /** Gives what puts a configuration to work, or says why it did not. It is called once, when there is a gateway. */
  readonly onReload: (reload: (config: Config) => Promise<string | undefined>) => void;
  /** Of the admin listener, for the parent. */
  readonly pages: Readonly<Record<string, AdminPage>>;
}

/**
 * Takes what the parent says. When it is gone, this process ends at once: the port must be free for the next one.
 *
 * SIGINT and SIGHUP are not its affair: a terminal sends them to the parent too.
 *
 * @throws {UserError} where this process cannot be one of several
 */
export async function joinProcesses(version: string): Promise<Membership> {
  const lines = jsonLines(Deno.stdin.readable);
  const init = await firstLine(lines);
  if (init.version !== version) {
    throw new UserError(
      `this is conduit ${version} and its parent ${init.version}; restart the whole of it`,
    );
  }
  const { promise: stopped, resolve: stop } = Promise.withResolvers<undefined>();
  const reloads = Promise.withResolvers<(config: Config) => Promise<string | undefined>>();
  let outcome: ReloadOutcome = { id: 0 };
  for (const signal of ["SIGINT", "SIGHUP"] as const) Deno.addSignalListener(signal, () => {});
  Deno.addSignalListener("SIGTERM", () => stop(undefined));
  // One at a time: the parent waits for the outcome.
  const onReload = async (id: number, config: Config) => {
    const reload = await reloads.promise;
    outcome = { id, reason: await reload(config) };
  };
  void (async () => {
    for await (const line of lines) {
      const told = line as ProcessCommand;
      if (told.command === "stop") stop(undefined);
      else void onReload(told.id, told.config);
    }
    Deno.exit(1);
  })();
  return {
    config: init.config,
    lastGoodDir: init.lastGoodDir,
    stopped,
    onReload: reloads.resolve,
    pages: { [RELOAD_PAGE]: () => json(200, outcome) },
  };
}

async function firstLine(lines: AsyncGenerator<unknown>): Promise<ProcessInit> {
  const { value } = Deno.stdin.isTerminal() ? {} : await lines.next().catch(() => ({ value: {} }));
  if (value?.version !== undefined && value.config !== undefined) return value;
  throw new UserError(
    `"${PROCESS_COMMAND}" is started by conduit itself; use conduit run with "processes" in the configuration`,
  );
}
