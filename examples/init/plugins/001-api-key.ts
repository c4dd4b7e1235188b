/**
 * Lets a request in when it brings a key that the configuration knows, and tells the service behind whose it was.
 *
 * @module
 */

import type { GatewayContext, Plugin } from "conduit/plugin";

/** By the key's hash: the time of a look-up says nothing about how much of a key was right. */
const owners = new Map<string, string>();

export default {
  onTimeout: "reject", // a gate that could not decide in time stays shut
  readsBodies: false,

  async onLoad(init) {
    const { keys = {} } = init.config as { keys?: Record<string, string> };
    owners.clear();
    for (const [owner, key] of Object.entries(keys)) {
      if (!key) throw new Error(`the key of "${owner}" is empty`);
      owners.set(await sha256(key), owner);
    }
    if (owners.size === 0) throw new Error('"keys" names nobody, so nobody could come in');
  },

  async beforeRequest(ctx: GatewayContext) {
    const key = ctx.request.headers["x-api-key"];
    if (!key) ctx.reject(401, "missing x-api-key");
    const owner = owners.get(await sha256(key));
    if (!owner) ctx.reject(401, "unknown x-api-key");
    ctx.user = { id: owner };
    ctx.upstream.setHeader("x-gateway-user", owner);
    ctx.upstream.deleteHeader("x-api-key"); // it was meant for this gate and for no service
  },
} satisfies Plugin;

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex();
}
