/**
 * The Host of a request: one anchored form, or 400 (RFC 9112 §3.2).
 *
 * @module
 */

import { EdgeError } from "./errors.ts";

export interface RequestHost {
  /** Lower-case, with the port where the client gave one: for `x-forwarded-host` and logs. */
  readonly host: string;
  /** Lower-case, without port; an IPv6 address stands in brackets. */
  readonly hostname: string;
  readonly port: number | undefined;
}

/**
 * Labels, or an IPv6 literal, with an optional root dot and port. Unambiguous, so it takes linear
 * time.
 */
const HOST = /^(?:([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?|(\[[0-9a-f:.]+\]))(?::([0-9]{1,5}))?$/;
const MAX_HOST_LENGTH = 255 + ":65535".length;

/**
 * Reads the Host field and holds it against `Request.url`, whose authority differs only where the
 * client sent an absolute-form target. RFC 9112 §3.2.2 lets that target win; a gateway that picks
 * one of two is the gateway others disagree with, so a difference is refused. The root dot of
 * `example.com.` is dropped, and an IPv6 address is written in one way: each is the same host.
 *
 * Narrower than RFC 3986 `reg-name`: no escapes and no sub-delims, which no DNS name has.
 *
 * @param header the Host field, `null` where there is none (also refused for HTTP/1.0: nothing
 * could be routed by it)
 * @param url `Request.url`
 * @throws {EdgeError} `bad_request`
 */
export function parseHost(header: string | null, url: string): RequestHost {
  if (header === null) throw badRequest("Host header is missing");
  const value = header.toLowerCase();
  const host = seen.get(value) ?? remember(value, parseField(value));
  const schemeEnd = url.indexOf("://");
  const scheme = url.slice(0, Math.max(0, schemeEnd)).toLowerCase();
  // On a Unix socket Deno.serve writes `http+unix`. TLS ends in front of us: nobody means https
  // here (RFC 9110 §7.4).
  if (scheme !== "http" && scheme !== "http+unix") {
    throw badRequest("target has a scheme that is not served here");
  }
  const authorityEnd = schemeEnd + 3 + value.length;
  const authority = url.slice(schemeEnd + 3, authorityEnd).toLowerCase();
  if (
    authority !== value || !["", "/", "?", "#"].includes(url.slice(authorityEnd, authorityEnd + 1))
  ) {
    throw badRequest("target and Host header name different hosts");
  }
  return host;
}

/** Fields that came lately, and what they say: clients ask for the same few hosts again and again. */
const seen = new Map<string, RequestHost>();
const MAX_SEEN = 256;

function remember(field: string, host: RequestHost): RequestHost {
  if (seen.size >= MAX_SEEN) seen.clear();
  seen.set(field, host);
  return host;
}

/** @param value in lower case */
function parseField(value: string): RequestHost {
  const match = value.length <= MAX_HOST_LENGTH ? HOST.exec(value) : null;
  const name = match?.[1] ?? match?.[2];
  if (!match || !name) throw badRequest("Host header is not valid");
  const hostname = name.startsWith("[") ? URL.parse(`http://${name}`)?.hostname : name;
  if (!hostname) throw badRequest("Host header is not valid");
  const port = match[3] === undefined ? undefined : Number(match[3]);
  if (port !== undefined && (port < 1 || port > 65535)) {
    throw badRequest("Host header is not valid");
  }
  return { host: port === undefined ? hostname : `${hostname}:${port}`, hostname, port };
}

function badRequest(message: string): EdgeError {
  return new EdgeError("bad_request", message);
}
