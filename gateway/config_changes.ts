/**
 * What tells two configurations apart, and what that means for a gateway that runs with one of them.
 *
 * @module
 */

import type { Config, Route } from "./config.ts";
import { formatPath } from "./config_report.ts";
import { pluginHosts } from "./sandbox.ts";

/** One value that differs; `undefined` is one that is not there. */
export interface Change {
  /** `routes["/api/*"].upstreams`, `log.level`. */
  readonly path: string;
  readonly old: unknown;
  readonly next: unknown;
}

/** What the plugin host, or the gateway's side of it, is given when it starts. */
const HOST_KEYS = [
  "pluginsDir",
  "pluginPoolSize",
  "pluginEnv",
  "pluginNet",
  "pluginConfig",
  "hardCeilingMs",
  "maxFrameBytes",
  "services",
  "runtime",
] as const satisfies readonly (keyof Config)[];

/** What a route has from the whole gateway, unless it sets it itself. */
const INHERITED = ["failPolicy", "hookTimeoutMs", "hookDispatch"] as const;

/** Whether two parts of configurations say the same. */
export function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether plugins must run in another host process, with other permissions or another start. */
export function needsNewHost(old: Config, next: Config): boolean {
  return HOST_KEYS.some((key) => !isSame(old[key], next[key])) ||
    !isSame(pluginHosts(old), pluginHosts(next));
}

/** Whether a change at this path is one for which the host is started anew by itself. */
export function isOfHost(path: string): boolean {
  return HOST_KEYS.some((key) =>
    path === key || path.startsWith(`${key}.`) || path.startsWith(`${key}[`)
  );
}

/** What cannot change while the gateway runs, with the reason. */
export function refusedChanges(
  old: Config,
  next: Config,
  { dev = false }: { readonly dev?: boolean } = {},
): string[] {
  const refused: string[] = [];
  // `conduit dev` is one process, whatever the file says.
  if (!dev && old.processes !== next.processes) {
    refused.push(
      `processes: ${old.processes} cannot become ${next.processes} by a reload, since the port is shared by the processes that were started; restart the gateway`,
    );
  }
  if (old.runtime.mode === "external" && next.runtime.mode === "external") {
    const socketKeys = [
      ["runtime.socket", old.runtime.socket, next.runtime.socket],
      ["maxFrameBytes", old.maxFrameBytes, next.maxFrameBytes],
    ] as const;
    for (const [key, before, after] of socketKeys) {
      if (before === after) continue;
      refused.push(
        `${key}: ${before} cannot become ${after} by a reload, since the plugin host service is connected by it; restart both`,
      );
    }
  }
  return refused;
}

/** Every value that differs, routes by what they match and not by where they stand. */
export function changes(old: Config, next: Config): Change[] {
  const { routes: oldRoutes, file: _, ...oldRest } = old;
  const { routes, file: __, ...rest } = next;
  const found = differences(oldRest, rest, []);
  const before = byName(oldRoutes);
  const after = byName(routes);
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const [a, b] = [before.get(name), after.get(name)];
    const path = ["routes", name];
    if (!a || !b) found.push({ path: formatPath(path), old: a, next: b });
    else found.push(...differences(own(a, old), own(b, next), path));
  }
  const isReordered = isSame([...before.keys()].sort(), [...after.keys()].sort()) &&
    !isSame([...before.keys()], [...after.keys()]);
  if (isReordered) {
    found.push({ path: "routes", old: [...before.keys()], next: [...after.keys()] });
  }
  return found;
}

/** Routes by what a request must have to be theirs; no two are the same. */
function byName(routes: readonly Route[]): Map<string, Route> {
  return new Map(routes.map((route) => {
    const conditions = [route.methods?.join("|"), route.host].filter((each) => each !== undefined);
    return [[...conditions, route.path].join(" "), route];
  }));
}

/** A route without what it has from the whole gateway: a change there is told there. */
function own(route: Route, config: Config): object {
  const { path: _, host: __, methods: ___, ...rest } = route;
  const kept = { ...rest } as Record<string, unknown>;
  for (const key of INHERITED) if (route[key] === config[key]) delete kept[key];
  if (route.maxRequestBytes === config.bodies.maxRequestBytes) delete kept.maxRequestBytes;
  if (isSame(route.timeouts, config.timeouts)) delete kept.timeouts;
  return kept;
}

function differences(old: unknown, next: unknown, path: readonly string[]): Change[] {
  if (isSame(old, next)) return [];
  if (!isSection(old) || !isSection(next)) return [{ path: formatPath(path), old, next }];
  const keys = new Set([...Object.keys(old), ...Object.keys(next)]);
  return [...keys].flatMap((key) => differences(old[key], next[key], [...path, key]));
}

/** An object whose members are told one by one; an address or an origin is one value. */
function isSection(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !("kind" in value) && !("hostname" in value);
}
