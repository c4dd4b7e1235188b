/**
 * So many requests in each window of time for each user, and for each address where there is no user. Every answer says
 * in RateLimit-* how many are left; one too many gets 429 with Retry-After.
 *
 * It runs behind 001 and 002, which say who it is: what they refuse is neither counted nor marked. The number of the window is part of the
 * key. So counting is one call, nothing has to be reset, and the store forgets old windows by itself.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";
import { covers } from "./_public_paths.ts";

/** `pluginConfig["004-rate-limit"]`. */
const DEFAULTS = {
  windowSeconds: 60,
  /** Requests in a window, by surface: the first pattern that is for the path counts. */
  limits: { "/*": 100 } as Record<string, number>,
  /** Without the cache nothing can be counted: "open" lets requests through, "closed" answers 503. */
  whenCacheIsDown: "open",
};
let settings = DEFAULTS;

export default {
  readsBodies: false,

  onLoad(init) {
    settings = { ...DEFAULTS, ...init.config as object };
    for (const key in settings) if (!(key in DEFAULTS)) throw new Error(`"${key}" is no setting`);
    const { limits, windowSeconds, whenCacheIsDown } = settings;
    for (const [key, value] of Object.entries({ ...limits, windowSeconds })) {
      if (!Number.isInteger(value) || value < 1) throw new Error(`"${key}" is not 1 or more`);
    }
    if (!["open", "closed"].includes(whenCacheIsDown)) {
      throw new Error('"whenCacheIsDown" is not "open" or "closed"');
    }
  },

  async beforeRequest(ctx: GatewayContext) {
    const { windowSeconds, limits } = settings;
    const surface = Object.entries(limits).find(([paths]) => covers(paths, ctx.request.path));
    if (!surface) return;
    const [paths, limit] = surface;
    const now = Date.now() / 1000;
    const window = Math.floor(now / windowSeconds);
    const count = await counted(ctx, `rate:${paths}:${who(ctx)}:${window}`);
    if (count === undefined) return;

    const resetSeconds = Math.ceil((window + 1) * windowSeconds - now);
    ctx.response.setHeader("RateLimit-Limit", String(limit));
    ctx.response.setHeader("RateLimit-Remaining", String(Math.max(0, limit - count)));
    ctx.response.setHeader("RateLimit-Reset", String(resetSeconds));
    if (count <= limit) return;
    ctx.reject(429, "too many requests", { "retry-after": String(resetSeconds) });
  },
} satisfies Plugin;

/** `undefined` where it could not be counted and the request is let through. */
async function counted(ctx: GatewayContext, key: string): Promise<number | undefined> {
  try {
    return await ctx.services.cache.increment(key, { ttlSeconds: settings.windowSeconds });
  } catch (error) {
    ctx.log.warn("request not counted", { error });
    if (settings.whenCacheIsDown === "open") return undefined;
    return ctx.reject(503, "requests cannot be counted now", { "retry-after": "1" });
  }
}

function who(ctx: GatewayContext): string {
  const { kind, issuer = "", id } = (ctx.user ?? {}) as Readonly<Record<string, string>>;
  // As JSON, so that no name of one can look like another.
  return kind ? JSON.stringify([kind, issuer, id]) : ctx.request.remoteAddr;
}
