/**
 * How long it takes from starting the command to the first answer that all plugins have touched.
 *
 * @module
 */

import { gatewayCommand } from "./cases.ts";
import type { Lab, Server } from "./lab.ts";
import type { StartTimes } from "./results.ts";
import type { Effort } from "./throughput.ts";
import { TENANT } from "./wrk.ts";

const PLUGINS = 4;

export async function startTimes(
  lab: Lab,
  upstream: Server,
  { quick, say }: Effort,
): Promise<StartTimes> {
  const samplesMs: number[] = [];
  for (let run = 1; run <= (quick ? 3 : 9); run++) {
    const { port, ...command } = await gatewayCommand(lab, upstream.origin, { plugins: PLUGINS });
    const began = performance.now();
    const pid = lab.spawn(command);
    while (!await isPoliced(`http://127.0.0.1:${port}/`)) {
      if (performance.now() - began > 30_000) throw new Error(await lab.log(pid));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    samplesMs.push(Math.round(performance.now() - began));
    say(`start ${run}: ${samplesMs.at(-1)} ms`);
    await lab.stop(pid);
  }
  return { samplesMs };
}

async function isPoliced(url: string): Promise<boolean> {
  const response = await fetch(url, { headers: TENANT }).catch(() => undefined);
  await response?.body?.cancel();
  return response?.status === 200 && response.headers.has(`x-policy-${PLUGINS}`);
}
