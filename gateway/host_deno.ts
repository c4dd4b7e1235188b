/**
 * Which Deno runs the plugin host: the one that is asked for, or the one that runs this from source, or, for an executable, the first
 * that is found where an operator may have put it or that it brings along itself. It is always of the gateway's own version.
 *
 * @module
 */

import { dirname, isAbsolute, join } from "@std/path";
import { cacheFolders } from "./cache_folders.ts";
import { cachedDeno, unpackDeno } from "./deno_cache.ts";
import { errorText, UserError } from "./errors.ts";
import type { Log } from "./log.ts";
import type { ShippedDeno } from "./shipped.ts";

/** The Deno that was asked for is none, or another one, or there is none at all; the message says which. */
export class HostDenoError extends UserError {
  override readonly name = "HostDenoError";
}

export interface HostDenoNeeds {
  readonly env: (name: string) => string | undefined;
  readonly log: Log;
  /** The program that runs this. */
  readonly executable: string;
  /** What that brings along; `undefined` where it is Deno itself and runs this from source. */
  readonly shipped: ShippedDeno | undefined;
}

/**
 * @returns the absolute path of the program
 * @throws {HostDenoError}
 */
export async function hostDeno(needs: HostDenoNeeds): Promise<string> {
  const { env, executable, shipped } = needs;
  const chosen = env("CONDUIT_DENO");
  if (chosen) return await checkChosen(chosen);
  if (!shipped) return executable;
  const beside = join(dirname(executable), "deno");
  if (await denoVersion(beside) === shipped.version) return beside;
  const reasons: string[] = [];
  return await fromCache(shipped, needs, reasons) ?? await fromPath(shipped, needs, reasons) ??
    failed(shipped, executable, reasons);
}

async function checkChosen(chosen: string): Promise<string> {
  if (!isAbsolute(chosen)) {
    throw new HostDenoError(`CONDUIT_DENO: "${chosen}" is not an absolute path`);
  }
  const version = await denoVersion(chosen);
  if (version === Deno.version.deno) return chosen;
  const found = version ? `Deno ${version}` : "no Deno";
  throw new HostDenoError(
    `CONDUIT_DENO: "${chosen}" is ${found}; Deno ${Deno.version.deno} is needed`,
  );
}

/** The copy in the cache; if there is none, it is made. */
async function fromCache(
  shipped: ShippedDeno,
  { env, log }: HostDenoNeeds,
  reasons: string[],
): Promise<string | undefined> {
  const folders = cacheFolders(env);
  for (const folder of folders) {
    const found = await cachedDeno(shipped, folder);
    if (found.path !== undefined) return found.path;
    if (!found.damaged) continue;
    log.warn("the Deno in the cache is not used", { folder, reason: found.reason });
  }
  const { archive } = shipped;
  if (!archive) return undefined;
  for (const folder of folders) {
    const begin = performance.now();
    try {
      const path = await unpackDeno({ ...shipped, archive }, folder);
      const durationMs = Math.round(performance.now() - begin);
      log.info("Deno is unpacked for the plugin host", { path, durationMs });
      return path;
    } catch (error) {
      reasons.push(`"${folder}": ${errorText(error)}`);
    }
  }
  if (folders.length === 0) reasons.push("none of CACHE_DIRECTORY, XDG_CACHE_HOME and HOME is set");
  return undefined;
}

async function fromPath(
  { version }: ShippedDeno,
  { env, log }: HostDenoNeeds,
  reasons: readonly string[],
): Promise<string | undefined> {
  for (const dir of (env("PATH") ?? "").split(":").filter(isAbsolute)) {
    const path = join(dir, "deno");
    if (await denoVersion(path) !== version) continue;
    const reason = reasons.length > 0 ? reasons.join("; ") : undefined;
    log.warn("the plugin host runs on the Deno of PATH", { path, reason });
    return path;
  }
  return undefined;
}

function failed({ version }: ShippedDeno, executable: string, reasons: readonly string[]): never {
  const lack = `there is no Deno ${version} to run the plugin host`;
  const remedy = `let CONDUIT_DENO name one, put one beside "${executable}" as "deno"`;
  if (reasons.length === 0) throw new HostDenoError(`${lack}\n${remedy}, or put one on PATH`);
  const why = reasons.map((reason) => `\n  ${reason}`).join("");
  throw new HostDenoError(
    `${lack}, and none can be unpacked:${why}\n${remedy},
let CACHE_DIRECTORY or XDG_CACHE_HOME name a folder that this user may write to and run programs from, or put one on PATH`,
  );
}

async function denoVersion(program: string): Promise<string | undefined> {
  try {
    const { stdout } = await new Deno.Command(program, { args: ["--version"], stderr: "null" })
      .output();
    return /^deno (\S+)/.exec(new TextDecoder().decode(stdout))?.[1];
  } catch {
    return undefined; // not there, or not a program
  }
}
