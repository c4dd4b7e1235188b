/**
 * Makes the session when the user service has said who it is, and ends it when the user logs out. The user service answers a
 * login or a refresh with `{"user": {"id", "name", "roles"}, …}`; the client gets that and `sessionId`, `secret` and
 * `expiresInSeconds` with it.
 *
 * Only the routes of these paths name this plugin in their `plugins`: it reads answers, which the gateway has to hold back
 * for it. With the `redis` driver the user service could write `conduit:session:<id>` by itself, and there would be no such plugin.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";
import { asUser, type User } from "./001-session-hmac.ts";

const ISSUING = ["/user-service/api/v1/login", "/user-service/api/v1/refresh"];
const ENDING = "/user-service/api/v1/logout";

/** `pluginConfig["006-session-issue"]`: a session that is not used for so long ends. */
let ttlSeconds = 900;

export default {
  onTimeout: "reject",

  onLoad(init) {
    ({ ttlSeconds = 900 } = init.config as { ttlSeconds?: number });
    if (!(ttlSeconds >= 1)) throw new Error('"ttlSeconds" is not 1 or more');
  },

  async afterResponse(ctx: GatewayContext) {
    if (ctx.response.status !== 200) return;
    const { cache } = ctx.services;
    try {
      if (ctx.request.path === ENDING) {
        await cache.delete(`session:${ctx.state["session.id"]}`);
      }
      if (!ISSUING.includes(ctx.request.path)) return;
      const { sessionTtlSeconds = ttlSeconds, ...answer } = readAnswer(ctx);
      // The service may ask for a shorter one.
      const expiresInSeconds = Math.min(sessionTtlSeconds, ttlSeconds);
      const [sessionId, secret] = [random(), random()];
      const session = { user: { ...answer.user }, secret, ttlSeconds: expiresInSeconds };
      await cache.set(`session:${sessionId}`, session, { ttlSeconds: expiresInSeconds });
      ctx.response.setBody({ ...answer, user: session.user, sessionId, secret, expiresInSeconds });
      ctx.response.setHeader("cache-control", "no-store");
    } catch (error) {
      // An error that leaves this hook would let the answer through as it is.
      ctx.log.error("no session was made or ended", { error });
      ctx.reject(503, "sessions are not to be had now", { "retry-after": "1" });
    }
  },
} satisfies Plugin;

interface Answer {
  readonly user: User;
  readonly sessionTtlSeconds?: number;
}

/** @throws {TypeError} for what names no user */
function readAnswer(ctx: GatewayContext): Answer {
  const answer = Object(ctx.response.json()) as Partial<Answer>;
  const user = asUser(answer.user);
  if (!user) throw new TypeError("the user service's answer has no user with id, name and roles");
  return { ...answer, user };
}

/** 256 random bits as text. */
function random(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}
