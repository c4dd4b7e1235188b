/**
 * Logs each request that was answered by an upstream: which, for whom, with what outcome, in what time. Refused ones do
 * not get here; they stand in the gateway's access log.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";

export default {
  readsBodies: false,

  beforeRequest(ctx: GatewayContext) {
    // The other hook may run in another isolate, with a `performance.now()` of its own: only this clock is shared.
    ctx.state["logging.startedAtMs"] = Date.now();
  },

  afterResponse(ctx: GatewayContext) {
    const { method, path } = ctx.request; // no query: people put secrets there
    const startedAtMs = ctx.state["logging.startedAtMs"];
    ctx.log.info("request answered", {
      method,
      path,
      status: ctx.response.status,
      // The first hook may not have run, and the clock may be set back meanwhile.
      durationMs: typeof startedAtMs === "number"
        ? Math.max(0, Date.now() - startedAtMs)
        : undefined,
      user: ctx.user,
    });
  },
} satisfies Plugin;
