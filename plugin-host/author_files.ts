/**
 * What `conduit types` prints and `conduit init` writes. Both come from the sources themselves, so they cannot differ from
 * what the host runs.
 *
 * @module
 */

/** Where our own tests run them. */
const TEMPLATES_DIR = "examples/init/";
const TEMPLATES = [
  "conduit.config.json",
  "plugins/001-api-key.ts",
  "plugins/001-api-key_test.ts",
  "plugins/002-response-headers.ts",
  "plugins/002-response-headers_test.ts",
] as const;
const MODULES = {
  "conduit/plugin": "plugin-host/mod.ts",
  "conduit/testing": "plugin-host/testing.ts",
} as const;
const COPIES = ".conduit";
const COPIES_NOTE = `${COPIES}/README.md`;

/** Why `conduit init` wrote nothing. */
export class InitError extends Error {
  override readonly name = "InitError";
}

/** Reads one of our own files by its path from the folder of `main.ts`. */
export type ReadSource = (path: string) => Promise<string>;

/** The URLs that `conduit/plugin` and `conduit/testing` stand for. @param root where `main.ts` lies */
export function authorModules(root: URL): Record<string, string> {
  const modules = Object.entries(MODULES);
  return Object.fromEntries(modules.map(([name, file]) => [name, new URL(file, root).href]));
}

/** The types of `conduit/plugin` as one declaration file that imports nothing. */
export async function typeDeclarations(read: ReadSource): Promise<string> {
  const types = await read("plugin-host/mod.ts");
  const data = await read("protocol/snapshot.ts");
  return types
    .replace(/^import type .* from "\.\.\/protocol\/snapshot\.ts";\n\n/m, "")
    .replace(
      /^export type \{ (.*) \};\n/m,
      (_, names: string) => names.split(", ").map((name) => declaration(data, name)).join("\n"),
    );
}

function declaration(source: string, name: string): string {
  const match = new RegExp(`^(?:/\\*\\*(?:(?!\\*/)[\\s\\S])*\\*/\\n)?export type ${name} =`, "m")
    .exec(source);
  if (!match) throw new Error(`protocol/snapshot.ts has no type ${name}`);
  return source.slice(match.index, source.indexOf(";\n\n", match.index) + 2);
}

/** How this program was started, as words of a command line. */
export interface Program {
  readonly conduit: readonly string[];
  readonly deno: readonly string[];
}

/**
 * Writes a project into `dir`, or refreshes the copies of one that it wrote before.
 *
 * @returns what to tell the user
 * @throws {InitError} when files are in the way or cannot be written
 */
export async function initProject(
  dir: string,
  { read, program }: { readonly read: ReadSource; readonly program: Program },
): Promise<string> {
  const copies = await copiedFiles(read);
  const isOurs = await exists(`${dir}/${COPIES_NOTE}`);
  const files = isOurs ? copies : new Map([...await projectFiles(read), ...copies]);
  try {
    if (isOurs) await Deno.remove(`${dir}/${COPIES}`, { recursive: true });
    else await refuseExisting(dir, files.keys());
    for (const [name, text] of files) {
      const path = `${dir}/${name}`;
      await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      await Deno.writeTextFile(path, text, { createNew: true });
    }
  } catch (error) {
    if (error instanceof InitError || !(error instanceof Error)) throw error;
    throw new InitError(`cannot write to ${JSON.stringify(dir)}: ${error.message}`);
  }
  const kit = `${COPIES}/ (${copies.size} files: the types, and conduit/testing)`;
  if (isOurs) return `refreshed ${kit}; all other files are yours and stayed as they are\n`;
  const own = [...files.keys()].filter((name) => !copies.has(name));
  const listed = [...own, kit].map((name) => `  ${name}\n`).join("");
  return `wrote\n${listed}\nnext\n${nextCommands(dir, program)}`;
}

async function refuseExisting(dir: string, names: Iterable<string>): Promise<void> {
  const found: string[] = [];
  for (const name of names) if (await exists(`${dir}/${name}`)) found.push(`  ${name}\n`);
  if (found.length === 0) return;
  throw new InitError(
    `nothing was written to ${JSON.stringify(dir)}, since these files are there already:\n${
      found.join("").trimEnd()
    }`,
  );
}

async function projectFiles(read: ReadSource): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const name of TEMPLATES) files.set(name, await read(`${TEMPLATES_DIR}${name}`));
  const imports = Object.entries(MODULES).map(([name, file]) => [name, `./${COPIES}/${file}`]);
  const config = {
    workspace: ["./plugins"], // so that tests find the packages of plugins/deno.json
    imports: Object.fromEntries(imports),
    fmt: { lineWidth: 100 },
    exclude: [`${COPIES}/`],
  };
  const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;
  return files.set("plugins/deno.json", json({ imports: {} })).set("deno.json", json(config));
}

/** Every file that `conduit init`, `conduit types` and `conduit dev` read, so that an executable can bring them along. */
export async function ownSources(read: ReadSource): Promise<Map<string, string>> {
  const files = await authorCopies(read);
  for (const name of TEMPLATES) {
    const path = `${TEMPLATES_DIR}${name}`;
    files.set(path, await read(path));
  }
  return files;
}

/** The note, and the copies below the same folder. */
async function copiedFiles(read: ReadSource): Promise<Map<string, string>> {
  const files = new Map([[
    COPIES_NOTE,
    `Copies of Conduit's own files, for \`deno test\` and for editors: the types (\`conduit/plugin\`) and \`conduit/testing\`.
Keep them with your project and leave them as they are: \`conduit init\` writes them anew, from the version that runs it.
`,
  ]]);
  for (const [file, text] of await authorCopies(read)) files.set(`${COPIES}/${file}`, text);
  return files;
}

/** The modules and what they import, word for word, by path. */
export async function authorCopies(read: ReadSource): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const waiting: string[] = Object.values(MODULES);
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (files.has(file)) continue;
    const text = await read(file);
    files.set(file, text);
    for (
      const [, target = ""] of text.matchAll(/^(?:import|export)\b[^;"]*? from "(\.[^"]+)";$/gm)
    ) {
      waiting.push(new URL(target, new URL(file, "file:///")).pathname.slice(1));
    }
  }
  return files;
}

function nextCommands(dir: string, { conduit, deno }: Program): string {
  const command = (...words: readonly string[]) => `  ${words.map(quoted).join(" ")}`;
  const url = "http://127.0.0.1:8080/";
  return [
    ...(dir === "." ? [] : [command("cd", dir)]),
    command(...conduit, "check"),
    command(...deno, "test"),
    command(...conduit, "dev"),
    "",
    "and in another terminal",
    command("curl", "-i", url),
    "    401: it brings no key",
    command("curl", "-i", "-H", "x-api-key: try-me", url),
    "    the answer of your service on port 3000, 502 while there is none",
    "",
  ].join("\n");
}

/** One word of a POSIX shell. */
function quoted(word: string): string {
  return /^[\w./:@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

/**
 * How a shell starts the Deno at `path`: by `npx`, where that has brought it and put it on a search path of its own, or as `deno`, where
 * the shell takes that for this one, or by its path.
 */
export async function denoWords(path: string, searchPath: string): Promise<readonly string[]> {
  if (path.includes("/_npx/")) return ["npx", "--yes", `deno@${Deno.version.deno}`];
  for (const dir of searchPath.split(":")) {
    const found = await Deno.realPath(`${dir}/deno`).catch(() => undefined);
    if (found !== undefined) return [found === await Deno.realPath(path) ? "deno" : path];
  }
  return [path];
}
