/**
 * What `conduit help` prints, from the table in `commands.ts` and the texts in `manual.ts`.
 *
 * @module
 */

import { optionsOf } from "./arguments.ts";
import {
  type CommandName,
  COMMANDS,
  COMMON_OPTIONS,
  ENVIRONMENT,
  EXIT,
  EXIT_MEANINGS,
  type OperandSpec,
  type OptionName,
  OPTIONS,
  SIGNALS,
} from "./commands.ts";
import { MANUAL } from "./manual.ts";

const WIDTH = 80;
const INDENT = "    ";

/** All that there is, a line each. */
export function overview(version: string): string {
  const specs = Object.entries(COMMANDS);
  const width = Math.max(...specs.map(([name]) => name.length));
  const own = specs.flatMap(([name, { options = [] }]) =>
    options.map((option) => [optionUsage(option), `with ${name}: ${OPTIONS[option].summary}`])
  );
  const common = COMMON_OPTIONS.map((name) => [optionUsage(name), OPTIONS[name].summary]);
  const codes = Object.entries(EXIT_MEANINGS)
    .map(([name, meaning]) => `${EXIT[name as keyof typeof EXIT]} ${meaning}`);
  return `conduit ${version}: a programmable API gateway

usage: conduit [COMMAND] [--config FILE]
${
    specs.map(([name, { operand }]) =>
      operand ? `       conduit ${name} ${operandUsage(operand)}\n` : ""
    ).join("")
  }
${specs.map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}\n`).join("")}
${columns([...common, ...own], 16)}
environment:
${columns(Object.values(ENVIRONMENT), 29)}
exit codes: ${codes.join(", ")}
signals: ${SIGNALS}
`;
}

/** All about one command, in the sections of a manual page. */
export function manualPage(name: CommandName): string {
  const { summary, operand } = COMMANDS[name];
  const page = MANUAL[name];
  const options = optionsOf(name);
  const synopsis = [
    `conduit ${name}`,
    ...options.map((option) => `[${optionUsage(option)}]`),
    ...(operand ? [operandUsage(operand)] : []),
  ].join(" ");
  const codes = Object.keys(EXIT) as (keyof typeof EXIT)[];
  const environment = page.environment?.map((key) => ENVIRONMENT[key]) ?? [];
  const sections: Readonly<Record<string, string>> = {
    NAME: paragraph(`conduit ${name}: ${summary}`),
    SYNOPSIS: paragraph(synopsis),
    DESCRIPTION: page.description.map((text) => paragraph(text)).join("\n"),
    OPTIONS: terms([
      ...options.map((option) => [optionUsage(option), OPTIONS[option].summary] as const),
      ["--help, -h", "print this"],
    ]),
    "EXIT STATUS": terms(
      codes.map((code) => [`${EXIT[code]}`, page.exits[code] ?? EXIT_MEANINGS[code]] as const),
    ),
    ENVIRONMENT: terms(environment),
    FILES: terms(page.files ?? []),
    EXAMPLES: terms(page.examples),
    "SEE ALSO": paragraph(["conduit help", ...page.see].join(", ")),
  };
  return Object.entries(sections).filter(([, text]) => text !== "")
    .map(([title, text]) => `${title}\n${text}`).join("\n");
}

function operandUsage({ name, isRequired }: OperandSpec): string {
  return isRequired ? name : `[${name}]`;
}

/** `--config FILE` */
function optionUsage(name: OptionName): string {
  const { flags: [flag = ""], value } = OPTIONS[name];
  return value ? `${flag} ${value}` : flag;
}

/** Terms and what they mean, indented; a term that is too long has its meaning on the next line. */
function columns(rows: readonly (readonly string[])[], width: number): string {
  return rows.map(([term = "", meaning = ""]) =>
    term.length < width
      ? `  ${term.padEnd(width)}${meaning}\n`
      : `  ${term}\n${" ".repeat(width + 2)}${meaning}\n`
  ).join("");
}

function terms(rows: readonly (readonly [term: string, meaning: string])[]): string {
  return rows.map(([term, meaning]) => `${INDENT}${term}\n${paragraph(meaning, INDENT.repeat(2))}`)
    .join("");
}

/** Lines of at most `WIDTH` characters; a longer word stands alone. */
function paragraph(text: string, indent = INDENT): string {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(" ")) {
    if (line !== indent && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = indent;
    }
    line += line === indent ? word : ` ${word}`;
  }
  return `${[...lines, line].join("\n")}\n`;
}
