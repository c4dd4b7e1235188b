/**
 * One line for each request that was answered by a service: who, what, with what outcome, in what time. What the gateway or a
 * plugin refused stands in the gateway's access log.
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
    const { kind, id } = (ctx.user ?? {}) as {
      readonly kind?: string;
      readonly id?: string;
    };
    const startedAtMs = ctx.state["logging.startedAtMs"];
    ctx.log.info("request answered", {
      who: kind ? `${kind} ${id}` : `address ${ctx.request.remoteAddr}`,
      method: ctx.request.method,
      path: ctx.request.path, // no query: people put secrets there
      status: ctx.response.status,
      // The first hook may not have run, and the clock may be set back meanwhile.
      durationMs: typeof startedAtMs === "number"
        ? Math.max(0, Date.now() - startedAtMs)
        : undefined,
    });
  },
} satisfies Plugin;
