/**
 * Loading the configuration: one JSON file in, one complete and immutable `Config` out, or every mistake in it at
 * once. The keys and their defaults are in `config_schema.ts`.
 *
 * @module
 */

import { dirname, resolve } from "@std/path";
import type * as z from "zod";
import type { Json } from "../protocol/snapshot.ts";
import { located } from "./config_addresses.ts";
import { checkConfig } from "./config_checks.ts";
import { type Environment, withEnvironment } from "./config_env.ts";
import { ConfigError, quote, Report, valueAt } from "./config_report.ts";
import { configSchema, type Settings } from "./config_schema.ts";
import { errorText } from "./errors.ts";
import { isSecretVariable } from "./masking.ts";
import { JsonTextError, parseJsonText, type Path } from "./json_text.ts";
import type { Origin } from "./upstream/origin.ts";

export type { ForwardHost, ListenAddress } from "./config_addresses.ts";
export { ConfigError } from "./config_report.ts";

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/** The settings with all defaults, absolute file paths and complete routes. */
export interface Config
  extends DeepReadonly<Omit<Settings, "$schema" | "routes" | "pluginConfig">> {
  /** Absolute path of the file it came from. */
  readonly file: string;
  readonly pluginConfig: Readonly<Record<string, Json>>;
  readonly routes: readonly Route[];
}

export type CorsConfig = Exclude<Config["cors"], "passthrough">;

/** A route with what it does not set filled in from the whole gateway's settings. */
export interface Route {
  readonly path: string;
  /** Lower-case, without port; may start with `*.`. */
  readonly host?: string;
  readonly methods?: readonly string[];
  /** At least one. */
  readonly upstreams: readonly Origin[];
  readonly stripPrefix: boolean;
  readonly plugins: "all" | readonly string[];
  readonly failPolicy: Config["failPolicy"];
  /** There only if the route itself sets it, since a plugin's own `onTimeout` stands between it and the default. */
  readonly onHookTimeout?: Config["onHookTimeout"];
  /** There only if the route itself sets it. */
  readonly onHookError?: Config["onHookError"];
  readonly hookTimeoutMs: number;
  readonly hookDispatch: Config["hookDispatch"];
  /** 0 is no limit. */
  readonly maxRequestBytes: number;
  readonly timeouts: Config["timeouts"];
  readonly encodedSlashes: "reject" | "keep";
}

/**
 * Reads and validates a configuration file.
 *
 * @param file its path; relative paths inside are relative to its directory
 * @param options.env looks up `${NAME}`, by default in the environment of this process
 * @throws {ConfigError} with every problem found
 */
export async function loadConfig(
  file: string,
  { env = (name) => Deno.env.get(name) }: { readonly env?: Environment } = {},
): Promise<Config> {
  const { value: written, repeatedKeys } = parseText(await readText(file), file);
  const report = new Report(file, written);
  const secrets = new Set<string>();
  const onUse = (name: string, found: string) =>
    void (isSecretVariable(name) && secrets.add(found));
  const value = withEnvironment(written, { env, report, onUse });
  const settings = validated(configSchema, value, report);
  checkConfig({ file: resolve(file), value, report });
  for (const { path, line } of repeatedKeys) {
    report.add(path, `is given again in line ${line}; remove one of them`);
  }
  if (report.problems.length > 0 || !settings) throw new ConfigError(report.problems);
  const config = complete(settings, resolve(file));
  secretValues.set(config, [...secrets]);
  return config;
}

/** Beside the configuration, so that whoever prints that does not print them. */
const secretValues = new WeakMap<Config, readonly string[]>();

/** The values of variables with a secret's name that stand in the configuration. Copies have none, but for those by `withSettings`. */
export function secretsOf(config: Config): readonly string[] {
  return secretValues.get(config) ?? [];
}

/** A copy with other settings, whose secrets are known as well. */
export function withSettings(config: Config, settings: Partial<Config>): Config {
  const changed = { ...config, ...settings };
  secretValues.set(changed, secretsOf(config));
  return changed;
}

/**
 * Where the gateway that runs with this file can be asked, whatever else the file says: it may have been changed for the worse since that
 * gateway read it.
 *
 * @throws {ConfigError}
 */
