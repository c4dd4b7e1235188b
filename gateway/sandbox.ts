/**
 * What the plugin host may do, derived from the configuration and nothing else. Pure: this file is what a reviewer reads
 * to know the sandbox, and `conduit check` prints.
 *
 * @module
 */

import type { Config } from "./config.ts";
import { UserError } from "./errors.ts";
import type { Origin } from "./upstream/origin.ts";

/**
 * For every process that runs for long. V8 lets the young generation of a busy isolate grow by what it needs only when it is busiest, and
 * keeps it: with this bound a host of four busy isolates has half the memory, and a request takes no more CPU. With half of it, it takes
 * a sixth more (`docs/performance.md`). In MiB.
 */
export const HEAP_FLAG = "--v8-flags=--max-semi-space-size=8";

/** The permissions that the configuration asks for cannot be had; the message says why. */
export class SandboxError extends UserError {
  override readonly name = "SandboxError";
}

/** The files on this machine that the host needs. Absolute paths. */
export interface HostFiles {
  readonly deno: string;
  readonly entry: string;
  /** The folders that hold the host's own source. */
  readonly sources: readonly string[];
  readonly socket: string;
  /** Holds one folder for each generation of plugin files. */
  readonly pluginsRoot: string;
  /** Deno's own cache for the host process; plugin code cannot reach it. */
  readonly denoDir: string;
  /** Holds `deno.json` and `deno.lock` of the npm packages that plugins may import, if there are any. */
  readonly packagesDir?: string;
}

export interface HostCommand {
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the process. */
  readonly env: { readonly DENO_DIR: string; readonly [name: string]: string };
}

/** What plugins may reach over the network: the routes' upstreams and `pluginNet`, as `--allow-net` takes them. */
export function pluginHosts(config: Pick<Config, "routes" | "pluginNet">): string[] {
  const upstreams = config.routes.flatMap((route) => route.upstreams.map(hostPort));
  return [...new Set([...upstreams, ...config.pluginNet])].sort();
}

/** The values of `pluginEnv` that are set. */
export function pluginEnvironment(
  config: Pick<Config, "pluginEnv">,
  env: (name: string) => string | undefined,
): Record<string, string> {
  const values: Record<string, string> = {};
  for (const name of config.pluginEnv) {
    const value = env(name);
    if (value !== undefined) values[name] = value;
  }
  return values;
}

/**
 * The command that starts the host. Everything that is not allowed here is refused without a prompt.
 *
 * @throws {SandboxError}
 */
export function hostCommand(
  config: Pick<Config, "routes" | "pluginNet">,
  files: HostFiles,
  pluginEnv: Readonly<Record<string, string>>,
): HostCommand {
  const names = Object.keys(pluginEnv);
  return {
    command: files.deno,
    args: [
      "run",
      "--no-prompt",
      // Names and pins npm packages, and nothing else.
      ...(files.packagesDir === undefined ? ["--no-config", "--no-lock"] : [
        `--config=${files.packagesDir}/deno.json`,
        `--lock=${files.packagesDir}/deno.lock`,
        "--frozen",
      ]),
      // It would keep compiled code of every generation on the disk, and saves no time at a start.
      "--no-code-cache",
      HEAP_FLAG,
      // Both: otherwise a plugin could import() from a registry, and so send data out.
      "--no-remote",
      "--cached-only",
      "--unstable-worker-options",
      "--deny-run",
      "--deny-ffi",
      list("--allow-net", [...pluginHosts(config), `unix:${files.socket}`]),
      list("--allow-read", [...files.sources, files.pluginsRoot, files.socket]),
      list("--allow-write", [files.socket]),
      ...(names.length > 0 ? [list("--allow-env", names)] : []),
      files.entry,
    ],
    env: { ...pluginEnv, ...denoEnvironment(files.denoDir) },
  };
}

/** What each Deno that works for the gateway is told: where its cache is, and to look at nothing that it was not shown. */
export function denoEnvironment(denoDir: string) {
  return {
    DENO_DIR: denoDir,
    DENO_NO_PACKAGE_JSON: "1",
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
  } as const;
}

function hostPort({ hostname, port }: Origin): string {
  return `${hostname}:${port}`;
}

/** Deno 2.9.6 has no way to write a comma in a path: what stands before it would be allowed instead. */
function list(flag: string, values: readonly string[]): string {
  const split = values.find((each) => each.includes(","));
  if (split !== undefined) {
    throw new SandboxError(
      `the plugin host cannot be confined to "${split}": Deno cannot take a path with a comma; use another folder`,
    );
  }
  return `${flag}=${values.join(",")}`;
}
