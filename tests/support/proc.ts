/**
 * What Linux tells of a process.
 *
 * @module
 */

/** What grows when a process leaks. */
export interface Usage {
  readonly threads: number;
  readonly rssMiB: number;
  readonly fds: number;
}

export async function usageOf(pid: number): Promise<Usage> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const field = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? NaN);
  return {
    threads: field("Threads"),
    rssMiB: Math.round(field("VmRSS") / 1024),
    fds: [...Deno.readDirSync(`/proc/${pid}/fd`)].length,
  };
}

async function residentMiB(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

/** Runs `work` and says how much the process grew at most meanwhile. */
export async function growthMiB(pid: number, work: () => Promise<void>): Promise<number> {
  const before = await residentMiB(pid);
  let most = before;
  let works = true;
  const watching = (async () => {
    while (works) {
      most = Math.max(most, await residentMiB(pid).catch(() => 0));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  try {
    await work();
  } finally {
    works = false;
    await watching;
  }
  return Math.max(most, await residentMiB(pid)) - before;
}

/** The words of its command line, or the lines of its environment. */
export async function wordsOf(pid: number, file: "cmdline" | "environ"): Promise<string[]> {
  return (await Deno.readTextFile(`/proc/${pid}/${file}`)).split("\0").filter((word) =>
    word !== ""
  );
}

/** The processes that it has started, and theirs. */
export async function descendants(pid: number): Promise<number[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "");
  const children = text.split(" ").filter(Boolean).map(Number);
  return [...children, ...(await Promise.all(children.map(descendants))).flat()];
}

/** The processor time that it has taken so far, its threads together (proc_pid_stat(5): utime and stime, in hundredths of a second). */
export async function cpuMsOf(pid: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
