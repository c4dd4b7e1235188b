/**
 * The parts of the documents that are written from the code. To write them anew:
 * `deno run -A tests/support/generated_docs.ts`
 *
 * @module
 */

import { corpusTable } from "./attack_rows.ts";
import { configurationTables } from "./configuration_doc.ts";
import { filesBelow, formatMarkdown, readDoc, replaceGenerated, ROOT } from "./prose.ts";

/** By document: what stands between its marks. */
const GENERATED: Readonly<Record<string, () => Promise<Record<string, string>>>> = {
  "docs/configuration.md": () => Promise.resolve({ ...configurationTables() }),
  "docs/security-corpus.md": async () => ({ corpus: await corpusTable() }),
  "MAINTAINERS.md": async () => ({ map: await codeMap() }),
};

export const GENERATED_DOCS: readonly string[] = Object.keys(GENERATED);

/** A document with its generated parts as the code has them now. */
export async function generatedDoc(path: string): Promise<string> {
  return await formatMarkdown(
    replaceGenerated(await readDoc(path), await GENERATED[path]?.() ?? {}),
  );
}

/** Every source file with the first sentence of its header, as a list: a table would be too wide. */
async function codeMap(): Promise<string> {
  const folders = ["deploy", "gateway", "plugin-host", "protocol", "tests/support"];
  const files = ["main.ts", ...(await Promise.all(folders.map(filesBelow))).flat()]
    .filter((file) => file.endsWith(".ts"));
  const lines = await Promise.all(
    files.map(async (file) => `- \`${file}\`: ${firstSentence(await readDoc(file), file)}\n`),
  );
  return lines.join("");
}

function firstSentence(source: string, file: string): string {
  const [, header] = /^\/\*\*\n([\s\S]*?)\*\//.exec(source) ?? [];
  const text = header?.replaceAll(/^ \* ?/gm, "").replaceAll(/\s+/g, " ").trim() ?? "";
  const [sentence] = text.split(/(?<=\.)\s|\s@module/);
  if (!sentence) throw new Error(`${file} has no header that says what it is`);
  return sentence.replace(/\.$/, "");
}

if (import.meta.main) {
  for (const path of GENERATED_DOCS) {
    await Deno.writeTextFile(`${ROOT}${path}`, await generatedDoc(path));
  }
}
