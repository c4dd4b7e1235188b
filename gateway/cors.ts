/**
 * CORS (Fetch standard §3.2) is the gateway's own: it answers preflights before routing and
 * plugins, and on actual responses its fields stand in place of what an upstream says about CORS.
 *
 * @module
 */

import { isToken } from "../protocol/mutation_rules.ts";
import type { HeaderMap } from "../protocol/snapshot.ts";
import type { CorsConfig } from "./config.ts";
import { newHeaderMap } from "./headers.ts";

export interface CorsPolicy {
  /**
   * The answer to a CORS preflight; `null` where the request is none, or is the upstream's to
   * answer.
   */
  preflight(request: { readonly method: string; readonly headers: Headers }): Response | null;
  /**
   * A copy of the response fields, with the upstream's `access-control-*` replaced by the gateway's,
   * and `Vary` extended.
   */
  apply(headers: HeaderMap, origin: string | null): Record<string, string | readonly string[]>;
}

const PASSTHROUGH: CorsPolicy = {
  preflight: () => null,
  apply: (headers) => Object.assign(newHeaderMap(), headers),
};

/**
 * @param config `"passthrough"`: the gateway stays out of it, and OPTIONS goes upstream
 * @throws {TypeError} for `*` with credentials, which would let every site act for the user
 */
export function corsPolicy(config: CorsConfig | "passthrough"): CorsPolicy {
  if (config === "passthrough") return PASSTHROUGH;
  const anyOrigin = config.allowedOrigins.includes("*");
  if (anyOrigin && config.allowCredentials) {
    throw new TypeError('cors.allowedOrigins "*" cannot be combined with allowCredentials');
  }
  const isAllowed = originMatcher(config.allowedOrigins);
  // Where every origin gets the same answer, caches need not tell them apart.
  const dependsOnOrigin = !anyOrigin && config.allowedOrigins.length > 0;

  const grant = (origin: string | null): [string, string][] => {
    const allowed = anyOrigin ? "*" : origin !== null && isAllowed(origin) ? origin : null;
    if (allowed === null) return [];
    const fields: [string, string][] = [["access-control-allow-origin", allowed]];
    if (config.allowCredentials) fields.push(["access-control-allow-credentials", "true"]);
    return fields;
  };

  return {
    preflight({ method, headers }) {
      const origin = headers.get("origin");
      const askedMethod = headers.get("access-control-request-method");
      if (method !== "OPTIONS" || origin === null || askedMethod === null) return null;
      const vary: string[] = dependsOnOrigin ? ["Origin"] : [];
      const fields = new Headers(grant(origin));
      if (fields.has("access-control-allow-origin")) {
        const asked = headers.get("access-control-request-headers");
        setList(fields, "access-control-allow-methods", listed(config.allowedMethods, askedMethod));
        setList(fields, "access-control-allow-headers", listed(config.allowedHeaders, asked));
        fields.set("access-control-max-age", String(config.maxAgeSeconds));
        if (config.allowedMethods.includes("*")) vary.push("Access-Control-Request-Method");
        if (config.allowedHeaders.includes("*")) vary.push("Access-Control-Request-Headers");
      }
      setList(fields, "vary", vary);
      return new Response(null, { status: 204, headers: fields });
    },
    apply(headers, origin) {
      const map = newHeaderMap();
      for (const name in headers) {
        if (!name.startsWith("access-control-")) map[name] = headers[name] as string;
      }
      const fields = grant(origin);
      for (const [name, value] of fields) map[name] = value;
      if (fields.length > 0 && config.exposedHeaders.length > 0) {
        map["access-control-expose-headers"] = config.exposedHeaders.join(", ");
      }
      if (dependsOnOrigin) map["vary"] = withOrigin(map["vary"]);
      return map;
    },
  };
}

/**
 * Whole-string comparison with what browsers send. `null` (sandboxed frames, files) is nobody's
 * origin.
 */
function originMatcher(patterns: readonly string[]): (origin: string) => boolean {
  const exact = new Set(patterns.filter((pattern) => !pattern.includes("*") && pattern !== "null"));
  const wildcards = patterns.filter((pattern) => pattern.includes("://*.")).map((pattern) => {
    const [start = "", end = ""] = pattern.split("*", 2);
    return { start, end };
  });
  return (origin) =>
    exact.has(origin) ||
    wildcards.some(({ start, end }) =>
      origin.startsWith(start) && origin.endsWith(end) &&
      /^[a-z0-9_-]+$/.test(origin.slice(start.length, -end.length))
    );
}

/**
 * `*` is spelled out as what was asked: as a literal it would not cover credentials or
 * `authorization`.
 */
function listed(allowed: readonly string[], asked: string | null): readonly string[] {
  if (!allowed.includes("*")) return allowed;
  const names = asked?.split(",").map((name) => name.trim()) ?? [];
  return names.every(isToken) ? names : [];
}

function setList(headers: Headers, name: string, values: readonly string[]): void {
  if (values.length > 0) headers.set(name, values.join(", "));
}

function withOrigin(vary: string | readonly string[] | undefined): string {
  const names = vary === undefined ? [] : [vary].flat().flatMap((line) => line.split(","));
  const trimmed = names.map((name) => name.trim()).filter(Boolean);
  const covered = trimmed.some((name) => name === "*" || name.toLowerCase() === "origin");
  return (covered ? trimmed : [...trimmed, "Origin"]).join(", ");
}
