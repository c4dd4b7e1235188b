/**
 * Runs a target in a thread, whose every input the main thread can see: also the one that it hangs at.
 *
 * @module
 */

import { keptInputs } from "./corpus.ts";
import { fuzz } from "./fuzzer.ts";
import { viewOf, type WorkerInit } from "./progress.ts";
import { TARGETS } from "./targets.ts";

async function run({ target: name, seed, seconds, progress }: WorkerInit) {
  const target = TARGETS.find((each) => each.name === name);
  if (!target) throw new Error(`there is no target "${name}"`);
  const { head, shown } = viewOf(progress);
  const until = performance.now() + seconds * 1000;
  return await fuzz(target, {
    kept: await keptInputs(target),
    seed,
    goOn: (runs) => runs % 16 !== 0 || performance.now() < until,
    before(input) {
      const seen = input.subarray(0, shown.length);
      shown.set(seen);
      head[1] = seen.length;
      head[0] = (head[0] ?? 0) + 1;
    },
    memoryBytes() {
      const { heapUsed, external } = Deno.memoryUsage();
      return heapUsed + external;
    },
  });
}

const scope = self as unknown as {
  onmessage: (event: MessageEvent<WorkerInit>) => void;
  postMessage(message: unknown): void;
};
scope.onmessage = ({ data }) =>
  void run(data).then((report) => {
    dispatchEvent(new Event("unload")); // Deno tells no worker of its end; targets have temporary folders
    scope.postMessage(report);
  });
