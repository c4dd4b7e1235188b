/**
 * Finds the plugin files of a folder and loads them into this isolate, in file-name order.
 *
 * @module
 */

import { stripVTControlCharacters } from "node:util";
import type { LoadProblem, PluginManifest } from "../protocol/messages.ts";
import { isToken } from "../protocol/mutation_rules.ts";
import type { HookName, Json } from "../protocol/snapshot.ts";
import { thrownParts } from "./json.ts";
import type { Log, Plugin, Services } from "./mod.ts";
import { declaredNames } from "./request_view.ts";

const HOOKS = ["beforeRequest", "afterResponse"] as const satisfies readonly HookName[];
/** How Deno words an import beyond the folder; it speaks of flags that the plugin's author never gave. */
const ABSENT_PACKAGE =
  /Import "([^"]+)" not a dependency|not found in cache: "([^"]+)"|JSR package manifest for '([^']+)'|import access to "([^"]+)"/;
const OWN_MODULES: { readonly [name: string]: string | undefined } = {
  "conduit/plugin":
    `"conduit/plugin" has nothing but types; write "import type" instead of "import"`,
  "conduit/testing": `"conduit/testing" is for tests; import it in files like "001-name_test.ts"`,
};
/** What a plugin may have, and what that is. */
const KINDS: readonly (readonly [
  members: readonly string[],
  isRight: (value: unknown) => boolean,
  what: string,
])[] = [
  [["onLoad", ...HOOKS, "onError"], (value) => typeof value === "function", "a function"],
  [["onTimeout", "onHookError"], isRule, '"continue" or "reject"'],
  [["readsBodies"], (value) => typeof value === "boolean", "true or false"],
  [["readsHeaders"], Array.isArray, "a list of header names"],
];
const MEMBERS = KINDS.flatMap(([members]) => members);
/** Of what a plugin throws, and of how many; all of it goes to the gateway in one frame. */
const MAX_MESSAGE_CHARS = 4096;
const MAX_PROBLEMS = 100;
const FILE_NAME = /^\d{3}-[A-Za-z0-9._-]+\.(?:ts|mts|js|mjs)$/;

export interface LoadedPlugin {
  readonly manifest: PluginManifest;
  readonly plugin: Plugin;
}

export interface LoadNeeds {
  /** `pluginConfig` of the configuration, by plugin name. */
  readonly config: { readonly [plugin: string]: Json };
  readonly env: Readonly<Record<string, string>>;
  readonly services: Services;
  readonly log: (plugin: string) => Log;
  /** Hears of each file before it is loaded. */
  readonly began?: (file: string) => void;
}

/** Why a set of plugins cannot go live: which file, where in it, and what to do. `others` is what else is wrong with the set. */
export class LoadError extends Error {
  override readonly name = "LoadError";
  readonly file: string;
  readonly line: number | undefined;
  readonly column: number | undefined;
  readonly others: readonly LoadProblem[];

  constructor(
    file: string,
    message: string,
    { line, column, others = [] }: Partial<Pick<LoadError, "line" | "column" | "others">> = {},
  ) {
    super(message.length > MAX_MESSAGE_CHARS ? `${message.slice(0, MAX_MESSAGE_CHARS)}…` : message);
    this.file = file;
    this.line = line;
    this.column = column;
    this.others = others;
  }
}

/**
 * The scripts in `dir` that are not marked as something else than plugins, in the order in which their hooks run (by code unit).
 * `loadPlugins` refuses those that are not named like one.
 */
export async function pluginFiles(dir: URL): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const isScript = !isDirectory && /\.(?:ts|mts|js|mjs)$/.test(name);
    if (isScript && !isNoPlugin(name)) files.push(name);
  }
  return files.sort();
}

function isNoPlugin(name: string): boolean {
  return name.startsWith("_") || name.startsWith(".") || name.endsWith(".d.ts") ||
    /[._]test\.[a-z]+$/.test(name);
}

/**
 * Imports `files` of `dir` one after another, checks their shape and runs their `onLoad`.
 *
 * @throws {LoadError} with every file that does not load
 */
export async function loadPlugins(
  dir: URL,
  files: readonly string[],
  needs: LoadNeeds,
): Promise<LoadedPlugin[]> {
  const loaded: LoadedPlugin[] = [];
  const problems = new Map<string, LoadProblem>();
  const names = new Map<string, string>();
  for (const file of files) {
    try {
      needs.began?.(file);
      const name = pluginName(file, names);
      const module = await importPlugin(dir, file);
      const plugin = checkShape(file, module.default);
      await runOnLoad(plugin, name, file, dir, needs);
      loaded.push({ plugin, manifest: describe(plugin, name, file) });
    } catch (error) {
      // What is no such error came from a getter or a trap of the plugin.
      const failed = error instanceof LoadError
        ? error
        : located(error, dir, file, "does not load");
      const { file: at, line, column, message } = failed;
      // A helper that is broken fails each plugin that imports it.
      problems.set(`${at}:${line}:${column}: ${message}`, { file: at, line, column, message });
    }
  }
  const [first, ...others] = [...problems.values()].slice(0, MAX_PROBLEMS);
  if (first) throw new LoadError(first.file, first.message, { ...first, others });
  return loaded;
}

