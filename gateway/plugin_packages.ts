/**
 * The npm packages that plugins may import: those that `deno.json` in the plugins folder names. `conduit check --install`
 * fetches them once and pins them in `deno.lock` beside it; the plugin host then works from that copy, without the network.
 *
 * @module
 */

import { join } from "@std/path";
import type { Json } from "../protocol/snapshot.ts";
import { cacheFolders } from "./cache_folders.ts";
import type { Environment } from "./config_env.ts";
import { errorText } from "./errors.ts";
import { parseJsonText } from "./json_text.ts";
import { PluginLoadError } from "./plugin_errors.ts";
import { exists, readIfThere, sha256 } from "./plugin_files.ts";
import { denoEnvironment } from "./sandbox.ts";

/** One set of packages. */
export interface PluginPackages {
  /** What a plugin may write behind `from`, and the package that it stands for. */
  readonly imports: Readonly<Record<string, string>>;
  /** The text of `deno.lock`; `undefined` where nothing has been installed yet. */
  readonly lock: string | undefined;
  /** Where this very set lies once it is installed: `deno.json`, `deno.lock` and Deno's `npm` folder. */
  readonly dir: string;
}

/** `npm:name@version`, with a scope and a path inside the package if it has them. */
const NPM_SPECIFIER = /^npm:\/?(?:@[\w.-]+\/)?[\w.-]+@[^/\s]+(?:\/\S*)?$/;
/** Types, which are erased, and what only tests import. */
const OWN_MODULES = "conduit/";
/** Under this name Deno looks for packages, whichever registry they came from. */
const REGISTRY = "registry.npmjs.org";

/**
 * The packages that a plugins folder names, installed or not; `undefined` for none.
 *
 * @throws {PluginLoadError} naming what is wrong in `deno.json`
 */
export async function namedPackages(
  pluginsDir: string,
  env: Environment,
): Promise<PluginPackages | undefined> {
  const text = await readIfThere(join(pluginsDir, "deno.json"));
  const imports = text === undefined ? {} : npmImports(text);
  if (Object.keys(imports).length === 0) return undefined;
  const lock = await readIfThere(join(pluginsDir, "deno.lock"));
  return { imports, lock, dir: await packagesDir(imports, lock, env) };
}

/**
 * What the plugin host needs to find them: `npm` in its own `denoDir`.
 *
 * @throws {PluginLoadError} where this set is not on this machine
 */
export async function linkPackages(
  { dir, imports }: PluginPackages,
  denoDir: string,
): Promise<void> {
  if (!await exists(dir)) {
    const packages = Object.values(imports).join(", ");
    throw new PluginLoadError(
      `deno.json: ${packages} not installed for this user and this deno.lock; run "conduit check --install"`,
    );
  }
  await Deno.mkdir(denoDir, { recursive: true });
  const link = join(denoDir, "npm");
  if (!await exists(link)) await Deno.symlink(join(dir, "npm"), link);
}

/**
 * Fetches the packages of `pluginsDir`, unless they are there, and writes its `deno.lock`. Packages' own install scripts
 * are not run.
 *
 * @param options.deno the program
 * @returns what is installed now; `undefined` where no package is named
 * @throws {PluginLoadError} with what Deno said
 */
export async function installPackages(
  pluginsDir: string,
  { deno, env }: { readonly deno: string; readonly env: Environment },
): Promise<PluginPackages | undefined> {
  const wanted = await namedPackages(pluginsDir, env);
  if (!wanted || await exists(wanted.dir)) return wanted;
  const root = packagesRoot(env);
  await Deno.mkdir(root, { recursive: true, mode: 0o700 });
  const draft = await Deno.makeTempDir({ dir: root });
  try {
    const lock = await fetchPackages(wanted, { deno, draft });
    await gatherRegistries(join(draft, "npm"));
    if (lock !== wanted.lock) await writeLock(pluginsDir, lock);
    const dir = await packagesDir(wanted.imports, lock, env);
    if (!await exists(dir)) await Deno.rename(draft, dir);
    return { ...wanted, lock, dir };
  } finally {
    await Deno.remove(draft, { recursive: true }).catch(() => {}); // renamed, if all went well
  }
}

