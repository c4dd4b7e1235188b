/**
 * What every answer says about itself, and what none tells.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";

const SET = { "x-content-type-options": "nosniff", "referrer-policy": "same-origin" };
const REMOVED = ["server", "x-powered-by"];

export default {
  readsBodies: false,

  afterResponse(ctx: GatewayContext) {
    for (const [name, value] of Object.entries(SET)) ctx.response.setHeader(name, value);
    for (const name of REMOVED) ctx.response.deleteHeader(name);
    // What one user got must not be kept for another, unless the service says it may.
    if (ctx.user !== undefined && ctx.response.header("cache-control") === undefined) {
      ctx.response.setHeader("cache-control", "private");
    }
  },
} satisfies Plugin;
