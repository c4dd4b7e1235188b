/**
 * The commands of `conduit`. The only file that knows both the gateway and where the plugin host lies.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import project from "./deno.json" with { type: "json" };
import { checkReport } from "./gateway/check.ts";
import { type Arguments, parseArguments, UsageError } from "./gateway/cli/arguments.ts";
import { type CommandName, EXIT } from "./gateway/cli/commands.ts";
import { completionScript, type Shell } from "./gateway/cli/completions.ts";
import { configDiff } from "./gateway/cli/diff.ts";
import { askAdmin } from "./gateway/cli/healthcheck.ts";
import { manualPage, overview } from "./gateway/cli/help.ts";
import {
  embedded,
  host,
  type OwnOptions,
  type Program,
  run,
  serve,
  serveBesideOthers,
} from "./gateway/cli/serve.ts";
import { loadAdmin, loadConfig } from "./gateway/config.ts";
import { configJsonSchema } from "./gateway/config_json_schema.ts";
import { errorText, UserError } from "./gateway/errors.ts";
import type { GatewayOptions } from "./gateway/gateway_options.ts";
import { hostDeno } from "./gateway/host_deno.ts";
import { type Log, startLog, writeAll } from "./gateway/log.ts";
import { escapeControls } from "./gateway/log_lines.ts";
import { Metrics } from "./gateway/observe/metrics.ts";
import { Stories } from "./gateway/observe/stories.ts";
import { installPackages } from "./gateway/plugin_packages.ts";
import { PluginRuntime } from "./gateway/plugin_runtime.ts";
import { PROCESS_COMMAND } from "./gateway/processes/member.ts";
import { EMBEDDED, readShipped } from "./gateway/shipped.ts";
import { denoWords, InitError, initProject, typeDeclarations } from "./plugin-host/author_files.ts";
import { packagedFiles, type ProgramFiles, sourceFiles } from "./plugin-host/program_files.ts";
import { PROTOCOL_VERSION } from "./protocol/messages.ts";

const HERE = new URL("./", import.meta.url);

const env = (name: string) => Deno.env.get(name);

const PROGRAM: Program = { version: project.version, env, gatewayOptions };

const RUN: Readonly<Record<CommandName, (args: Arguments) => Promise<number>>> = {
  run: ({ configFile }) => run(configFile, PROGRAM),
  dev: async ({ configFile }) =>
    serve(embedded(await loadConfig(configFile)), PROGRAM, { dev: true }),
  host: ({ configFile }) => host(configFile, PROGRAM),
  check,
  init: ({ operand }) => init(operand ?? "."),
  healthcheck: async ({ configFile, options: { ready } }) => {
    await askAdmin(await loadAdmin(configFile), ready === undefined ? "/healthz" : "/readyz");
    return EXIT.ok;
  },
  schema: () => print(`${JSON.stringify(configJsonSchema(), null, 2)}\n`),
  types: async () => print(await typeDeclarations((await ownFiles()).read)),
  completions: ({ operand }) => print(completionScript(operand as Shell)),
  help: ({ operand }) =>
    print(operand ? manualPage(operand as CommandName) : overview(project.version)),
  version: ({ options: { json } }) =>
    print(
      json === undefined
        ? `conduit ${project.version} (deno ${Deno.version.deno})\n`
        : `${JSON.stringify(versions(), null, 2)}\n`,
    ),
};

/** What this program is made of. */
function versions() {
  const { version } = project;
  const { target, standalone } = Deno.build;
  return { conduit: version, protocol: PROTOCOL_VERSION, ...Deno.version, target, standalone };
}

async function check({ configFile, options: { install, diff } }: Arguments): Promise<number> {
  if (diff !== undefined) {
    if (install !== undefined) throw new UsageError("--diff and --install do not go together");
    const { text, isRefused } = await configDiff(await loadAdmin(configFile));
    await print(text);
    return isRefused ? EXIT.wrong : EXIT.ok;
  }
  const config = embedded(await loadConfig(configFile));
  const { log, flush } = startLog({ format: "text", level: "warn", write: printError });
  const options = gatewayOptions({ log });
  if (install !== undefined) {
    await installPackages(config.pluginsDir, { deno: await ownDeno(log), env });
  }
  const runtime = await PluginRuntime.open(config, options);
  try {
    const started = await runtime.start();
    if (started.kind !== "ready") throw new UserError(`plugins did not load:\n${started.reason}`);
    return await print(checkReport(config, runtime));
  } finally {
    await runtime.stop();
    flush();
  }
}

async function init(dir: string): Promise<number> {
  const words = (deno: string) => denoWords(deno, Deno.env.get("PATH") ?? "");
  const conduit = Deno.build.standalone
    ? [Deno.execPath()]
    : [...await words(Deno.execPath()), "run", "-A", fromFileUrl(import.meta.url)];
  // Authors run their tests on what runs the plugin host.
  const { log, flush } = startLog({ format: "text", level: "warn", write: printError });
  const deno = await ownDeno(log).then(words, () => ["deno"]);
  flush();
  const program = { conduit, deno };
  return await print(await initProject(dir, { read: (await ownFiles()).read, program }));
}

function gatewayOptions(
  { log, print, lostLines }: OwnOptions,
): GatewayOptions {
  return {
    log,
    dev: print && { print },
    metrics: new Metrics({ version: project.version, lostLines }),
    stories: new Stories(),
    version: project.version,
    env,
    hostProgram: async (dir) => {
      const [deno, files] = [await ownDeno(log), await ownFiles()];
      return { deno, ...await files.place(dir) };
    },
    traceIpc: env("CONDUIT_TRACE_IPC") === "1" ? traceIpc : undefined,
  };
}

/** @throws {HostDenoError} */
async function ownDeno(log: Log): Promise<string> {
  const shipped = await readShipped(HERE);
  return await hostDeno({ env, log, shipped, executable: Deno.execPath() });
}

/** Beside this module there are the sources, or what is packaged. */
async function ownFiles(): Promise<ProgramFiles> {
  return await readShipped(HERE) ? packagedFiles(new URL(EMBEDDED, HERE)) : sourceFiles(HERE);
}

function traceIpc(direction: "in" | "out", message: object): void {
  const hidden = {
    ...("secret" in message && { secret: "***" }),
    ...("init" in message && { init: "***" }),
  };
  const text = JSON.stringify({ ...message, ...hidden });
  printError(`ipc ${direction === "in" ? "<-" : "->"} ${escapeControls(text)}\n`);
}

function print(text: string): Promise<number> {
  writeAll(Deno.stdout, text);
  return Promise.resolve(EXIT.ok);
}

function printError(text: string): void {
  writeAll(Deno.stderr, text);
}

async function main(): Promise<number> {
  // Whatever the configuration says, Deno.serve would listen there, encode answers, or take a client's word for its address.
  for (const name of ["SERVE_ADDRESS", "SERVE_AUTOMATIC_COMPRESSION", "TRUST_PROXY_HEADERS"]) {
    Deno.env.delete(`DENO_${name}`);
  }
  try {
    if (Deno.args[0] === PROCESS_COMMAND) return await serveBesideOthers(PROGRAM);
    const args = parseArguments(Deno.args);
    return await RUN[args.command](args);
  } catch (error) {
    if (error instanceof UserError || error instanceof InitError) {
      printError(`conduit: ${errorText(error)}\n`);
      return error instanceof UsageError ? EXIT.usage : EXIT.wrong;
    }
    printError(
      `conduit: internal error: ${error instanceof Error ? error.stack : errorText(error)}\n`,
    );
    return EXIT.internal;
  }
}

if (import.meta.main) Deno.exit(await main());
