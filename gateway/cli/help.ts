/**
 * What `conduit help` prints, from the table in `commands.ts`.
 *
 * @module
 */

import {
  COMMANDS,
  type CommandSpec,
  COMMON_OPTIONS,
  ENVIRONMENT,
  EXIT,
  EXIT_MEANINGS,
  type OptionName,
  OPTIONS,
  type OptionSpec,
  SIGNALS,
} from "./commands.ts";

/** All that there is, a line each. */
export function overview(version: string): string {
  const specs: readonly (readonly [string, CommandSpec])[] = Object.entries(COMMANDS);
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
    specs.filter(([, { operand }]) => operand)
      .map(([name, { operand }]) => `       conduit ${name} [${operand}]\n`).join("")
  }
${specs.map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}\n`).join("")}
${columns([...common, ...own], 16)}
environment:
${columns(Object.entries(ENVIRONMENT), 29)}
exit codes: ${codes.join(", ")}
signals: ${SIGNALS}
`;
}

/** `--config FILE` */
function optionUsage(name: OptionName): string {
  const { flags: [flag = ""], value }: OptionSpec = OPTIONS[name];
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
