/**
 * Lets a request in when it brings a bearer token (RFC 6750) that opens its path; tells the upstream whose it was.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";

/** `pluginConfig["001-auth"]`. All of it only ever opens paths, so what is forgotten stays shut. */
const DEFAULTS = {
  tokens: {} as Record<string, { token: string; roles?: string[] }>, // by user id
  roles: { user: ["/*"] } as Record<string, string[]>, // what a role opens: "/exact" or "/prefix/*"
  publicPaths: [] as string[], // what is open without a token
};
const BEARER = /^Bearer +([\w.~+/-]+=*)$/i; // RFC 6750 §2.1; a scheme has no case (RFC 9110 §11.1)
let gate = DEFAULTS;
const users = new Map<string, { id: string; roles: string[] }>(); // by the token's hash

export default {
  onTimeout: "reject", // a gate that could not decide in time stays shut
  readsBodies: false,
  async onLoad(init) {
    gate = { ...DEFAULTS, ...init.config as object };
    for (const key in gate) if (!(key in DEFAULTS)) throw new Error(`"${key}" is not a setting`);
    users.clear();
    for (const [id, { token, roles = ["user"], ...rest }] of Object.entries(gate.tokens)) {
      for (const key in rest) throw new Error(`"${key}" is not a setting of tokens.${id}`);
      const unknown = roles.find((role) => !Object.hasOwn(gate.roles, role));
      if (unknown !== undefined) throw new Error(`tokens.${id} has no known role "${unknown}"`);
      if (BEARER.exec(`Bearer ${token}`)?.[1] !== token) throw new Error(`"${id}" has no token`);
      users.set(await sha256(token), { id, roles });
    }
    if (users.size === 0) throw new Error('"tokens" names nobody, so nobody could come in');
  },
  async beforeRequest(ctx: GatewayContext) {
    const { path, headers } = ctx.request;
    if (covers(gate.publicPaths, path)) return;
    const token = BEARER.exec(headers.authorization ?? "")?.[1];
    if (!token) ctx.reject(401, "missing bearer token", challenge());
    // Looked up by its hash: the time that takes says nothing about how much of a token was right.
    const user = users.get(await sha256(token));
    if (!user) ctx.reject(401, "unknown bearer token", challenge(', error="invalid_token"'));
    if (!user.roles.some((role) => covers(gate.roles[role] ?? [], path))) {
      ctx.reject(403, "token does not open this path", challenge(', error="insufficient_scope"'));
    }
    ctx.user = user;
    ctx.upstream.setHeader("x-gateway-user", user.id);
    ctx.upstream.deleteHeader("authorization"); // it was meant for this gate and for no service
  },
} satisfies Plugin;

const challenge = (error = "") => ({ "www-authenticate": `Bearer realm="conduit"${error}` });
const covers = (patterns: string[], path: string) =>
  patterns.some((it) => it === path || it.endsWith("/*") && `${path}/`.startsWith(it.slice(0, -1)));

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex();
}