/** @throws {PluginLoadError} */
function npmImports(text: string): Record<string, string> {
  const document = parsed(text);
  const imports: Json = isRecord(document) ? document.imports ?? {} : null;
  if (!isRecord(imports)) {
    throw new PluginLoadError(`deno.json: is not an object like {"imports": {"jose": "npm:…"}}`);
  }
  const npm: Record<string, string> = {};
  for (const [name, specifier] of Object.entries(imports)) {
    if (name.startsWith(OWN_MODULES)) continue;
    if (typeof specifier !== "string" || !NPM_SPECIFIER.test(specifier)) {
      const [key, value] = [name, specifier].map((each) => JSON.stringify(each));
      throw new PluginLoadError(
        `deno.json: imports[${key}]: ${value} is not an npm package with its version, such as "npm:jose@6.2.17"`,
      );
    }
    npm[name] = specifier;
  }
  return npm;
}

function parsed(text: string): Json {
  try {
    return parseJsonText(text).value;
  } catch (error) {
    throw new PluginLoadError(`deno.json: ${errorText(error)}`, { cause: error });
  }
}

function isRecord(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Another version of Deno may lay out its cache in another way. */
async function packagesDir(
  imports: Readonly<Record<string, string>>,
  lock: string | undefined,
  env: Environment,
): Promise<string> {
  const what = new TextEncoder().encode(JSON.stringify([Deno.version.deno, imports, lock ?? ""]));
  return join(packagesRoot(env), (await sha256(what)).slice(0, 32));
}

function packagesRoot(env: Environment): string {
  const [folder] = cacheFolders(env);
  if (folder) return join(folder, "plugin-packages");
  throw new PluginLoadError(
    "deno.json: there is no folder for packages; set CACHE_DIRECTORY, XDG_CACHE_HOME or HOME",
  );
}

/** @returns the text of the lock file */
async function fetchPackages(
  { imports, lock }: PluginPackages,
  { deno, draft }: { readonly deno: string; readonly draft: string },
): Promise<string> {
  const [configFile, lockFile] = [join(draft, "deno.json"), join(draft, "deno.lock")];
  await Deno.writeTextFile(configFile, JSON.stringify({ imports, nodeModulesDir: "none" }));
  if (lock !== undefined) await Deno.writeTextFile(lockFile, lock);
  const { success, stderr } = await new Deno.Command(deno, {
    args: ["install", "--quiet", "--config", configFile, "--lock", lockFile],
    cwd: draft,
    env: denoEnvironment(draft),
    stdin: "null",
    stdout: "null",
  }).output();
  if (success) return await Deno.readTextFile(lockFile);
  throw new PluginLoadError(
    `deno.json: its packages cannot be installed\n${new TextDecoder().decode(stderr).trim()}`,
  );
}

/** @throws {PluginLoadError} where a service's user may read the folder and not write it */
async function writeLock(pluginsDir: string, lock: string): Promise<void> {
  try {
    await Deno.writeTextFile(join(pluginsDir, "deno.lock"), lock);
  } catch (error) {
    const reason = errorText(error);
    throw new PluginLoadError(
      `deno.lock: cannot be written: ${reason}; install where it can be, and bring the file along`,
      { cause: error },
    );
  }
}

/** A mirror has a folder of its own, and the host does not know of mirrors: everything is laid where it looks. */
async function gatherRegistries(npm: string): Promise<void> {
  const target = join(npm, REGISTRY);
  await Deno.mkdir(target, { recursive: true });
  for await (const registry of Deno.readDir(npm)) {
    if (registry.name === REGISTRY || !registry.isDirectory) continue;
    for await (const { name } of Deno.readDir(join(npm, registry.name))) {
      await Deno.rename(join(npm, registry.name, name), join(target, name));
    }
  }
}
