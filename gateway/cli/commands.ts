/**
 * What the command line of `conduit` is: its commands and options, the variables it reads, its exit codes. Arguments are read by it
 * (`arguments.ts`), and help is written from it (`help.ts`).
 *
 * @module
 */

/** The exit codes, by what they stand for. */
export const EXIT = { ok: 0, wrong: 1, usage: 2, internal: 70 } as const;

export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: "well",
  wrong: "the configuration or a plugin is wrong",
  usage: "wrong usage",
  internal: "internal error",
};

export const DEFAULT_CONFIG = "conduit.config.json";

export interface OptionSpec {
  readonly flags: readonly string[];
  /** What stands behind it, in capitals; without it, nothing does. */
  readonly value?: string;
  readonly summary: string;
}

const options = {
  config: {
    flags: ["--config", "-config"],
    value: "FILE",
    summary: `the configuration, default ./${DEFAULT_CONFIG}`,
  },
  diff: {
    flags: ["--diff"],
    summary: "show what a reload would change in the gateway that runs, and load nothing",
  },
  install: {
    flags: ["--install"],
    summary:
      "fetch the npm packages that deno.json in pluginsDir names, and pin them in its deno.lock",
  },
  json: { flags: ["--json"], summary: "as JSON, with all that it is made of" },
  ready: {
    flags: ["--ready"],
    summary: "ask whether it is ready for traffic (/readyz), not only whether it lives (/healthz)",
  },
} satisfies Readonly<Record<string, OptionSpec>>;

export type OptionName = keyof typeof options;
export const OPTIONS: Readonly<Record<OptionName, OptionSpec>> = options;

/** Those that every command takes. */
export const COMMON_OPTIONS: readonly OptionName[] = ["config"];

export interface CommandSpec {
  /** One line of `conduit help`. */
  readonly summary: string;
  /** Beside the common ones. */
  readonly options?: readonly OptionName[];
  /** The word that may stand behind the command, or has to. */
  readonly operand?: OperandSpec;
}

export interface OperandSpec {
  /** In capitals. */
  readonly name: string;
  readonly kind: "folder" | "command" | "shell";
  readonly isRequired?: boolean;
}

export const SHELLS = ["bash", "zsh", "fish"] as const;

const commands = {
  run: { summary: "run the gateway (the default)" },
  dev: {
    summary:
      "the same for plugin authors: types checked, errors with their lines, readable logs, x-conduit-* response headers",
  },
  host: { summary: "run the plugin host alone, for a gateway with runtime.mode external" },
  check: {
    summary:
      "validate the configuration, load every plugin in the sandbox, print routes, chains and permissions",
    options: ["install", "diff"],
  },
  init: {
    summary: "write a config, two plugins with their tests, and the types into DIR (default: here)",
    operand: { name: "DIR", kind: "folder" },
  },
  healthcheck: {
    summary: "ask the gateway that runs with this configuration whether it lives",
    options: ["ready"],
  },
  schema: { summary: "print the JSON Schema of the configuration" },
  types: { summary: "print the types of conduit/plugin as one .d.ts" },
  completions: {
    summary: "print what lets a shell complete this command line: bash, zsh or fish",
    operand: { name: "SHELL", kind: "shell", isRequired: true },
  },
  help: {
    summary: "print this, or all about one command",
    operand: { name: "COMMAND", kind: "command" },
  },
  version: { summary: "print the version", options: ["json"] },
} satisfies Readonly<Record<string, CommandSpec>>;

export type CommandName = keyof typeof commands;
export const COMMANDS: Readonly<Record<CommandName, CommandSpec>> = commands;

/** The variables that the program itself reads. */
export const ENVIRONMENT = {
  deno: ["CONDUIT_DENO=/path/to/deno", "the Deno that runs the plugin host"],
  trace: ["CONDUIT_TRACE_IPC=1", "print every frame between gateway and plugin host"],
  runtime: [
    "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, TMPDIR",
    "the first one that is set holds the private folder; otherwise /tmp",
  ],
  cache: [
    "CACHE_DIRECTORY, XDG_CACHE_HOME, HOME",
    "the first one that is set says where packages and the unpacked Deno lie",
  ],
} as const satisfies Readonly<Record<string, readonly [names: string, meaning: string]>>;

export const SIGNALS =
  "SIGTERM and SIGINT let running requests end, then stop; a second one stops at once; SIGHUP reads the configuration anew";
