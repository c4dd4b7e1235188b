/**
 * What `conduit help COMMAND` says beyond the table in `commands.ts`.
 *
 * @module
 */

import { type CommandName, DEFAULT_CONFIG, type ENVIRONMENT, type EXIT } from "./commands.ts";

export interface ManualPage {
  /** Paragraphs. */
  readonly description: readonly string[];
  /** What an exit code means here, if that is more than it always means. */
  readonly exits: Readonly<Partial<Record<keyof typeof EXIT, string>>>;
  readonly environment?: readonly (keyof typeof ENVIRONMENT)[];
  readonly files?: readonly (readonly [path: string, meaning: string])[];
  readonly examples: readonly (readonly [command: string, meaning: string])[];
  /** In the documents. */
  readonly see: readonly string[];
}

const CONFIG_FILE = [DEFAULT_CONFIG, "the configuration, in the working directory"] as const;
const PLUGINS = [
  "plugins/NNN-name.ts",
  "the plugins, in the folder that pluginsDir names; they run in the order of their names",
] as const;
const PRIVATE = [
  "$RUNTIME_DIRECTORY/conduit-*",
  "the private folder of a running gateway: its socket, and copies of the plugins; what a killed one left is removed at the next start",
] as const;
const CACHE = [
  "~/.cache/conduit",
  "npm packages for plugins, and the Deno that an executable has unpacked",
] as const;
const HOST_ENVIRONMENT = ["deno", "trace", "runtime", "cache"] as const;

