/**
 * Lets users in who bring a session and have signed the request with its secret.
 *
 *     Authorization: Session <id>       16 to 128 of A-Z a-z 0-9 _ -
 *     X-Timestamp: 1764000000           unix seconds, ten digits, at most 300 off
 *     X-Nonce: <nonce>                  16 to 128 of A-Z a-z 0-9 _ -, never twice in a session
 *     X-Signature: <hex>                HMAC-SHA-256, 64 lower-case hex digits
 *
 * The key is the session's secret as text (UTF-8). Signed are six lines, joined with "\n" and without one at the end:
 * the method; the canonical path; the query without "?", or an empty line; X-Timestamp; X-Nonce; the SHA-256 of the body
 * in lower-case hex (of no bytes, where there is no body).
 *
 * A body over `bodies.inlineLimitBytes` streams past and is not seen here. Its request must bring its digest in X-Content-SHA256,
 * which is what is signed then. The field goes on to the service, which must compare it with what arrives. On a
 * smaller body the field may be left out; where it is there it must be right.
 *
 * Without the session store nobody is let in: 503.
 *
 * @module
 */

import type { GatewayContext, Json, Plugin } from "conduit/plugin";
import { credentialFor } from "./_public_paths.ts";

const MAX_CLOCK_SKEW_SECONDS = 300;
/** As long as a timestamp can be right, and a while for gateways whose clocks differ. */
const NONCE_TTL_SECONDS = 2 * MAX_CLOCK_SKEW_SECONDS + 60;
const MAX_ID_LENGTH = 128;
const SHA256_HEX = /^([0-9a-f]{64})$/;
/** An unknown session is compared with this, so that it takes the time of a known one. */
const NO_SECRET = crypto.randomUUID();
const CHALLENGE = { "www-authenticate": 'Session realm="three-services"' };

export interface User {
  readonly id: string;
  readonly name: string;
  readonly roles: readonly string[];
}

/** What stands in the cache under `session:<id>`; 006-session-issue writes it. */
interface Session {
  readonly user: User;
  readonly secret: string;
  /** Without a request for so long, it ends. */
  readonly ttlSeconds: number;
}

export default {
  onTimeout: "reject",

  async beforeRequest(ctx: GatewayContext) {
    if (credentialFor(ctx.request.path) !== "session") return;
    const id = field(ctx, "Authorization", /^Session +([\w-]{16,128})$/i);
    const timestamp = field(ctx, "X-Timestamp", /^(\d{10})$/);
    const nonce = field(ctx, "X-Nonce", /^([\w-]{16,128})$/);
    const signature = field(ctx, "X-Signature", SHA256_HEX);
    const bodySha256 = await bodyDigest(ctx);
    if (Math.abs(Date.now() / 1000 - Number(timestamp)) > MAX_CLOCK_SKEW_SECONDS) {
      ctx.reject(401, `X-Timestamp is over ${MAX_CLOCK_SKEW_SECONDS} s off`, CHALLENGE);
    }

    const { cache } = ctx.services;
    const session = asSession(await stored(ctx, cache.get(`session:${id}`)));
    const { method, path, query } = ctx.request;
    const text = stringToSign({ method, path, query, timestamp, nonce, bodySha256 });
    const isSigned = await verify(signature, { text, secret: session?.secret ?? NO_SECRET });
    if (!session || !isSigned) ctx.reject(401, "unknown session or wrong signature", CHALLENGE);
    // Only now: with a nonce that somebody else has sent, nobody can burn it for its owner.
    const nonceOptions = { onlyIfAbsent: true, ttlSeconds: NONCE_TTL_SECONDS };
    if (!await stored(ctx, cache.set(`nonce:${id}:${nonce}`, 1, nonceOptions))) {
      ctx.reject(401, "X-Nonce was used before", CHALLENGE);
    }
    // Also the last look at it: it may have ended a moment ago.
    if (!await stored(ctx, cache.expire(`session:${id}`, session.ttlSeconds))) {
      ctx.reject(401, "unknown session or wrong signature", CHALLENGE);
    }

    const { user } = session;
    ctx.user = { kind: "user", ...user };
    ctx.state["session.id"] = id;
    // A header field holds ASCII only, a name may be anything.
    ctx.upstream.setHeader("X-Gateway-User-Id", encodeURIComponent(user.id));
    ctx.upstream.setHeader("X-Gateway-User-Name", encodeURIComponent(user.name));
    ctx.upstream.setHeader("X-Gateway-User-Roles", user.roles.map(encodeURIComponent).join(","));
    for (const name of ["Authorization", "X-Signature", "X-Timestamp", "X-Nonce"]) {
      ctx.upstream.deleteHeader(name);
    }
  },
} satisfies Plugin;

/** What is signed. */
export function stringToSign(parts: {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly timestamp: string;
  readonly nonce: string;
  readonly bodySha256: string;
}): string {
  const { method, path, query, timestamp, nonce, bodySha256 } = parts;
  return [method, path, query, timestamp, nonce, bodySha256].join("\n");
}

/** Whether `signature` (hex) is that of `text`. Compares in a time that says nothing about where they differ. */
export async function verify(
  signature: string,
  { text, secret }: { readonly text: string; readonly secret: string },
): Promise<boolean> {
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", utf8(secret), hmac, false, ["verify"]);
  return await crypto.subtle.verify("HMAC", key, Uint8Array.fromHex(signature), utf8(text));
}

/** The part of a field that `shape` captures. A field that came twice is joined with a comma, and so has no such shape. */
function field(ctx: GatewayContext, name: string, shape: RegExp): string {
  const value = shape.exec(ctx.request.header(name) ?? "")?.[1];
  return value ?? ctx.reject(401, `missing or malformed ${name}`, CHALLENGE);
}

async function bodyDigest(ctx: GatewayContext): Promise<string> {
  const { body } = ctx.request;
  if (body.kind === "reference") return field(ctx, "X-Content-SHA256", SHA256_HEX);
  const bytes = new Uint8Array(ctx.request.bytes());
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  if (digest !== (ctx.request.header("X-Content-SHA256") ?? digest)) {
    ctx.reject(401, "X-Content-SHA256 is not that of the body", CHALLENGE);
  }
  return digest;
}

/** What the cache answers. Where it does not, that is neither the client's fault nor a reason to let it in. */
async function stored<T>(ctx: GatewayContext, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    ctx.log.error("the session store does not answer", { error });
    return ctx.reject(503, "sessions cannot be checked now", { "retry-after": "1" });
  }
}

function asSession(value: Json): Session | undefined {
  const { user, secret, ttlSeconds } = Object(value) as Partial<Session>;
  const known = asUser(user);
  if (!known || !secret || typeof secret !== "string" || typeof ttlSeconds !== "number") return;
  return { user: known, secret, ttlSeconds };
}

/** The user that `value` describes, if it describes one. */
export function asUser(value: unknown): User | undefined {
  const { id, name, roles } = Object(value) as Partial<User>;
  if (!Array.isArray(roles) || !id || id.length > MAX_ID_LENGTH || name === undefined) return;
  // Half a surrogate pair could not be written into a header field.
  const isText = [id, name, ...roles].every((it) => typeof it === "string" && it.isWellFormed());
  return isText ? { id, name, roles } : undefined;
}

function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
