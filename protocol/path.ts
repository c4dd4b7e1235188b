/**
 * The canonical form of a path, which routing, plugins and the upstream all see (docs/edge.md).
 *
 * One left-to-right pass decodes; nothing is decoded twice (`%252f` stays `%252f`). Paths are
 * case-sensitive.
 *
 * @module
 */

/** A path or query that has no canonical form. */
export class PathError extends Error {
  override readonly name = "PathError";
}

export interface CanonicalTarget {
  /** Starts with `/`; no dot segment, no `//`, no escaped unreserved character, upper-case hex. */
  readonly path: string;
  /** As the client sent it, without `?`. */
  readonly query: string;
  /** `%2F` or `%5C` is in `path`: only a route with `encodedSlashes: "keep"` may take it. */
  readonly hasEncodedSlash: boolean;
}

/**
 * The characters that stand for themselves in a path: RFC 3986 §3.3 `pchar` without escapes, and
 * `/`.
 */
const PLAIN = /^[A-Za-z0-9\-._~!$&'()*+,;=:@/]+$/;
const ESCAPE_OR_OTHER = /%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~!$&'()*+,;=:@/]/gu;
const UNRESERVED = /^[A-Za-z0-9\-._~]$/;
const ENCODED_SLASH = /%2F|%5C/;
/**
 * What a server behind us may still take for a dot segment: `..%2F` (one that decodes slashes) and
 * `..;x`, `..%3Bx` (one that drops path parameters, as Tomcat does). No honest path has either.
 */
const HIDDEN_DOT_SEGMENT = /(?:\/|%2F|%5C)\.{1,2}(?:$|;|\/|%3B|%2F|%5C)/;

/**
 * Canonicalises a raw target (RFC 3986 §6.2.2): escapes of unreserved characters decoded, hex
 * upper-cased, characters that may not stand in a path escaped (as UTF-8), repeated slashes
 * collapsed, dot segments resolved (never above `/`). The query stays as it is, but for characters
 * that cannot stand in a request line, which are escaped.
 *
 * @throws {PathError} for a malformed escape, a control character (also escaped), a
 * backslash, a fragment, a disguised dot segment
 */
export function canonicalPath(target: string): CanonicalTarget {
  const queryAt = target.indexOf("?");
  const rawPath = queryAt < 0 ? target : target.slice(0, queryAt);
  const query = queryAt < 0 ? "" : canonicalQuery(target.slice(queryAt + 1));
  if (!rawPath.startsWith("/")) throw new PathError("path does not start with a slash");
  if (PLAIN.test(rawPath) && !rawPath.includes("//") && !rawPath.includes("/.")) {
    return { path: rawPath, query, hasEncodedSlash: false };
  }

  const path = resolveSegments(rawPath.replace(ESCAPE_OR_OTHER, canonicalCharacter));
  if (HIDDEN_DOT_SEGMENT.test(path)) throw new PathError("path contains a disguised dot segment");
  return { path, query, hasEncodedSlash: ENCODED_SLASH.test(path) };
}

function canonicalCharacter(part: string): string {
  if (part === "%") throw new PathError("path contains a malformed percent escape");
  if (part === "\\") throw new PathError("path contains a backslash");
  if (part === "#") throw new PathError("target contains a fragment");
  const isEscape = part.startsWith("%");
  const character = isEscape ? String.fromCharCode(parseInt(part.slice(1), 16)) : part;
  // An escape is one byte of UTF-8: 0x80–0x9F there is no control character but part of one.
  if (/\p{Cc}/u.test(character) && (!isEscape || character < "\x80")) {
    throw new PathError("path contains a control character");
  }
  if (!isEscape) return encodeURIComponent(part.toWellFormed());
  return UNRESERVED.test(character) ? character : part.toUpperCase();
}

function resolveSegments(path: string): string {
  const kept: string[] = [];
  let segment = "";
  for (segment of path.split("/")) {
    if (segment === "..") kept.pop();
    else if (segment !== "" && segment !== ".") kept.push(segment);
  }
  const isFolder = segment === "" || segment === "." || segment === "..";
  return `/${kept.join("/")}${isFolder && kept.length > 0 ? "/" : ""}`;
}

function canonicalQuery(query: string): string {
  if (query.includes("#")) throw new PathError("target contains a fragment");
  if (/\p{Cc}/u.test(query)) throw new PathError("query contains a control character");
  return query.replace(/[^!-~]+/gu, (other) => encodeURIComponent(other.toWellFormed()));
}
