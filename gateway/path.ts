/**
 * The request target of a client: taken as it came, and in its one canonical form (docs/edge.md). Routing, plugins and the
 * upstream all see that form, so there is nothing left for them to read differently.
 *
 * @module
 */

import { canonicalPath as canonical, type CanonicalTarget, PathError } from "../protocol/path.ts";
import { EdgeError } from "./errors.ts";

/**
 * The target a client sent, taken from `Request.url` without the normalisation of `new URL`.
 *
 * `Deno.serve` builds that URL as scheme, Host field, raw target, so this is right only after
 * `parseHost` has accepted the Host field: `Host: a/b` moves the boundary.
 */
export function rawTarget(url: string): string {
  const authorityAt = url.indexOf("://") + 3;
  const length = url.slice(authorityAt).search(/[/?#]/);
  if (length < 0) return "/";
  const target = url.slice(authorityAt + length);
  // RFC 9110 §4.2.3: an empty path is the same as "/".
  return target.startsWith("/") ? target : `/${target}`;
}

/**
 * Whether this is `OPTIONS *` (RFC 9112 §3.2.4). `Deno.serve` shows `*` as `/*`, so a literal
 * `OPTIONS /*` counts too.
 *
 * @param target what `rawTarget` returned
 */
export function isAsteriskForm(method: string, target: string): boolean {
  return method === "OPTIONS" && target === "/*";
}

/** Canonicalises a raw target, see `protocol/path.ts`. @throws {EdgeError} `bad_request` */
export function canonicalPath(target: string): CanonicalTarget {
  try {
    return canonical(target);
  } catch (error) {
    throw error instanceof PathError ? badRequest(error.message) : error;
  }
}

/** The refusal of `hasEncodedSlash` on a route that does not keep encoded slashes. */
export function encodedSlashRefused(): EdgeError {
  return badRequest("path contains an encoded slash or backslash");
}

function badRequest(message: string): EdgeError {
  return new EdgeError("bad_request", message);
}
