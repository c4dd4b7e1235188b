/**
 * What comments in JSON mean, told without a pattern: the oracle for the configuration's reader.
 *
 * @module
 */

/** `text` with a space for each comment. One that has no end stays as it is. */
export function withoutComments(text: string): string {
  let out = "";
  for (let at = 0; at < text.length;) {
    const end = text[at] === '"' ? stringEnd(text, at) : commentEnd(text, at);
    out += end !== undefined && text[at] === "/" ? " " : text.slice(at, end ?? at + 1);
    at = end ?? at + 1;
  }
  return out;
}

function stringEnd(text: string, start: number): number | undefined {
  for (let at = start + 1; at < text.length && text[at] !== "\n"; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at + 1;
  }
  return undefined;
}

function commentEnd(text: string, start: number): number | undefined {
  if (text.startsWith("//", start)) {
    const end = text.indexOf("\n", start);
    return end < 0 ? text.length : end;
  }
  const end = text.startsWith("/*", start) ? text.indexOf("*/", start + 2) : -1;
  return end < 0 ? undefined : end + 2;
}
