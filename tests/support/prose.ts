/**
 * Reads the documents, and what they speak of, so that tests can hold the one to the other.
 *
 * @module
 */

import { join } from "@std/path";
import { ROOT } from "./gateway.ts";

export { ROOT };

/** A fenced block. `info` is what stands behind the language: ` ```json config`. */
export interface CodeBlock {
  readonly language: string;
  readonly info: string;
  readonly text: string;
}

export async function readDoc(path: string): Promise<string> {
  return await Deno.readTextFile(join(ROOT, path));
}

/** Every Markdown file that the project hands out. */
export async function docFiles(): Promise<string[]> {
  const names: string[] = ["README.md", "MAINTAINERS.md", "CHANGELOG.md", "SECURITY.md"];
  for await (const { name } of Deno.readDir(join(ROOT, "docs"))) {
    if (name.endsWith(".md")) names.push(`docs/${name}`);
  }
  return names.sort();
}

/** The files below a folder of the project, by path from its root. */
export async function filesBelow(dir: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(ROOT, dir))) {
    const path = `${dir}/${name}`;
    if (isDirectory) found.push(...await filesBelow(path));
    else found.push(path);
  }
  return found.sort();
}

export function codeBlocks(text: string, language: string): CodeBlock[] {
  return [...text.matchAll(/^```(\w*) ?(.*)\n([\s\S]*?)^```$/gm)]
    .map(([, language = "", info = "", body = ""]) => ({ language, info, text: body }))
    .filter((block) => block.language === language);
}

/** The text below a heading, up to the next one of its level or above. */
export function section(text: string, heading: string): string {
  const match = new RegExp(`^(#+) ${RegExp.escape(heading)}\n`, "m").exec(text);
  if (!match) throw new Error(`there is no heading "${heading}"`);
  const below = text.slice(match.index + match[0].length);
  const end = below.search(new RegExp(`^#{1,${match[1]?.length}} `, "m"));
  return end < 0 ? below : below.slice(0, end);
}

/** The rows of every table in `text`, without their heads; a cell that is one code span is given without its quotes. */
export function tableRows(text: string): string[][] {
  return [...text.matchAll(/(?:^\|.*\|\n)+/gm)].flatMap(([table]) =>
    table.trimEnd().split("\n").slice(2).map((line) =>
      line.slice(1, -1).split(/(?<!\\)\|/).map((cell) => {
        const trimmed = cell.trim().replaceAll("\\|", "|");
        return /^`([^`]*)`$/.exec(trimmed)?.[1] ?? trimmed;
      })
    )
  );
}

/** The names of the tests in a source file, also where a function of ours registers them; `${…}` stands as it is written. */
export function testNames(source: string): string[] {
  const registered =
    /\b(?:(?:\w*[tT]est(?:\.\w+)?|named|promise|step)\(|name:)\s*(["`])((?:\\.|(?!\1)[\s\S])*)\1/g;
  return [...source.matchAll(registered)].map(([, , name = ""]) => name);
}

export function markdownTable(head: readonly string[], rows: readonly string[][]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  return line(head) + line(head.map(() => "---")) + rows.map(line).join("");
}

/** Puts each part between its marks, `<!-- generated: name -->` and `<!-- end -->`. */
export function replaceGenerated(text: string, parts: Readonly<Record<string, string>>): string {
  return Object.entries(parts).reduce((whole, [name, part]) => {
    const [before, rest] = whole.split(`<!-- generated: ${name} -->\n`);
    const end = rest?.indexOf("<!-- end -->") ?? -1;
    if (rest === undefined || end < 0) throw new Error(`there is no generated part "${name}"`);
    return `${before}<!-- generated: ${name} -->\n\n${part}\n${rest.slice(end)}`;
  }, text);
}

/** As `deno fmt` leaves it. */
export async function formatMarkdown(text: string): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "md", "-"],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const input = command.stdin.getWriter();
  await input.write(new TextEncoder().encode(text));
  await input.close();
  return new TextDecoder().decode((await command.output()).stdout);
}

/** What `deno` with these arguments writes to stdout, in the project's folder. */
export async function deno(...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
  return new TextDecoder().decode(stdout);
}

/** The members of each exported interface of a module, by its name. */
export async function interfacesOf(file: string): Promise<Record<string, string[]>> {
  const { nodes } = JSON.parse(await deno("doc", "--json", file)) as DocJson;
  const symbols = Object.values(nodes).flatMap((node) => node.symbols);
  return Object.fromEntries(symbols.map(({ name, declarations: [declaration] }) => {
    const { properties = [], methods = [] } = declaration?.def ?? {};
    return [name, [...properties, ...methods].map((each) => each.name).sort()];
  }));
}

interface DocJson {
  readonly nodes: Readonly<Record<string, { readonly symbols: readonly DocSymbol[] }>>;
}

interface DocSymbol {
  readonly name: string;
  readonly declarations: readonly {
    readonly def?: {
      readonly properties?: readonly { readonly name: string }[];
      readonly methods?: readonly { readonly name: string }[];
    };
  }[];
}
