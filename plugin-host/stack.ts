/**
 * Stacks as the author of a plugin knows them: places are paths in the plugins folder, and the host's own frames are left
 * out. Lines and columns are those of the TypeScript source already: Deno maps them.
 *
 * @module
 */

/** What stands before a path in the folder: a URL as it is, and decoded, as Deno writes it into stacks. */
let folder: readonly string[] = [];

/** Says where the plugins of this isolate lie: a private copy, the path of which tells nobody anything. */
export function setPluginsFolder(dir: URL): void {
  folder = [dir.href, `file://${decodeURIComponent(dir.pathname)}`];
}

/** The stack without the frames that are neither a plugin's nor a package's; as it is where no folder has been set. */
export function authorStack(stack: string): string {
  if (folder.length === 0) return stack;
  return stack.split("\n").flatMap((line) => /^ +at /.test(line) ? authorFrame(line) : line)
    .join("\n");
}

function authorFrame(line: string): string[] {
  const shown = folder.reduce((text, path) => text.replace(path, ""), line)
    .replace(/file:\/\/.*\/npm\/registry\.npmjs\.org\//, "npm:");
  return /\b(?:file:\/\/|ext:|node:)/.test(shown) ? [] : [shown];
}
