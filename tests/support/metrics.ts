/**
 * `/metrics` as a test reads it, and Prometheus' own opinion of it.
 *
 * @module
 */

import type { TestGateway } from "./gateway.ts";

export interface MetricsPage {
  readonly text: string;
  readonly contentType: string;
  /** By the series as it stands on the page: `conduit_shed_total`, `conduit_isolates_lost_total{a="b"}`. */
  readonly series: ReadonlyMap<string, number>;
}

export async function scrape({ adminUrl }: Pick<TestGateway, "adminUrl">): Promise<MetricsPage> {
  const response = await fetch(`${adminUrl}/metrics`);
  const text = await response.text();
  const series = new Map<string, number>();
  for (const line of text.split("\n")) {
    const [, name, value] = /^(?!#)(.+) (\S+)$/.exec(line) ?? [];
    if (name !== undefined) series.set(name, Number(value));
  }
  return { text, contentType: response.headers.get("content-type") ?? "", series };
}

/** The sum over all series of a family that have these labels. */
export function total(
  { series }: MetricsPage,
  family: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const wanted = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  return [...series].filter(([name]) =>
    name.replace(/\{.*/s, "") === family && wanted.every((label) => name.includes(label))
  ).reduce((sum, [, value]) => sum + value, 0);
}

/** Why what asks promtool is ignored here, for the end of its name; undefined where it runs. `.ci/run` installs it. */
export const NO_PROMTOOL = hasPromtool()
  ? undefined
  : " (ignored: no promtool, of Debian's prometheus, on this machine)";

function hasPromtool(): boolean {
  try {
    return new Deno.Command("promtool", { args: ["--version"], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

/** Runs `promtool`. @returns its exit code and all that it says */
export async function promtool(
  args: readonly string[],
  input = "",
): Promise<{ readonly code: number; readonly output: string }> {
  const process = new Deno.Command("promtool", {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await process.output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}
