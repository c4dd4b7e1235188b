/**
 * The notations inside the configuration's strings: path patterns, methods, names of fields, plugins and variables. Each parser takes the
 * text and returns what it means, or throws `InvalidValue`.
 *
 * @module
 */

import { isToken } from "../protocol/mutation_rules.ts";
import { EdgeError } from "./errors.ts";
import { canonicalPath } from "./path.ts";

/** The message continues a sentence that starts with the value; `write` is the corrected value. */
export class InvalidValue extends Error {
  override readonly name = "InvalidValue";
  readonly write: string | undefined;

  constructor(message: string, write?: string) {
    super(message);
    this.write = write;
  }
}

/** An exact path, or a prefix that ends in `/*`, spelled as requests are (`path.ts`), since another spelling would never match. */
export function parsePathPattern(text: string): string {
  const path = text.endsWith("/*") ? text.slice(0, -1) : text;
  if (!path.startsWith("/")) throw new InvalidValue("does not start with /", `/${text}`);
  if (path.includes("*")) throw new InvalidValue('has a * other than in a final "/*"');
  if (path.includes("?")) throw new InvalidValue("has a query, which is not matched");
  const canonical = canonicalForm(path);
  if (canonical !== path) {
    const write = path === text ? canonical : `${canonical}*`;
    throw new InvalidValue("is not in canonical form and would never match", write);
  }
  return text;
}

function canonicalForm(path: string): string {
  try {
    return canonicalPath(path).path;
  } catch (error) {
    if (!(error instanceof EdgeError)) throw error;
    throw new InvalidValue(`would never match: ${error.message}`);
  }
}

export function parseMethod(text: string): string {
  if (!isToken(text)) throw new InvalidValue("is not an HTTP method");
  if (text !== text.toUpperCase()) {
    throw new InvalidValue("is not in upper case", text.toUpperCase());
  }
  if (text === "CONNECT" || text === "TRACE") {
    throw new InvalidValue("is refused by the gateway for every route; leave it out");
  }
  return text;
}

export function parseToken(text: string): string {
  if (!isToken(text)) throw new InvalidValue("is not a name that HTTP allows (RFC 9110, 5.6.2)");
  return text;
}

/** In lower case. */
export function parseHeaderName(text: string): string {
  return parseToken(text).toLowerCase();
}

/** A header name, or the start of one and a `*`. */
export function parseHeaderPattern(text: string): string {
  const start = text.replace(/\*$/, "");
  if (!isToken(start) || start.includes("*")) {
    throw new InvalidValue('is not a header name or the start of one and a *, like "x-gateway-*"');
  }
  return text.toLowerCase();
}

/** A plugin's name is its file's name without the extension. */
export function parsePluginName(text: string): string {
  const bare = text.replace(/\.(?:ts|mts|js|mjs)$/, "");
  if (bare === "" || /[/\\\0]/.test(text)) throw new InvalidValue("is not a plugin name");
  if (bare !== text) throw new InvalidValue("has a file extension", bare);
  return text;
}

export function parseVariableName(text: string): string {
  if (!/^[A-Za-z_]\w*$/.test(text)) throw new InvalidValue("is not a name of a variable");
  return text;
}

export function parseFilePath(text: string): string {
  if (text === "" || text.includes("\0")) throw new InvalidValue("is not a path");
  return text;
}

/** A bearer token (RFC 6750, 2.1), such as Upstash gives out. */
export function parseSecretToken(text: string): string {
  if (!/^[\w.~+/=-]+$/.test(text)) {
    throw new InvalidValue("is not a token; it has letters, digits and -._~+/= only");
  }
  return text;
}
