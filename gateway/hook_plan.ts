/**
 * What one route runs in one generation: which hooks, with which rules, and what is sent to them. Worked out once, not for each
 * request.
 *
 * @module
 */

import type { ChainLink, PluginManifest } from "../protocol/messages.ts";
import type { HookName } from "../protocol/snapshot.ts";
import type { Config, Route } from "./config.ts";
import type { HeaderNames } from "./exchange.ts";
import type { Generation } from "./generation.ts";

type Rule = "continue" | "reject";

/** One hook of one plugin, with what its timeouts and errors mean on this route. */
export interface PlannedHook {
  readonly hook: HookName;
  readonly plugin: string;
  readonly onTimeout: Rule;
  readonly onError: Rule;
}

/** What some hooks read of a request. The isolate shows each of them what its plugin declared. */
export interface Reads {
  readonly bodies: boolean;
  /** All unless given. */
  readonly headers?: HeaderNames | undefined;
}

/** Hooks that one message asks for. */
export interface HookGroup {
  readonly hooks: readonly PlannedHook[];
  /** The same, as the message has them. */
  readonly chain: readonly ChainLink[];
  readonly reads: Reads;
}

/** The hooks of one phase, in order. */
export interface PhasePlan {
  readonly hook: HookName;
  readonly hooks: readonly PlannedHook[];
  /** Whether any of them looks at bodies, so that capturing one is worth it. */
  readonly readsBodies: boolean;
  /** For each of `hooks` what is asked for together from there on: all of them, or that one. */
  readonly groups: readonly HookGroup[];
}

export interface HookPlan {
  readonly beforeRequest: PhasePlan;
  readonly afterResponse: PhasePlan;
}

export type HookRules = Pick<Config, "onHookTimeout" | "onHookError">;

const plans = new WeakMap<Generation, WeakMap<Route, HookPlan>>();

/** @param rules what holds where neither the route nor the plugin says it; of the configuration that the route is of */
export function hookPlan(generation: Generation, route: Route, rules: HookRules): HookPlan {
  let byRoute = plans.get(generation);
  if (!byRoute) plans.set(generation, byRoute = new WeakMap());
  let plan = byRoute.get(route);
  if (!plan) {
    const { plugins } = route;
    const chosen = generation.plugins.filter(({ name }) =>
      plugins === "all" || plugins.includes(name)
    );
    const phase = (hook: HookName) => phasePlan(hook, chosen, { route, rules });
    plan = { beforeRequest: phase("beforeRequest"), afterResponse: phase("afterResponse") };
    byRoute.set(route, plan);
  }
  return plan;
}

function phasePlan(
  hook: HookName,
  chosen: readonly PluginManifest[],
  { route, rules }: { readonly route: Route; readonly rules: HookRules },
): PhasePlan {
  const plugins = chosen.filter((each) => each.hooks.includes(hook));
  const hooks = plugins.map(({ name, onTimeout, onHookError }): PlannedHook => ({
    hook,
    plugin: name,
    onTimeout: route.onHookTimeout ?? onTimeout ?? rules.onHookTimeout,
    // After the upstream has acted, hiding its answer helps nobody: only `beforeRequest` can end in a 500.
    onError: hook === "afterResponse"
      ? "continue"
      : route.onHookError ?? onHookError ?? rules.onHookError,
  }));
  const links = hooks.map(({ plugin, onError }, at): ChainLink => ({
    plugin,
    readsBodies: (plugins[at] as PluginManifest).readsBodies,
    stopsOnError: onError === "reject",
  }));
  const groups = hooks.map((_, at) => {
    const end = route.hookDispatch === "per-phase" ? hooks.length : at + 1;
    return {
      hooks: hooks.slice(at, end),
      chain: links.slice(at, end),
      reads: whatIsRead(plugins.slice(at, end)),
    };
  });
  return { hook, hooks, readsBodies: links.some((each) => each.readsBodies), groups };
}

function whatIsRead(plugins: readonly PluginManifest[]): Reads {
  const bodies = plugins.some((each) => each.readsBodies);
  const lists = plugins.map((each) => each.readsHeaders);
  if (lists.includes(undefined)) return { bodies };
  return { bodies, headers: [...new Set(lists.flatMap((list) => list ?? []))] };
}
