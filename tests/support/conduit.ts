/**
 * `conduit` as a command that ends: its exit code and what it printed. For one that serves there is `testGateway`.
 *
 * @module
 */

import { dirname, join } from "@std/path";
import { FROM_SOURCE, type Program } from "./gateway.ts";

export type { Program };

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it to its end; one that still runs after 20 s is killed and gives a code that is none of its own. */
export async function conduit(
  args: readonly string[],
  { env = {}, cwd, program = FROM_SOURCE, clearEnv = false }: {
    readonly env?: Readonly<Record<string, string>>;
    readonly cwd?: string;
    readonly program?: Program;
    readonly clearEnv?: boolean;
  } = {},
): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command(program.command, {
    args: [...program.args, ...args],
    env: { NO_COLOR: "1", ...env },
    clearEnv,
    ...(cwd ? { cwd } : {}),
    stdin: "null",
    signal: AbortSignal.timeout(20_000),
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** A folder for one test, with these files; it has `path`, and goes when it is disposed. */
export async function scratch(
  files: Readonly<Record<string, string>> = {},
): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ prefix: "conduit-test-" });
  await writeFiles(path, files);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The text of a configuration that works, on free ports, changed by `changes`. */
export function configText(changes: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    listen: "127.0.0.1:0",
    admin: { listen: "127.0.0.1:0" },
    pluginsDir: "./plugins",
    pluginPoolSize: 1,
    routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }],
    ...changes,
  });
}

/** Writes files below `dir`, folders included. They can be executed. */
export async function writeFiles(
  dir: string,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(dirname(join(dir, name)), { recursive: true });
    await Deno.writeTextFile(join(dir, name), text, { mode: 0o755 });
  }
}
