/**
 * What lets a shell complete the command line of `conduit`, written from the table in `commands.ts`.
 *
 * @module
 */

import { operandValues, optionsOf } from "./arguments.ts";
import {
  type CommandName,
  COMMANDS,
  COMMON_OPTIONS,
  type OptionName,
  OPTIONS,
  type SHELLS,
} from "./commands.ts";

export type Shell = (typeof SHELLS)[number];

const NAMES = Object.keys(COMMANDS) as readonly CommandName[];

/** The script that `shell` is to read. */
export function completionScript(shell: Shell): string {
  return { bash, zsh, fish }[shell]();
}

/** The long form of each; a value is always a file's name. */
function flagsOf(names: readonly OptionName[]): string[] {
  return names.map((name) => OPTIONS[name].flags[0] ?? "");
}

function bash(): string {
  const cases = NAMES.map((name) => {
    const words = [...flagsOf(optionsOf(name)), "--help"].join(" ");
    const { operand } = COMMANDS[name];
    const operands = operandValues(name)?.join(" ") ?? "";
    const folders = operand?.kind === "folder" ? " folders=yes" : "";
    return `    ${name}) options="${words}" operands="${operands}"${folders} ;;\n`;
  }).join("");
  return `# For bash: eval "$(conduit completions bash)"
_conduit() {
  local word previous=\${COMP_WORDS[COMP_CWORD-1]} current=\${COMP_WORDS[COMP_CWORD]}
  local command= operand= options operands folders= at
  # Readline takes "--config=FILE" apart.
  [[ $current == = ]] && current=
  [[ $previous == = ]] && previous=\${COMP_WORDS[COMP_CWORD-2]}
  COMPREPLY=()
  if [[ $previous == --config || $previous == -config ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    return
  fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    word=\${COMP_WORDS[at]}
    case $word in
    --config | -config) [[ \${COMP_WORDS[at+1]} == = ]] && ((at++)); ((at++)) ;;
    -*) ;;
    *) if [[ -z $command ]]; then command=$word; else operand=$word; fi ;;
    esac
  done
  case $command in
    "") options="${[...flagsOf(COMMON_OPTIONS), "--help", "--version"].join(" ")}" operands="${
    NAMES.join(" ")
  }" ;;
${cases}    *) return ;;
  esac
  [[ -n $operand ]] && operands= folders=
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  elif [[ -n $folders ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "$operands" -- "$current")
  fi
}
complete -F _conduit conduit
`;
}

function zsh(): string {
  const quoted = (text: string) => text.replaceAll("'", "'\\''").replaceAll(/[[\]:]/g, "\\$&");
  const spec = (name: OptionName) => {
    const { flags: [flag = ""], value, summary } = OPTIONS[name];
    return `'${flag}${value ? "=" : ""}[${quoted(summary)}]${value ? `:${value}:_files` : ""}'`;
  };
  const commands = NAMES.map((name) => `    '${name}:${quoted(COMMANDS[name].summary)}'\n`).join(
    "",
  );
  const cases = NAMES.map((name) => {
    const { operand } = COMMANDS[name];
    const values = operandValues(name)?.join(" ");
    const argument = !operand ? "" : ` '1:${operand.name}:${values ? `(${values})` : "_files -/"}'`;
    const options = [...optionsOf(name).map(spec), "'--help[print this]'"].join(" ");
    return `    ${name}) _arguments ${options}${argument} ;;\n`;
  }).join("");
  return `#compdef conduit
# For zsh: conduit completions zsh > ~/.zfunc/_conduit, with ~/.zfunc in fpath before compinit
_conduit() {
  local context state state_descr line
  local -A opt_args
  local -a commands=(
${commands}  )
  _arguments -C ${
    COMMON_OPTIONS.map(spec).join(" ")
  } '--help[print help]' '--version[print the version]' \\
    '1: :->command' '*:: :->argument'
  case $state in
  command) _describe command commands ;;
  argument)
    case $line[1] in
${cases}    esac
    ;;
  esac
}
if [[ $funcstack[1] == _conduit ]]; then _conduit "$@"; else compdef _conduit conduit; fi
`;
}

function fish(): string {
  const quoted = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const option = (name: OptionName, condition: string) => {
    const { flags: [flag = ""], value, summary } = OPTIONS[name];
    const long = flag.replace(/^--/, "");
    return `complete -c conduit ${condition}-l ${long} ${value ? "-rF " : ""}-d ${
      quoted(summary)
    }\n`;
  };
  const lines = NAMES.flatMap((name) => {
    const { summary, operand, options = [] } = COMMANDS[name];
    const behind = `-n ${quoted(`__fish_seen_subcommand_from ${name}`)} `;
    const values = operandValues(name);
    const argument = operand?.kind === "folder"
      ? "(__fish_complete_directories)"
      : values?.join(" ");
    return [
      `complete -c conduit -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}\n`,
      ...options.map((each) => option(each, behind)),
      ...(argument
        ? [`complete -c conduit -n '__fish_prev_arg_in ${name}' -a ${quoted(argument)}\n`]
        : []),
    ];
  });
  return `# For fish: conduit completions fish > ~/.config/fish/completions/conduit.fish
complete -c conduit -f
${
    COMMON_OPTIONS.map((name) => option(name, "")).join("")
  }complete -c conduit -s h -l help -d 'print help'
complete -c conduit -n __fish_use_subcommand -l version -d 'print the version'
${lines.join("")}`;
}
