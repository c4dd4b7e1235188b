/**
 * Sets and removes header fields: those that the upstream gets, and those that the client gets.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";

type Fields = Record<string, string | null>;

/** What `pluginConfig["003-header-rewrite"]` can replace, section by section. Text sets a field, `null` removes it. */
const DEFAULTS: { upstream: Fields; response: Fields } = {
  upstream: {},
  response: { "x-served-by": "conduit", "server": null, "x-powered-by": null },
};
let fields = DEFAULTS;

export default {
  readsBodies: false,

  onLoad(init) {
    fields = { ...DEFAULTS, ...init.config as object };
    for (const [section, changes] of Object.entries(fields)) {
      if (!(section in DEFAULTS)) throw new Error(`"${section}" is not "upstream" or "response"`);
      for (const [name, value] of Object.entries(changes)) {
        if (value !== null && typeof value !== "string") {
          throw new Error(`${section}["${name}"] is neither text nor null`);
        }
        new Headers([[name, value ?? ""]]); // throws for what HTTP does not allow
      }
    }
  },

  beforeRequest(ctx: GatewayContext) {
    for (const [name, value] of Object.entries(fields.upstream)) {
      if (value === null) ctx.upstream.deleteHeader(name);
      else ctx.upstream.setHeader(name, value);
    }
  },

  afterResponse(ctx: GatewayContext) {
    for (const [name, value] of Object.entries(fields.response)) {
      if (value === null) ctx.response.deleteHeader(name);
      else ctx.response.setHeader(name, value);
    }
  },
} satisfies Plugin;
