/**
 * `/plugins`: which files run, what each plugin does and takes, and why the files on disk do not run, if so.
 *
 * @module
 */

import { type AdminPage, jsonForPeople } from "../admin.ts";
import type { PluginLoadError } from "../plugin_errors.ts";
import type { Supervisor } from "../supervisor.ts";
import type { HookSeries, Metrics } from "./metrics.ts";

/** @param supervisor gives the one that is at work */
export function pluginsPage(supervisor: () => Supervisor, metrics: Metrics): AdminPage {
  return () => jsonForPeople(200, pluginsReport(supervisor(), metrics));
}

function pluginsReport(supervisor: Supervisor, metrics: Metrics): object {
  const { current, running, loadError, generations, hostPid } = supervisor;
  return {
    generation: current?.id ?? null,
    generations,
    readyIsolates: current?.readyIsolates ?? 0,
    hostPid: hostPid ?? null,
    loadError: loadError ? loadErrorTold(loadError) : null,
    plugins: current?.plugins.map(({ name, file, hooks, ...flags }) => ({
      name,
      file,
      sha256: running?.files[file],
      ...flags,
      hooks: Object.fromEntries(
        hooks.map((hook) => [hook, hookTold(metrics.hooks(name)?.[hook])]),
      ),
    })) ?? [],
    files: running?.files ?? {},
  };
}

/** Where the gateway knows of no single place, the message says what there is to say. */
function loadErrorTold({ message, faults }: PluginLoadError): object {
  const [first, ...others] = faults.map(({ path: _, ...told }) => told);
  return first ? { ...first, ...(others.length > 0 ? { others } : {}) } : { message };
}

/** Since the gateway started, whatever set of files it was. */
function hookTold(series: HookSeries | undefined): object {
  if (!series) return { count: 0 };
  const { duration, denials, outcomes } = series;
  const counted = Object.entries(outcomes).map(([outcome, { value }]) => [outcome, value] as const);
  return {
    count: duration.count,
    outcomes: Object.fromEntries(counted.filter(([, count]) => count > 0)),
    denials: denials.value,
    meanMs: milliseconds(duration.mean),
    p50Ms: milliseconds(duration.quantile(0.5)),
    p95Ms: milliseconds(duration.quantile(0.95)),
    p99Ms: milliseconds(duration.quantile(0.99)),
  };
}

/** To a microsecond; `null` (in JSON) before there is a value. */
function milliseconds(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e3;
}
