/**
 * Why plugins do not load, as a block of lines for their author.
 *
 * @module
 */

import { faultText, type PluginFault, type PluginLoadError } from "../plugin_errors.ts";

const LINES_BEFORE = 2;
const LINES_AFTER = 1;
const MAX_WIDTH = 120;

/** Each reason, and the lines around its place in the very copy of the file that did not load. */
export function problemBlock({ message, faults }: PluginLoadError): string {
  return faults.length === 0 ? message : faults.map(faultBlock).join("\n");
}

function faultBlock(fault: PluginFault): string {
  const { path, line, column } = fault;
  const isPlace = path !== undefined && line !== undefined && column !== undefined;
  const frame = isPlace ? codeFrame(readText(path), { line, column }) : [];
  // A syntax error brings a frame of Deno's, of that line alone.
  const text = frame.length === 0 ? faultText(fault) : faultText(fault).split(/\n(?= *\|)/, 1)[0];
  return [text, ...frame].join("\n");
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return ""; // removed since; the reason is told without its lines
  }
}

/**
 * A place in a file as an author wants to see it: the lines around it and a caret below the column.
 *
 * @param source the text of the file
 * @param place line and column, from 1
 * @returns the lines of the frame; none where the file has no such line
 */
export function codeFrame(
  source: string,
  { line, column }: { readonly line: number; readonly column: number },
): string[] {
  const lines = source.split(/\r?\n/);
  if (line < 1 || line > lines.length) return [];
  const last = Math.min(line + LINES_AFTER, lines.length);
  const width = String(last).length;
  // Of a very long line the part around the place.
  const from = column > MAX_WIDTH ? column - MAX_WIDTH / 2 : 0;
  const frame: string[] = [];
  for (let number = Math.max(1, line - LINES_BEFORE); number <= last; number++) {
    const text = (lines[number - 1] ?? "").slice(from, from + MAX_WIDTH);
    // One column for a tab, so that the caret stands where it should.
    frame.push(`${String(number).padStart(width)} | ${text.replaceAll("\t", " ")}`.trimEnd());
    if (number === line) {
      frame.push(`${" ".repeat(width)} | ${" ".repeat(Math.max(0, column - 1 - from))}^`);
    }
  }
  return frame;
}
