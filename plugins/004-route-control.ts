/**
 * Shuts paths that no client should reach, and sends others to another service, such as a beta.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";

/** `pluginConfig["004-route-control"]`. A path stands for itself and for everything below it. */
const DEFAULTS = {
  block: {} as Record<string, 403 | 404>, // "/service/internal": 404
  forward: {} as Record<string, string>, // "/beta": "http://beta-service:2004", which gets the rest of the path
};
const MESSAGES = { 403: "this path is not open to clients", 404: "not found" };
let rules = DEFAULTS;

export default {
  readsBodies: false,

  onLoad(init) {
    rules = { ...DEFAULTS, ...init.config as object };
    for (const key in rules) if (!(key in DEFAULTS)) throw new Error(`"${key}" is not a setting`);
    for (const path of [rules.block, rules.forward].flatMap(Object.keys)) {
      // A path that is written differently from what `ctx.request.path` can be would shut nothing.
      if (!/^(\/\.?[\w~-][\w.~-]*)+$/.test(path)) throw new Error(`"${path}" is not like "/a/b"`);
    }
    for (const [path, status] of Object.entries(rules.block)) {
      if (status !== 403 && status !== 404) throw new Error(`block["${path}"] is not 403 or 404`);
    }
    for (const [path, url] of Object.entries(rules.forward)) {
      if (URL.parse(url)?.origin !== url) throw new Error(`forward["${path}"] is not an origin`);
    }
  },

  beforeRequest(ctx: GatewayContext) {
    const { path, query } = ctx.request;
    const beta = Object.entries(rules.forward).find(([prefix]) => isWithin(prefix, path));
    const rest = path.slice(beta?.[0].length) || "/"; // a shut path stays shut behind a forward
    for (const [prefix, status] of Object.entries(rules.block)) {
      if (isWithin(prefix, path) || isWithin(prefix, rest)) ctx.reject(status, MESSAGES[status]);
    }
    if (beta) ctx.forward(`${beta[1]}${rest}${query && `?${query}`}`);
  },
} satisfies Plugin;

/** Whatever the case, since there are servers behind that ignore it. */
function isWithin(prefix: string, path: string): boolean {
  return `${path}/`.toLowerCase().startsWith(`${prefix}/`.toLowerCase());
}
