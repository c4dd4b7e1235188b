import { assertEquals } from "@std/assert";

/** Waits for signals by a clock that says these times, and prints what it logs. */
const WAITS = `
import { stopSignal } from ${
  JSON.stringify(import.meta.resolve("../../gateway/process_events.ts"))
};
const times = [0, 99, 100];
const now = () => { console.log("looks at the clock"); return times.shift(); };
const say = (message) => console.log(message);
stopSignal({ log: { info: say, warn: say }, end: () => Promise.resolve(), exitCode: 70, now });
setInterval(() => {}, 1000);
console.log("waits");
`;

/** Sends each signal when the process has printed what stands before it. @returns the exit code and what it printed from there on */
async function afterSignals(steps: readonly (readonly [printed: string, signal: Deno.Signal])[]) {
  await using process = new Deno.Command(Deno.execPath(), {
    args: ["eval", WAITS],
    stdout: "piped",
  }).spawn();
  const left = [...steps];
  let text = "";
  for await (const chunk of process.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const [printed, signal] = left[0] ?? [];
    if (!printed || !signal || !text.includes(printed)) continue;
    text = text.slice(text.indexOf(printed) + printed.length);
    left.shift();
    process.kill(signal);
  }
  return [(await process.status).code, text.trim()];
}

Deno.test("a Ctrl-C that arrives twice within 100 ms is one, and a later one ends at once", async () => {
  const ended = await afterSignals([
    ["waits\n", "SIGINT"],
    ["stopping\n", "SIGINT"],
    ["looks at the clock\n", "SIGINT"],
  ]);
  assertEquals(ended, [70, "looks at the clock\nstopped at once"]);
});

Deno.test("another signal ends at once however soon it comes", async () => {
  const ended = await afterSignals([["waits\n", "SIGINT"], ["stopping\n", "SIGTERM"]]);
  assertEquals(ended, [70, "stopped at once"]);
});
