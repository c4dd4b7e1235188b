/**
 * Where and how something is measured, for the record.
 *
 * @module
 */

import { ROOT } from "./lab.ts";
import { versions } from "./peers.ts";
import type { Circumstances } from "./results.ts";

export async function circumstances(
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
): Promise<Circumstances> {
  const cpu = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
  return {
    date: new Date().toISOString(),
    rounds,
    seconds,
    cores: navigator.hardwareConcurrency,
    cpu: /^model name\s*: (.+)$/m.exec(cpu)?.[1] ?? Deno.build.arch,
    memoryBytes: Deno.systemMemoryInfo().total,
    kernel: `${Deno.build.os} ${Deno.osRelease()}`,
    loadAverage: Number((Deno.loadavg()[0] ?? NaN).toFixed(2)),
    commit: await commit(),
    versions: { deno: Deno.version.deno, v8: Deno.version.v8, ...await versions() },
  };
}

/** What is measured, with a `+` where files differ from it. */
async function commit(): Promise<string> {
  const git = async (...args: string[]) => {
    const { stdout } = await new Deno.Command("git", { args, cwd: ROOT, stderr: "null" }).output();
    return new TextDecoder().decode(stdout).trim();
  };
  try {
    const changed = await git("status", "--porcelain", "gateway", "plugin-host", "protocol");
    return await git("rev-parse", "--short", "HEAD") + (changed === "" ? "" : "+");
  } catch {
    return "unknown";
  }
}
