/**
 * The inputs that are kept: `corpus/NAME.txt`, chosen by hand, and `regressions/NAME.txt`, each of which broke something once. One input a
 * line, as a JSON string of one character a byte; lines that begin with `#` are comments.
 *
 * @module
 */

import { fromFileUrl, join } from "@std/path";
import { bytesOf, type FuzzTarget, latin1 } from "./target.ts";

const DIR = fromFileUrl(new URL(".", import.meta.url));

/** Those of both files, and those that the target makes itself. */
export async function keptInputs(target: FuzzTarget): Promise<Uint8Array[]> {
  const lines = [
    ...await linesOf(regressionsFile(target.name)),
    ...await linesOf(join(DIR, "corpus", `${target.name}.txt`)),
  ];
  const seeds = (target.seeds?.() ?? []).map((text) => new TextEncoder().encode(text));
  return [...lines.map((line) => bytesOf(JSON.parse(line))), ...seeds];
}

/** Adds an input to the regressions. @returns the file */
export async function keepRegression(name: string, input: Uint8Array): Promise<string> {
  const file = regressionsFile(name);
  const line = quoted(input);
  if (!(await linesOf(file)).includes(line)) {
    await Deno.writeTextFile(file, `${line}\n`, { append: true, create: true });
  }
  return file;
}

/** As it stands in a corpus file. */
export function quoted(input: Uint8Array): string {
  return JSON.stringify(latin1(input)).replaceAll(
    /[\x7f-\xff]/g,
    (char) => `\\u00${char.charCodeAt(0).toString(16)}`,
  );
}

function regressionsFile(name: string): string {
  return join(DIR, "regressions", `${name}.txt`);
}

async function linesOf(file: string): Promise<string[]> {
  const text = await Deno.readTextFile(file).catch(() => "");
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}