export const MANUAL: Readonly<Record<CommandName, ManualPage>> = {
  run: {
    description: [
      "Runs the gateway in the foreground: reads the configuration, starts the plugin host, loads every plugin, and only then listens. It serves until a signal ends it. The log goes to standard output, a line a record.",
      "A configuration or a plugin with a mistake keeps it from starting: every mistake is told, with its place. A plugin that is saved later is live within a second; one with a mistake changes nothing, and the log says why.",
      "SIGTERM and SIGINT stop it from listening and let running requests end within shutdownGraceMs; a second signal ends it at once, with exit code 70.",
      "SIGHUP makes it read the configuration anew and take all of it, without a lost request, or nothing where there is a mistake; conduit check --diff shows beforehand what that would change.",
    ],
    exits: {
      ok: "ended by a signal, after its requests",
      wrong: "it did not start: the configuration or a plugin is wrong, or an address is taken",
    },
    environment: HOST_ENVIRONMENT,
    files: [CONFIG_FILE, PLUGINS, PRIVATE, CACHE],
    examples: [
      ["conduit", "the gateway of this folder"],
      ["conduit run --config /etc/conduit/conduit.config.json", "as a service does"],
    ],
    see: ["docs/operations.md", "docs/configuration.md"],
  },
  dev: {
    description: [
      "Runs the gateway for those who write its plugins. It serves as conduit run does, and tells more: mistakes in plugins with the lines around them, the types of what was saved, stacks a line a frame, and what every hook proposed. Responses say in x-conduit-route and x-conduit-plugins which way they took.",
      "Where plugins do not load, requests get 503 with the reason until there is a set that does. Its log is text at level debug, whatever the configuration says.",
      "Do not let clients reach it that you do not know: refusals and headers tell about the inside.",
    ],
    exits: {
      ok: "ended by a signal",
      wrong: "the configuration is wrong, or an address is taken; plugins do not end it",
    },
    environment: HOST_ENVIRONMENT,
    files: [CONFIG_FILE, PLUGINS, PRIVATE, CACHE],
    examples: [["conduit dev", "and save a plugin in another window"]],
    see: ["docs/plugins.md", "docs/operations.md"],
  },
  host: {
    description: [
      "Runs the plugin host as a service of its own, for a gateway whose configuration says runtime.mode external. It watches the plugins, connects to the gateway on runtime.socket, and starts what the gateway asks for, in the same sandbox as the gateway would. Either of the two may be started first, and either may be restarted alone: while there is no host, the gateway answers by failPolicy.",
      "Both read the same configuration, and run as the same user, so that both can read the secret beside the socket. The permissions of plugins follow from the file that this command reads, whatever the gateway asks for, and so do the values of pluginEnv from its environment.",
    ],
    exits: {
      ok: "ended by a signal",
      wrong:
        "the configuration is wrong, or the plugins folder cannot be read; a gateway that is not there does not end it",
    },
    environment: HOST_ENVIRONMENT,
    files: [CONFIG_FILE, PLUGINS, PRIVATE, CACHE],
    examples: [["conduit host --config /etc/conduit/conduit.config.json", "as a service does"]],
    see: ["docs/operations.md", "docs/protocol.md"],
  },
  check: {
    description: [
      "Reads the configuration, starts a plugin host as conduit run would, loads every plugin in it, and prints the routes, the hooks on each, the plugins with their hashes, and the permissions that the host gets. It listens nowhere, and a gateway that runs does not notice.",
      "With --diff it asks the gateway that runs, on admin.listen of the file, what a reload would change: each value that differs, with secrets left out, what needs a new plugin host process, and which permissions plugins gain and lose by it. The gateway reads the file for that and uses nothing of it. Exit code 1 where the reload would be refused.",
      "With --install it first fetches the npm packages that deno.json in pluginsDir names, and pins them in deno.lock beside it. The gateway itself never fetches anything.",
    ],
    exits: { ok: "all is well", wrong: "something is not, and standard error says what" },
    environment: HOST_ENVIRONMENT,
    files: [CONFIG_FILE, PLUGINS, CACHE],
    examples: [
      ["conduit check", "before every restart, and in CI"],
      ["conduit check --diff", "before SIGHUP"],
      ["conduit check --install", "after deno.json in pluginsDir has changed"],
    ],
    see: ["docs/configuration.md", "docs/operations.md"],
  },
  init: {
    description: [
      "Writes a project that works into DIR, or into this folder: a configuration, two plugins with their tests, deno.json, and in .conduit/ the types and conduit/testing. It overwrites nothing: where one of these files is there already, it writes none and says which.",
      "In a project that it made it writes .conduit/ anew, from this version, and leaves all other files as they are.",
    ],
    exits: { ok: "written, or refreshed", wrong: "files are in the way, or cannot be written" },
    environment: ["deno", "cache"],
    files: [
      [
        ".conduit/",
        "copies of Conduit's own files for editors and tests; keep them with the project",
      ],
    ],
    examples: [
      ["conduit init my-gateway", "into a new folder"],
      ["conduit init", "here; or, after an update, to refresh .conduit/"],
    ],
    see: ["docs/plugins.md"],
  },
  healthcheck: {
    description: [
      "Asks the gateway that runs with this configuration whether it lives, over its admin listener: TCP or a Unix socket, whatever admin.listen says. It prints nothing when all is well, and waits for two seconds at most. Proxies of the environment have no part in it.",
      "Of the file it reads admin alone, so that a change for the worse which a running gateway has not read does not make that look dead.",
    ],
    exits: {
      ok: "it lives; with --ready it is ready for traffic",
      wrong: "it does not, or nobody answers, or admin is false",
    },
    files: [CONFIG_FILE],
    examples: [
      [
        "conduit healthcheck --config /etc/conduit/conduit.config.json",
        "as a container's HEALTHCHECK",
      ],
      ["conduit healthcheck --ready", "before traffic is led to it"],
    ],
    see: ["docs/operations.md"],
  },
  schema: {
    description: [
      'Prints the JSON Schema (draft 2020-12) of the configuration: every key with its default and what it does. Editors complete and check by it where the file names it in "$schema". conduit check finds more.',
    ],
    exits: {},
    examples: [["conduit schema > conduit.schema.json", `then "$schema": "./conduit.schema.json"`]],
    see: ["docs/configuration.md"],
  },
  types: {
    description: [
      "Prints the types that plugins are written against as one declaration file that imports nothing, for projects that conduit init did not make.",
    ],
    exits: {},
    examples: [["conduit types > conduit.d.ts", "and map conduit/plugin to it in deno.json"]],
    see: ["docs/plugins.md"],
  },
  completions: {
    description: [
      "Prints a script that lets bash, zsh or fish complete the commands, options and arguments of conduit.",
    ],
    exits: {},
    examples: [
      [`eval "$(conduit completions bash)"`, "in ~/.bashrc"],
      ["conduit completions zsh > ~/.zfunc/_conduit", "with ~/.zfunc in fpath before compinit"],
      ["conduit completions fish > ~/.config/fish/completions/conduit.fish", "once"],
    ],
    see: ["docs/operations.md"],
  },
  help: {
    description: [
      "Prints all commands, a line each; or, of one command, what it does, its options, exit codes, variables and files, with examples. conduit COMMAND --help is the same.",
    ],
    exits: {},
    examples: [["conduit help check", "all about conduit check"]],
    see: ["README.md"],
  },
  version: {
    description: [
      "Prints the version of Conduit and of the Deno that it runs on. With --json also those of the protocol between gateway and plugin host, of V8 and of TypeScript, the target, and whether this is an executable (standalone).",
    ],
    exits: {},
    examples: [["conduit version --json", "for a report of a mistake"]],
    see: ["CHANGELOG.md"],
  },
};
