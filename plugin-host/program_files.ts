/**
 * Our own files, besides the main module: what the plugin host's process runs, and what plugin authors get. In a checkout they are the sources
 * themselves. An executable holds bundles and copies of them, and lays on the disk what other processes are to read.
 *
 * @module
 */

import { fileURLToPath, pathToFileURL } from "node:url";
import { authorCopies, authorModules, type ReadSource } from "./author_files.ts";

export interface ProgramFiles {
  /** Reads a source by its path in the repository: those of `ownSources` alone, where this is packaged. */
  readonly read: ReadSource;
  /** @param dir a private folder that takes what has to be laid on the disk */
  readonly place: (dir: string) => Promise<HostProgram>;
}

/** Absolute paths, and URLs. */
export interface HostProgram {
  readonly entry: string;
  /** The folders that the process has to read. */
  readonly sources: readonly string[];
  /** Where the modules lie that plugins and their tests import types from, by name. */
  readonly modules: Readonly<Record<string, string>>;
}

/** What `deno bundle` makes of the host's two entries. */
export const HOST_BUNDLES = {
  "host.mjs": "plugin-host/main.ts",
  "worker.mjs": "plugin-host/worker.ts",
} as const;

/** How a source is called in the folder of what is packaged: not as a module, since `deno compile` would make one of it. */
export function packagedName(path: string): string {
  return `source/${path}.txt`;
}

/** @param root the folder of `main.ts` */
export function sourceFiles(root: URL): ProgramFiles {
  const path = (name: string) => fileURLToPath(new URL(name, root));
  return {
    read: (name) => Deno.readTextFile(new URL(name, root)),
    place: () =>
      Promise.resolve({
        entry: path("plugin-host/main.ts"),
        sources: [path("plugin-host"), path("protocol")],
        modules: authorModules(root),
      }),
  };
}

/** @param embedded the folder of what is packaged */
export function packagedFiles(embedded: URL): ProgramFiles {
  const read: ReadSource = (path) => Deno.readTextFile(new URL(packagedName(path), embedded));
  return { read, place };

  async function place(dir: string): Promise<HostProgram> {
    const program = `${dir}/host`;
    await Deno.mkdir(program);
    for (const name of Object.keys(HOST_BUNDLES)) {
      await Deno.writeFile(`${program}/${name}`, await Deno.readFile(new URL(name, embedded)));
    }
    const authors = pathToFileURL(`${dir}/author/`);
    for (const [name, text] of await authorCopies(read)) {
      const file = new URL(name, authors);
      await Deno.mkdir(new URL("./", file), { recursive: true });
      await Deno.writeTextFile(file, text);
    }
    return { entry: `${program}/host.mjs`, sources: [program], modules: authorModules(authors) };
  }
}