export async function loadAdmin(file: string): Promise<Config["admin"]> {
  const env: Environment = (name) => Deno.env.get(name);
  const { value: written } = parseText(await readText(file), file);
  const report = new Report(file, written);
  const value = withEnvironment({ admin: valueAt(written, ["admin"]) ?? {} }, { env, report });
  const settings = validated(configSchema.pick({ admin: true }), value, report);
  if (report.problems.length > 0 || !settings) throw new ConfigError(report.problems);
  return locatedAdmin(settings.admin, resolve(file));
}

async function readText(file: string): Promise<string> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await Deno.readFile(file));
  } catch (error) {
    const message = error instanceof Deno.errors.NotFound
      ? "there is no such file; name one with --config FILE"
      : error instanceof TypeError
      ? "is not UTF-8"
      : `cannot be read: ${errorText(error)}`;
    throw new ConfigError([{ path: file, message }]);
  }
}

function parseText(text: string, file: string) {
  try {
    return parseJsonText(text);
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error;
    const { line, column, message } = error;
    throw new ConfigError([{
      path: `${file}:${line}:${column}`,
      message: `is not JSON: ${message}`,
    }]);
  }
}

/** `value` with its defaults; `undefined` where it is wrong, which `report` is told. */
function validated<T extends z.ZodType>(
  schema: T,
  value: Json,
  report: Report,
): z.output<T> | undefined {
  const { data, error } = schema.safeParse(value);
  for (const problem of error?.issues.flatMap((issue) => explain(issue)) ?? []) {
    addProblem(report, { ...problem, value });
  }
  return data;
}

interface Explained {
  readonly path: Path;
  readonly message: string;
  readonly write?: string;
}

/** One of zod's issues as problems: the branch of a union that was meant, and one problem for each unknown key. */
function explain(issue: z.core.$ZodIssue, base: Path = []): Explained[] {
  const path = [...base, ...issue.path as Path];
  if (issue.code === "invalid_union") {
    const meant = issue.errors.filter((branch) =>
      !branch.some((it) => it.path.length === 0 && /^invalid_(?:type|value)$/.test(it.code))
    );
    const [only, ...others] = meant;
    if (only && others.length === 0) return only.flatMap((it) => explain(it, path));
  }
  if (issue.code === "unrecognized_keys") {
    const messages = issue.message.split("\n");
    return issue.keys.map((key, index) => ({
      path: [...path, key],
      message: messages[index] ?? "",
    }));
  }
  const write = issue.code === "custom" ? issue.params?.write : undefined;
  return [{ path, message: issue.message, ...(typeof write === "string" ? { write } : {}) }];
}

function addProblem(report: Report, problem: Explained & { readonly value: Json }): void {
  const { path, message, write, value } = problem;
  // What the environment lacks needs no second complaint.
  if (report.has(path)) return;
  if (message.startsWith("unknown key")) return report.add(path, message);
  if (valueAt(value, path) === undefined && path.length > 0) {
    return report.add(path, message.replace(/^is not/, "is missing; give"));
  }
  const remedy = write !== undefined && report.isLiteral(path) ? `; write ${quote(write)}` : "";
  report.refuse(path, message + remedy);
}

function complete(settings: Settings, file: string): Config {
  const { $schema: _, routes, ...rest } = settings;
  const absolute = (path: string): string => resolve(dirname(file), path);
  return {
    ...rest,
    file,
    listen: located(rest.listen, file),
    pluginsDir: absolute(rest.pluginsDir),
    runtime: rest.runtime.mode === "external"
      ? { ...rest.runtime, socket: absolute(rest.runtime.socket) }
      : rest.runtime,
    admin: locatedAdmin(rest.admin, file),
    routes: routes.map((route) => completeRoute(route, settings)),
  };
}

function locatedAdmin(admin: Settings["admin"], file: string): Config["admin"] {
  return admin && { ...admin, listen: located(admin.listen, file) };
}

function completeRoute(route: Settings["routes"][number], settings: Settings): Route {
  const { upstream, plugins, timeouts, ...rest } = route;
  return {
    failPolicy: settings.failPolicy,
    hookTimeoutMs: settings.hookTimeoutMs,
    hookDispatch: settings.hookDispatch,
    maxRequestBytes: settings.bodies.maxRequestBytes,
    ...rest,
    upstreams: [upstream].flat(),
    plugins: plugins === undefined ? "all" : plugins === false ? [] : plugins,
    timeouts: { ...settings.timeouts, ...timeouts },
  };
}
