/**
 * The arguments of `conduit`, read by the table in `commands.ts`.
 *
 * @module
 */

import { UserError } from "../errors.ts";
import {
  type CommandName,
  COMMANDS,
  COMMON_OPTIONS,
  DEFAULT_CONFIG,
  type OptionName,
  OPTIONS,
  SHELLS,
} from "./commands.ts";

/** Arguments that mean nothing; the message says which. */
export class UsageError extends UserError {
  override readonly name = "UsageError";
}

export interface Arguments {
  readonly command: CommandName;
  readonly configFile: string;
  /** What was given, with its value; with "" where an option takes none. */
  readonly options: Readonly<Partial<Record<OptionName, string>>>;
  /** The word behind the command. */
  readonly operand: string | undefined;
}

/** Options may stand before the command. @throws {UsageError} */
export function parseArguments(args: readonly string[]): Arguments {
  let command: CommandName | undefined;
  let operand: string | undefined;
  let isAsked = false; // for help on what stands before, whatever else that is
  const options: Partial<Record<OptionName, string>> = {};
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] as string;
    const [flag = "", attached] = arg.split(/=(.*)/s, 2);
    const name = optionOf(flag);
    if (arg === "--help" || arg === "-h") {
      [command, operand, isAsked] = ["help", command, true];
    } else if (arg === "--version") command = "version";
    else if (name && OPTIONS[name].value) {
      const value = attached ?? args[++at];
      if (!value) {
        throw new UsageError(`${flag} needs a ${OPTIONS[name].value?.toLowerCase()}`);
      }
      options[name] = value;
    } else if (name && attached === undefined) options[name] = "";
    else if (arg.startsWith("-")) throw unknownArgument(arg);
    else if (command === undefined) command = commandOf(arg);
    else if (COMMANDS[command].operand && operand === undefined) operand = operandOf(command, arg);
    else throw unknownArgument(arg);
  }
  command ??= "run";
  if (operand === undefined && COMMANDS[command].operand?.isRequired) {
    throw new UsageError(`${command} needs one of ${operandValues(command)?.join(", ")}`);
  }
  if (!isAsked) {
    for (const name of Object.keys(options) as OptionName[]) checkTaken(name, command);
  }
  return { command, configFile: options.config ?? DEFAULT_CONFIG, options, operand };
}

/** The options that a command takes. */
export function optionsOf(command: CommandName): readonly OptionName[] {
  return [...COMMANDS[command].options ?? [], ...COMMON_OPTIONS];
}

/** What may stand behind a command; `undefined` where that is not known here. */
export function operandValues(command: CommandName): readonly string[] | undefined {
  const kind = COMMANDS[command].operand?.kind;
  if (kind === "command") return Object.keys(COMMANDS);
  return kind === "shell" ? SHELLS : undefined;
}

function optionOf(flag: string): OptionName | undefined {
  const names = Object.keys(OPTIONS) as OptionName[];
  return names.find((name) => OPTIONS[name].flags.includes(flag));
}

function commandOf(word: string): CommandName {
  if (Object.hasOwn(COMMANDS, word)) return word as CommandName;
  throw new UsageError(`unknown command "${word}"; see conduit help`);
}

function operandOf(command: CommandName, word: string): string {
  const values = operandValues(command);
  if (!values || values.includes(word)) return word;
  const { kind } = COMMANDS[command].operand ?? {};
  throw new UsageError(
    kind === "command"
      ? `unknown command "${word}"; see conduit help`
      : `unknown ${kind} "${word}"; there are ${values.join(", ")}`,
  );
}

function checkTaken(option: OptionName, command: CommandName): void {
  if (optionsOf(command).includes(option)) return;
  const takers = (Object.keys(COMMANDS) as CommandName[])
    .filter((name) => optionsOf(name).includes(option));
  throw new UsageError(
    `${OPTIONS[option].flags[0]} goes with ${takers.join(" and ")}, not with ${command}`,
  );
}

function unknownArgument(arg: string): UsageError {
  return new UsageError(`unknown argument "${arg}"; see conduit help`);
}