/** @param names the files that have been met, by plugin name */
function pluginName(file: string, names: Map<string, string>): string {
  if (!FILE_NAME.test(file)) {
    throw new LoadError(
      file,
      `not named like a plugin ("001-name.ts"); rename it, or start its name with "_" to keep it as a helper`,
    );
  }
  const name = file.slice(0, file.lastIndexOf("."));
  const twin = names.get(name);
  if (twin !== undefined) {
    throw new LoadError(file, `has the same plugin name as "${twin}"; rename one of them`);
  }
  names.set(name, file);
  return name;
}

async function importPlugin(dir: URL, file: string): Promise<{ default?: unknown }> {
  try {
    return await import(new URL(file, dir).href);
  } catch (error) {
    const failed = located(error, dir, file, "does not load");
    const absent = ABSENT_PACKAGE.exec(failed.message)?.slice(1).find(Boolean);
    if (absent !== undefined) failed.message = OWN_MODULES[absent] ?? notInstalled(absent);
    throw failed;
  }
}

function notInstalled(name: string): string {
  const what = /:\d+$/.test(name)
    ? "is a host, and plugins import nothing from the network"
    : "is no installed package";
  return `"${name}" ${what}; name npm packages in deno.json of the plugins folder, and run "conduit check --install"`;
}

async function runOnLoad(
  plugin: Plugin,
  name: string,
  file: string,
  dir: URL,
  needs: LoadNeeds,
): Promise<void> {
  try {
    await plugin.onLoad?.({
      config: structuredClone(Object.hasOwn(needs.config, name) ? needs.config[name] as Json : {}),
      env: needs.env,
      services: needs.services,
      log: needs.log(name),
    });
  } catch (error) {
    throw located(error, dir, file, "onLoad failed");
  }
}

/** Whether this default export is a plugin. @throws {LoadError} saying what is wrong with it */
export function checkShape(file: string, value: unknown): Plugin {
  if (value === undefined) {
    throw new LoadError(
      file,
      `has no default export; end it with "export default { … } satisfies Plugin"`,
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const found = `its default export is ${kindOf(value)}`;
    throw new LoadError(
      file,
      `${found}, not an object with hooks; write "export default { … } satisfies Plugin"`,
    );
  }
  const members = value as Record<string, unknown>;
  for (const key of memberNames(members)) {
    if (!MEMBERS.includes(key)) {
      throw new LoadError(
        file,
        `"${key}" is not a member of a plugin; there are ${MEMBERS.join(", ")}`,
      );
    }
  }
  for (const [keys, isRight, what] of KINDS) {
    const key = keys.find((each) => members[each] !== undefined && !isRight(members[each]));
    if (key) throw new LoadError(file, `"${key}" is ${kindOf(members[key])}, not ${what}`);
  }
  for (const [index, name] of ((value as Plugin).readsHeaders ?? []).entries()) {
    if (typeof name !== "string" || !isToken(name)) {
      throw new LoadError(file, `"readsHeaders[${index}]" is ${kindOf(name)}, not a header name`);
    }
  }
  return value as Plugin;
}

/** Also the methods of its class: one that is misspelled would be a policy that is not there. */
function memberNames(plugin: object): string[] {
  const names = Object.keys(plugin);
  for (
    let type: object | null = Object.getPrototypeOf(plugin);
    type !== null && type !== Object.prototype;
    type = Object.getPrototypeOf(type)
  ) {
    names.push(...Object.getOwnPropertyNames(type).filter((name) => name !== "constructor"));
  }
  return names;
}

function isRule(value: unknown): boolean {
  return value === "continue" || value === "reject";
}

function describe(plugin: Plugin, name: string, file: string): PluginManifest {
  return {
    name,
    file,
    hooks: HOOKS.filter((hook) => plugin[hook] !== undefined),
    readsBodies: plugin.readsBodies ?? true,
    ...(plugin.readsHeaders ? { readsHeaders: declaredNames(plugin.readsHeaders) } : {}),
    ...(plugin.onTimeout ? { onTimeout: plugin.onTimeout } : {}),
    ...(plugin.onHookError ? { onHookError: plugin.onHookError } : {}),
  };
}

function kindOf(value: unknown): string {
  return typeof value === "string"
    ? JSON.stringify(value)
    : value === null
    ? "null"
    : `${typeof value === "object" ? "an" : "a"} ${typeof value}`;
}

/** Finds the place in the plugins folder that an error speaks of, in its message (syntax) or its stack. */
function located(error: unknown, dir: URL, file: string, what: string): LoadError {
  const thrown = thrownParts(error);
  const { name } = thrown;
  // Deno colours them where a terminal might read them.
  const [message = "", stack] = [thrown.message, thrown.stack ?? ""].map(stripVTControlCharacters);
  const path = decodeURIComponent(dir.pathname);
  // Deno writes the URL into a syntax error's message as it is, and into a stack decoded.
  const text = `${message}\n${stack}`.replaceAll(`file://${path}`, dir.href);
  const place = text.split(dir.href).slice(1).map((part) => /^([^\s:()]+):(\d+):(\d+)/.exec(part))
    .find(Boolean);
  const plain = `${name}: ${message}`.replaceAll(dir.href, "").replaceAll(`file://${path}`, "")
    .replaceAll(path, "");
  return new LoadError(
    place?.[1] ?? file,
    `${what}: ${plain}`,
    place ? { line: Number(place[2]), column: Number(place[3]) } : {},
  );
}
