/**
 * Why plugins do not load, as a block of lines for their author.
 *
 * @module
 */

import type { PluginLoadError } from "../plugin_errors.ts";
import { codeFrame } from "./code_frame.ts";

/** The reason, and the lines around its place in the very copy of the file that did not load. */
export function problemBlock({ message, place }: PluginLoadError): string {
  const frame = place ? codeFrame(readText(place.path), place) : [];
  if (frame.length === 0) return message;
  // A syntax error brings a frame of Deno's, of that line alone.
  return [message.split(/\n(?= *\|)/, 1)[0], ...frame].join("\n");
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return ""; // removed since; the reason is told without its lines
  }
}
