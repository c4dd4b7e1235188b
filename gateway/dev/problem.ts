/**
 * Why plugins do not load, as a block of lines for their author.
 *
 * @module
 */

import { faultText, type PluginFault, type PluginLoadError } from "../plugin_errors.ts";
import { codeFrame } from "./code_frame.ts";

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
