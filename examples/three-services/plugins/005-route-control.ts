/**
 * What changes from week to week: paths that are shut for a while, paths that go to the beta for those who take part in it, and
 * paths whose end is announced (RFC 8594).
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";
import { covers } from "./_public_paths.ts";

/** `pluginConfig["005-route-control"]`. Patterns as in `_public_paths.ts`. */
const DEFAULTS = {
  /** Answered with 404, whatever the case: there are services that ignore it. */
  block: [] as string[],
  /** Where a path goes for users with the role "beta"; the target must be in `forward.allowedHosts`. */
  beta: {} as Record<string, string>,
  /** The date for the field Sunset. */
  sunset: {} as Record<string, string>,
};
let rules = DEFAULTS;

export default {
  readsBodies: false,

  onLoad(init) {
    rules = { ...DEFAULTS, ...init.config as object };
    for (const key in rules) if (!(key in DEFAULTS)) throw new Error(`"${key}" is no setting`);
    for (const [path, origin] of Object.entries(rules.beta)) {
      if (URL.parse(origin)?.origin !== origin) throw new Error(`beta["${path}"] is not an origin`);
    }
    for (const [path, date] of Object.entries(rules.sunset)) {
      if (new Date(date).toUTCString() !== date) {
        throw new Error(`sunset["${path}"] is not a date like "${new Date(0).toUTCString()}"`);
      }
    }
  },

  beforeRequest(ctx: GatewayContext) {
    const { path, query } = ctx.request;
    const plain = path.toLowerCase();
    if (rules.block.some((each) => covers(each.toLowerCase(), plain))) {
      ctx.reject(404, "not found");
    }
    const date = find(rules.sunset, path);
    if (date) ctx.response.setHeader("Sunset", date);
    const { roles } = (ctx.user ?? {}) as { readonly roles?: readonly string[] };
    const beta = find(rules.beta, path);
    if (beta && roles?.includes("beta")) ctx.forward(`${beta}${path}${query && `?${query}`}`);
  },
} satisfies Plugin;

function find(rules: Readonly<Record<string, string>>, path: string): string | undefined {
  return Object.entries(rules).find(([pattern]) => covers(pattern, path))?.[1];
}
