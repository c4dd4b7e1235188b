/**
 * Which Deno runs the plugin host: the one that is asked for, if it is of the same version, or the one that runs this.
 *
 * @module
 */

import { isAbsolute } from "@std/path";

/** The Deno that was asked for is none, or another one; the message says which. */
export class HostDenoError extends Error {
  override readonly name = "HostDenoError";
}

/**
 * @param chosen what `CONDUIT_DENO` says
 * @returns the absolute path of the program
 * @throws {HostDenoError}
 */
export async function hostDeno(chosen: string | undefined): Promise<string> {
  if (chosen === undefined || chosen === "") return Deno.execPath();
  if (!isAbsolute(chosen)) {
    throw new HostDenoError(`CONDUIT_DENO: "${chosen}" is not an absolute path`);
  }
  const version = await denoVersion(chosen);
  if (version === Deno.version.deno) return chosen;
  throw new HostDenoError(
    `CONDUIT_DENO: "${chosen}" is ${
      version ? `Deno ${version}` : "no Deno"
    }; Deno ${Deno.version.deno} is needed`,
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
