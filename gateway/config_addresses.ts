/**
 * The addresses inside the configuration's strings: where to listen, hosts, origins, networks, stores. Each parser takes the text and returns
 * what it means, or throws `InvalidValue`.
 *
 * @module
 */

import { dirname, resolve } from "@std/path";
import ipaddr from "ipaddr.js";
import { InvalidValue } from "./config_values.ts";
import { UNIX_PEERS } from "./identity.ts";
import type { Origin } from "./upstream/origin.ts";

/** Where to listen. `hostname` has no brackets; `path` is absolute once the configuration is loaded. */
export type ListenAddress =
  | { readonly kind: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/**
 * An entry of `forward.allowedHosts`. `host` is in lower case, may start with `*.` (exactly one label), or is an address (IPv6 in brackets); a
 * null `port` is the default one of the URL's scheme.
 */
export interface ForwardHost {
  readonly host: string;
  readonly port: number | null;
  readonly allowPrivate: boolean;
}

/** Also with `_`, as names of containers have it. */
const NAME = /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?$/i;

/** What `URL` takes for an IPv4 address, in any of its spellings. */
const NUMERIC_END = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/i;
const IPV6 = /^\[[0-9a-f:.]+\]$/i;

function isHost(text: string): boolean {
  if (IPV6.test(text)) return ipaddr.IPv6.isValid(text.slice(1, -1));
  if (NUMERIC_END.test(text)) return ipaddr.IPv4.isValidFourPartDecimal(text);
  return text.length <= 253 && text.split(".").every((it) => it.length <= 63 && NAME.test(it));
}

interface HostPort {
  readonly host: string;
  readonly port: number | null;
}

/** Splits `host:port` and `host`; undefined if either half is wrong. An IPv6 address needs brackets. */
function parseHostPort(text: string): HostPort | undefined {
  const [, host = "", digits] = /^(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(text) ?? [];
  const port = digits === undefined ? null : Number(digits);
  const url = `http://${host}`;
  if (!isHost(host) || !URL.canParse(url) || (port !== null && port > 65535)) return undefined;
  return { host: new URL(url).hostname, port };
}

/** The same with a leading `*.`, which an address cannot have. */
function parseHostPortPattern(text: string): HostPort | undefined {
  if (!text.startsWith("*.")) return parseHostPort(text);
  const parsed = parseHostPort(text.slice(2));
  if (!parsed || IPV6.test(parsed.host) || NUMERIC_END.test(parsed.host)) return undefined;
  return { ...parsed, host: `*.${parsed.host}` };
}

/**
 * `:8080` is every IPv4 address (as in `Deno.serve`); `[::]:8080` is every IPv6 address and, on a Linux with the usual
 * `bindv6only=0`, every IPv4 address too, whose clients then look like `::ffff:192.0.2.1`. Port 0 lets the system choose.
 */
export function parseListen(text: string): ListenAddress {
  if (text.startsWith("unix:") && text.length > 5 && !text.includes("\0")) {
    return { kind: "unix", path: text.slice(5) };
  }
  const address = parseHostPort(text.startsWith(":") ? `0.0.0.0${text}` : text);
  if (!address || address.port === null) {
    throw new InvalidValue(
      'is not an address; use ":8080", "127.0.0.1:8080", "[::1]:8080" or "unix:/path"',
    );
  }
  return { kind: "tcp", hostname: address.host.replace(/^\[|\]$/g, ""), port: address.port };
}

/** A socket's path is relative to the folder of the configuration's `file`. */
export function located(address: ListenAddress, file: string): ListenAddress {
  return address.kind === "unix"
    ? { kind: "unix", path: resolve(dirname(file), address.path) }
    : address;
}

/** An http or https origin without a path; `hostname` is as `URL` has it (lower-case, IPv6 in brackets). */
export function parseUpstream(text: string): Origin {
  const [, scheme] = /^(https?):\/\/[^/\\\s]/i.exec(text) ?? [];
  if (scheme === undefined || !URL.canParse(text)) {
    throw new InvalidValue("is not an http or https URL");
  }
  const url = new URL(text);
  if (url.username || url.password) {
    throw new InvalidValue("has credentials, which are never sent; let a plugin set a header");
  }
  if (url.pathname !== "/") {
    throw new InvalidValue("has a path, and only an origin is meant", url.origin);
  }
  if (/[?#]/.test(text)) throw new InvalidValue("has a query or a fragment", url.origin);
  // Also because the name becomes part of the host process's --allow-net, where a comma separates.
  if (!isHost(url.hostname)) throw new InvalidValue("is not a URL with a host name or address");
  if (url.port === "0") throw new InvalidValue("has port 0, which nothing can listen on");
  const protocol = url.protocol === "https:" ? "https:" : "http:";
  const port = Number(url.port) || (protocol === "https:" ? 443 : 80);
  return { protocol, hostname: url.hostname, port };
}

/** One name or address, without port. */
export function parseHostName(text: string): string {
  const name = parseHostPattern(text);
  if (name.startsWith("*")) throw new InvalidValue("stands for many names; name each one");
  return name;
}

/** A host of a route: a name or an address without port; a leading `*.` stands for one label. */
export function parseHostPattern(text: string): string {
  const parsed = parseHostPortPattern(text);
  if (!parsed) {
    throw new InvalidValue('is not a host name; use "api.example.com" or "*.example.com"');
  }
  if (parsed.port !== null) {
    throw new InvalidValue("has a port, which is not compared", parsed.host);
  }
  return parsed.host;
}

export function parseForwardHost(text: string): Omit<ForwardHost, "allowPrivate"> {
  const parsed = parseHostPortPattern(text);
  if (!parsed || parsed.port === 0) {
    throw new InvalidValue('is not a host; use "api.example.com", "*.example.com" or "host:8443"');
  }
  return parsed;
}

/** One entry of the host process's `--allow-net`. */
export function parseNetHost(text: string): string {
  const parsed = parseHostPort(text);
  if (!parsed || parsed.port === 0) {
    throw new InvalidValue('is not a host; use "api.example.com" or "api.example.com:443"');
  }
  return parsed.port === null ? parsed.host : `${parsed.host}:${parsed.port}`;
}

/** A CIDR (RFC 4632) or `unix:`. Bits beyond the prefix are refused: which of the two was meant is not ours to guess. */
export function parseProxy(text: string): string {
  if (text === UNIX_PEERS) return text;
  const [address = "", bits] = text.split("/");
  const isV4 = ipaddr.IPv4.isValidFourPartDecimal(address);
  if (!isV4 && !ipaddr.IPv6.isValid(address)) {
    throw new InvalidValue('is not a CIDR; use "10.0.0.0/8", "fd00::/8" or "unix:"');
  }
  if (bits === undefined) {
    throw new InvalidValue("has no prefix length", `${text}/${isV4 ? 32 : 128}`);
  }
  if (!ipaddr.isValidCIDR(text) || !/^\d+$/.test(bits)) {
    throw new InvalidValue(`has no prefix length from 0 to ${isV4 ? 32 : 128}`);
  }
  const kind = isV4 ? ipaddr.IPv4 : ipaddr.IPv6;
  const network = kind.networkAddressFromCIDR(text).toString();
  if (network !== ipaddr.parse(address).toString()) {
    throw new InvalidValue("has bits set beyond its prefix", `${network}/${bits}`);
  }
  return text;
}

/** `*`, an origin as browsers send it (RFC 6454, 6.2), or `https://*.example.com` for any one label. */
export function parseCorsOrigin(text: string): string {
  if (text === "*") return text;
  const [, scheme = "", wildcard = "", host = ""] =
    /^([a-z][a-z0-9+.-]*):\/\/(\*\.)?(.*)$/.exec(text) ?? [];
  const isWeb = scheme === "http" || scheme === "https";
  const plain = `${scheme}://${host}`;
  if (/^\/|^$|[\s?#@*\\]/.test(host) || !URL.canParse(plain)) {
    throw new InvalidValue(
      'is not an origin; use "https://app.example.com", "https://*.example.com" or "*"',
    );
  }
  const origin = isWeb ? new URL(plain).origin : plain.replace(/(:\/\/[^/]*)\/.*$/, "$1");
  if (origin !== plain) {
    const write = origin.replace("://", `://${wildcard}`);
    throw new InvalidValue("is not an origin as browsers send it", write);
  }
  return text;
}

/** `redis://[user:password@]host[:port][/database]`, or `rediss` for TLS. */
export function parseRedisUrl(text: string): string {
  const url = parseStoreUrl(text, ["redis:", "rediss:"]);
  if (!url || !/^\/?\d*$/.test(url.pathname)) {
    throw new InvalidValue(
      'is not a redis or rediss URL; use "redis://user:password@host:6379/0" (a password with percent-encoding)',
    );
  }
  return url.href;
}

/** Without a user: the token goes into a header. */
export function parseUpstashUrl(text: string): string {
  const url = parseStoreUrl(text, ["http:", "https:"]);
  if (!url || url.username || url.password) {
    throw new InvalidValue('is not an http or https URL; use "https://name.upstash.io"');
  }
  return url.href;
}

function parseStoreUrl(text: string, protocols: readonly string[]): URL | undefined {
  const url = URL.parse(text);
  if (!url || !protocols.includes(url.protocol) || !url.hostname || url.port === "0") return;
  if (/[\s?#]/.test(text) || [url.username, url.password].some(isMisencoded)) return;
  return url;
}

function isMisencoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return false;
  } catch {
    return true;
  }
}
