/**
 * Lets administrators in who bring a JSON Web Token (RFC 7519), which is verified here once. The services believe
 * `X-Gateway-Admin-*` and verify nothing.
 *
 * Each issuer has one algorithm and one source of keys, so no key is ever used for another algorithm than its own:
 * a secret from the environment (HS256), or a JWKS (RFC 7517) from one of the upstreams. A token must have `iss`, `aud`, `exp`
 * and `sub`. Where the keys of an issuer cannot be had its tokens get 503, and those of the others go on.
 *
 * @module
 */

import type { GatewayContext, Plugin, PluginInit } from "conduit/plugin";
import {
  createRemoteJWKSet,
  customFetch,
  decodeJwt,
  errors,
  type JWTPayload,
  jwtVerify,
  type JWTVerifyGetKey,
} from "jose";
import { credentialFor } from "./_public_paths.ts";

/** `pluginConfig["002-admin-jwt"]`. */
interface Config {
  readonly audience: string;
  /** By `iss`. */
  readonly issuers: Readonly<Record<string, IssuerConfig>>;
}

/** One of `secretEnv`, the name of a variable in `pluginEnv`, and `jwksUrl`. */
interface IssuerConfig {
  readonly algorithm: string;
  readonly secretEnv?: string;
  readonly jwksUrl?: string;
}

interface Admin {
  readonly id: string;
  readonly issuer: string;
  readonly roles: readonly string[];
}

interface Issuer {
  readonly algorithm: string;
  readonly keys: JWTVerifyGetKey;
}

const PUBLIC_KEY_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"];
const MIN_SECRET_BYTES = 32; // RFC 7518 §3.2
const MAX_TOKEN_LENGTH = 8192;
const MAX_ID_LENGTH = 128;
const CLOCK_TOLERANCE_SECONDS = 5;
/** A key that is not in the set makes it be fetched again, at most this often: anybody can name such a key. */
const JWKS_COOLDOWN_MS = 30_000;
const JWKS_MAX_AGE_MS = 600_000;
const JWKS_TIMEOUT_MS = 5000;
/** What jose throws about the keys and not about the token. */
const KEY_ERRORS = ["ERR_JOSE_GENERIC", "ERR_JWKS_TIMEOUT", "ERR_JWKS_INVALID"];

let audience = "";
const issuers = new Map<string, Issuer>();

export default {
  onTimeout: "reject",
  readsBodies: false,

  onLoad(init) {
    const config = init.config as unknown as Partial<Config>;
    if (!config.audience) throw new Error('"audience" is missing; name whom the tokens are for');
    audience = config.audience;
    issuers.clear();
    for (const [name, issuer] of Object.entries(config.issuers ?? {})) {
      issuers.set(name, { algorithm: issuer.algorithm, keys: keysOf(name, issuer, init) });
    }
    if (issuers.size === 0) throw new Error('"issuers" names nobody, so nobody could come in');
  },

  async beforeRequest(ctx: GatewayContext) {
    if (credentialFor(ctx.request.path) !== "admin token") return;
    const token = /^Bearer +([\w.-]+)$/i.exec(ctx.request.header("Authorization") ?? "")?.[1];
    if (!token) ctx.reject(401, "missing bearer token", challenge());
    const { id, issuer, roles } = await verified(ctx, token);
    ctx.user = { kind: "admin", id, issuer, roles };
    // A header field holds ASCII only, a claim may be anything.
    ctx.upstream.setHeader("X-Gateway-Admin-Id", encodeURIComponent(id));
    ctx.upstream.setHeader("X-Gateway-Admin-Issuer", encodeURIComponent(issuer));
    ctx.upstream.setHeader("X-Gateway-Admin-Roles", roles.map(encodeURIComponent).join(","));
    ctx.upstream.deleteHeader("Authorization");
  },
} satisfies Plugin;

/** @throws {Error} naming what of the configuration is wrong */
function keysOf(name: string, issuer: IssuerConfig, init: PluginInit): JWTVerifyGetKey {
  const { algorithm, secretEnv, jwksUrl } = issuer;
  const { env, services } = init;
  if (algorithm === "HS256" && secretEnv && !jwksUrl) {
    const secret = new TextEncoder().encode(env[secretEnv] ?? "");
    if (secret.length < MIN_SECRET_BYTES) {
      throw new Error(
        `issuer "${name}": set ${secretEnv} to at least ${MIN_SECRET_BYTES} bytes, and name it in "pluginEnv"`,
      );
    }
    return () => secret;
  }
  if (PUBLIC_KEY_ALGORITHMS.includes(algorithm) && jwksUrl && !secretEnv) {
    const keys = createRemoteJWKSet(new URL(jwksUrl), {
      // Not that of a hook: an answer that comes too late for one request is there for the next one.
      [customFetch]: (url, options) => services.http.fetch(url, options),
      cooldownDuration: JWKS_COOLDOWN_MS,
      cacheMaxAge: JWKS_MAX_AGE_MS,
      timeoutDuration: JWKS_TIMEOUT_MS,
    });
    void keys.reload().catch(() => {}); // so that the first request need not wait; if it fails, that one asks again
    return keys;
  }
  throw new Error(
    `issuer "${name}": give "algorithm": "HS256" and "secretEnv", or one of ${PUBLIC_KEY_ALGORITHMS} and "jwksUrl"`,
  );
}

async function verified(ctx: GatewayContext, token: string): Promise<Admin> {
  try {
    if (token.length > MAX_TOKEN_LENGTH) throw new errors.JWTInvalid("too long");
    // Not verified yet: it says whose keys to verify with, and must be right by these.
    const name = decodeJwt(token).iss ?? "";
    const issuer = issuers.get(name);
    if (!issuer) throw new errors.JWTInvalid("unknown issuer");
    const { payload } = await jwtVerify(token, issuer.keys, {
      algorithms: [issuer.algorithm],
      issuer: name,
      audience,
      requiredClaims: ["exp", "sub"],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
    });
    return asAdmin(name, payload);
  } catch (error) {
    if (error instanceof errors.JOSEError && !KEY_ERRORS.includes(error.code)) {
      ctx.log.info("admin token refused", { reason: error.message });
      ctx.reject(401, "token is not valid", challenge(', error="invalid_token"'));
    }
    ctx.log.error("cannot get the keys of an issuer", { error });
    return ctx.reject(503, "tokens cannot be checked now", { "retry-after": "1" });
  }
}

function asAdmin(issuer: string, { sub: id, roles = [] }: JWTPayload): Admin {
  // jose looks at whether there is one and not at what it is.
  const isId = typeof id === "string" && id !== "" && id.length <= MAX_ID_LENGTH;
  if (!isId || !Array.isArray(roles)) {
    throw new errors.JWTInvalid("not an administrator's");
  }
  // Half a surrogate pair could not be written into a header field.
  return { id: id.toWellFormed(), issuer, roles: roles.map((it) => String(it).toWellFormed()) };
}

function challenge(error = "") {
  return { "www-authenticate": `Bearer realm="three-services"${error}` };
}
