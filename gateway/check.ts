/**
 * What `conduit check` prints once everything has loaded: routes, the chain of plugins on each, and the sandbox.
 *
 * @module
 */

import type { Config, Route } from "./config.ts";
import { configWarnings, pluginWarnings } from "./config_warnings.ts";
import { hookPlan, type PhasePlan } from "./hook_plan.ts";
import { processCount } from "./processes/supervise.ts";
import type { PluginRuntime } from "./plugin_runtime.ts";
import { originText } from "./upstream/origin.ts";

/** A report for people; the order of routes is the file's, of plugins that of the chain. */
export function checkReport(
  config: Config,
  { supervisor, local }: Pick<PluginRuntime, "supervisor" | "local">,
): string {
  const generation = supervisor.current;
  if (!generation || !local) throw new TypeError("nothing has been loaded yet, or not here");
  const { command, files } = local;
  const lines = [`${config.file}: well`, "", ...describeProcesses(config), "routes"];
  for (const route of config.routes) {
    const plan = hookPlan(generation, route, config);
    lines.push(
      `  ${describeRoute(route)}`,
      `    beforeRequest: ${names(plan.beforeRequest)}`,
      `    afterResponse: ${names(plan.afterResponse)}`,
    );
  }
  lines.push("", "plugins");
  for (const { name, file, hooks, onTimeout } of generation.plugins) {
    const timeout = onTimeout ? `, onTimeout ${onTimeout}` : "";
    const hash = files.files[file]?.slice(0, 12);
    lines.push(`  ${name} (${file}, sha256 ${hash}): ${hooks.join(", ") || "no hooks"}${timeout}`);
  }
  lines.push("", "permissions of the plugin host");
  for (const flag of command.args.filter((each) => each.startsWith("--"))) lines.push(`  ${flag}`);
  lines.push(`  environment: ${Object.keys(command.env).join(", ")}`);
  const plugins = generation.plugins.map((each) => each.name);
  const warnings = [
    ...configWarnings(config),
    ...pluginWarnings(config, { plugins, env: command.env }),
  ];
  if (warnings.length > 0) lines.push("", "warnings", ...warnings.map((each) => `  ${each}`));
  lines.push("");
  return lines.join("\n");
}

function describeProcesses({ processes }: Config): string[] {
  const count = processCount(processes);
  return count === 1 ? [] : [`processes: ${count}, each with a plugin host`, ""];
}

function describeRoute(
  { path, host, methods, upstreams, failPolicy, hookTimeoutMs }: Route,
): string {
  const conditions = [host && `host ${host}`, methods?.join("|")].filter(Boolean).join(", ");
  const from = conditions ? `${path} (${conditions})` : path;
  const to = upstreams.map(originText).join(", ");
  return `${from} -> ${to} [failPolicy ${failPolicy}, hooks ${hookTimeoutMs} ms]`;
}

function names({ hooks }: PhasePlan): string {
  return hooks.map((each) => each.plugin).join(" -> ") || "none";
}
