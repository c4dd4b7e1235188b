/**
 * `slowhttptest`: clients that send their heads or bodies byte by byte, or read answers so; others must be served meanwhile.
 *
 * @module
 */

import { stripVTControlCharacters } from "node:util";
import { echoUpstream } from "../support/echo_upstream.ts";
import { ask } from "../support/failure.ts";
import { gatewayBefore, output } from "./setting.ts";

const CONNECTIONS = ["-c", "1000", "-r", "500", "-l", "20"];
const RUNS: Readonly<Record<string, readonly string[]>> = {
  "slow heads": ["-H", "-i", "5"],
  "slow bodies": ["-B", "-i", "5", "-s", "8192", "-t", "POST"],
  "slow readers": ["-X", "-w", "1", "-y", "1", "-n", "5", "-z", "1", "-k", "3"],
};
const LARGE = "x".repeat(200_000);

/** @returns lines to print */
export async function runSlow(): Promise<string[]> {
  await using upstream = echoUpstream({
    respond: ({ target }) => target.startsWith("/large") ? new Response(LARGE) : undefined,
  });
  const lines: string[] = [];
  for (const [what, args] of Object.entries(RUNS)) {
    await using gateway = await gatewayBefore(upstream.url, { plugins: true });
    let over = false;
    const times: number[] = [];
    const failures: string[] = [];
    const probe = async () => {
      while (!over) {
        await ask(gateway, "/probe").then(({ status, durationMs }) => {
          if (status === 200) times.push(durationMs);
          else failures.push(`${status}`);
        }, (error) => failures.push(String(error)));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const probing = probe();
    const path = what === "slow readers" ? "/large" : "/slow";
    const { text } = await output("slowhttptest", [
      ...args,
      ...CONNECTIONS,
      "-p",
      "3",
      "-u",
      gateway.url + path,
    ]);
    over = true;
    await probing;
    const available = /service available:\s*(\w+)/.exec(stripVTControlCharacters(text))
      ?.[1];
    times.sort((a, b) => a - b);
    lines.push(
      `slowhttptest, 1,000 ${what}: "service available: ${available}" at its end; ${times.length} other requests served, ${failures.length} not, ` +
        `median ${times[times.length >> 1]?.toFixed(1)} ms, slowest ${times.at(-1)?.toFixed(0)} ms`,
    );
  }
  return lines;
}
