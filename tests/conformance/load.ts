/**
 * `h2load` (nghttp2): every request of many connections gets its answer, over HTTP/1.1 and by HTTP/2 with prior knowledge.
 *
 * @module
 */

import { echoUpstream } from "../support/echo_upstream.ts";
import { gatewayBefore, output } from "./setting.ts";

const RUNS: Readonly<Record<string, readonly string[]>> = {
  "HTTP/1.1, 100 connections": ["--h1", "-n", "20000", "-c", "100"],
  "HTTP/1.1, pipelined by 10": ["--h1", "-n", "20000", "-c", "100", "-m", "10"],
  "HTTP/2 with prior knowledge, 100 connections by 10": ["-n", "20000", "-c", "100", "-m", "10"],
};

/** @returns lines to print */
export async function runLoad(): Promise<string[]> {
  await using upstream = echoUpstream();
  await using gateway = await gatewayBefore(upstream.url, { plugins: true });
  const lines: string[] = [];
  for (const [what, args] of Object.entries(RUNS)) {
    upstream.seen.length = 0;
    const { text } = await output("h2load", [...args, "-t", "1", `${gateway.url}/load?a=b`]);
    const told = text.split("\n").filter((line) => /^(?:requests|status codes):/.test(line));
    lines.push(`h2load, ${what}: ${told.join("; ")}; ${upstream.seen.length} reached the upstream`);
  }
  return lines;
}
