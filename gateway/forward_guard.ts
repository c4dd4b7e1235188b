/**
 * Judges where a plugin's `forward(url)` may go (docs/edge.md). Two questions: is the host allowed,
 * and is every address behind it public. The address that was judged is part of the answer, and the
 * connection goes there: a name that is looked up twice can give two answers (DNS rebinding).
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import ipaddr from "ipaddr.js";
import type { ForwardHost } from "./config.ts";
import { errorText } from "./errors.ts";
import { canonicalPath, rawTarget } from "./path.ts";
import { LATE, within } from "./waiting.ts";
import { type Origin, originText } from "./upstream/origin.ts";

export interface ForwardTarget extends Origin {
  /** The address that was judged, to connect to; without brackets. */
  readonly address: string;
  /** Canonical; encoded slashes are kept, since the plugin wrote them. */
  readonly path: string;
  /** Without `?`. */
  readonly query: string;
}

export type ForwardVerdict =
  | { readonly ok: true; readonly target: ForwardTarget }
  | { readonly ok: false; readonly reason: string };

/** Gives every address of a name; rejects where there is none. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

const DEFAULT_PORT = { "http:": 80, "https:": 443 } as const;
const RESOLVE_TIMEOUT_MS = 2000;
const GLOBAL_UNICAST = ipaddr.IPv6.parse("2000::");

/** Of one configuration. */
export interface ForwardRules {
  readonly allowedHosts: readonly ForwardHost[];
  /** The origins of all routes: allowed at any address, since the operator wrote them down. */
  readonly upstreams: readonly Origin[];
  readonly blockPrivateNetworks: boolean;
  /** The system's resolver unless given. */
  readonly resolve?: Resolve;
  /** 2000 unless given. */
  readonly resolveTimeoutMs?: number;
}

/** It keeps nothing between checks. */
export class ForwardGuard {
  readonly #rules: ForwardRules;
  readonly #upstreams: ReadonlySet<string>;

  constructor(rules: ForwardRules) {
    this.#rules = rules;
    this.#upstreams = new Set(rules.upstreams.map(originText));
  }

  /**
   * Never rejects. `reason` is for the log; it names addresses, which no client may see.
   *
   * @param url absolute, as the plugin gave it
   */
  async check(url: string): Promise<ForwardVerdict> {
    try {
      const target = parseTarget(url);
      const { hostname } = target;
      // Before the look-up: a plugin must not be able to carry data out in DNS queries.
      const mustBePublic = this.#mustBePublic(target);
      const addresses = await this.#addresses(hostname);
      const refused = mustBePublic ? addresses.find((one) => !isPublicAddress(one)) : undefined;
      if (refused !== undefined) {
        throw new Error(`address "${refused}" of host "${hostname}" is not public`);
      }
      // IPv4 first: a machine without a route for IPv6 gets AAAA answers all the same.
      const address = addresses.find((one) => !one.includes(":")) ?? addresses[0];
      if (!address) throw new Error(`host "${hostname}" has no address`);
      return { ok: true, target: { ...target, address } };
    } catch (error) {
      return { ok: false, reason: errorText(error) };
    }
  }

  /** Throws where the host is not allowed at all. */
  #mustBePublic(origin: Origin): boolean {
    if (this.#upstreams.has(originText(origin))) return false;
    const entries = this.#rules.allowedHosts.filter((entry) => isAllowedBy(entry, origin));
    if (entries.length === 0) {
      throw new Error(`origin "${originText(origin)}" is not in forward.allowedHosts`);
    }
    return this.#rules.blockPrivateNetworks && !entries.some((entry) => entry.allowPrivate);
  }

  async #addresses(hostname: string): Promise<readonly string[]> {
    const literal = hostname.replace(/^\[|\]$/g, "");
    if (ipaddr.isValid(literal)) return [literal];
    const { resolve = systemResolve, resolveTimeoutMs = RESOLVE_TIMEOUT_MS } = this.#rules;
    try {
      const addresses = await within(resolveTimeoutMs, resolve(hostname));
      if (addresses === LATE) throw new Error(`no answer in ${resolveTimeoutMs} ms`);
      return addresses;
    } catch (error) {
      throw new Error(`cannot resolve host "${hostname}": ${errorText(error)}`);
    }
  }
}

/**
 * Whether an address is ordinary, globally reachable unicast. IPv4: in no range of the IANA
 * special-purpose registry, nor multicast. IPv6: in 2000::/3, the only unicast space in use (RFC
 * 4291 §2.4), and in no special range of it. So IPv4 within IPv6 (mapped, compatible, NAT64, 6to4,
 * Teredo, ISATAP) is never public, whatever address it carries.
 */
export function isPublicAddress(text: string): boolean {
  // ipaddr.js reads 2130706433 and 0177.1 as IPv4; connect() may read them differently.
  if (!text.includes(":") && !ipaddr.IPv4.isValidFourPartDecimal(text)) return false;
  if (!ipaddr.isValid(text)) return false;
  const address = ipaddr.parse(text);
  // "unicast" is also what ipaddr.js calls all it has no range for, such as ::7f00:1 and
  // 100:0:0:1::.
  return address.range() === "unicast" &&
    (address instanceof ipaddr.IPv4 || (address.match(GLOBAL_UNICAST, 3) && !isIsatap(address)));
}

/** RFC 5214 §6.1: an interface identifier of `0:5efe` or `200:5efe` and an IPv4 address, under whatever prefix. */
function isIsatap({ parts: [, , , , flags = 0, mark] }: ipaddr.IPv6): boolean {
  return (flags & ~0x200) === 0 && mark === 0x5efe;
}

/**
 * Takes a URL apart. Up to the path it must be written just as the parser reads it: `http:\\host`,
 * `http://0177.1`, `http://ok@host` and tabs in between live from two readers that differ.
 */
function parseTarget(url: string): Omit<ForwardTarget, "address"> {
  if (/[\p{Cc} \\]/u.test(url)) {
    throw new Error("URL contains a control character, a space or a backslash");
  }
  const parsed = URL.parse(url);
  if (!parsed) throw new Error("URL is not absolute, or not valid");
  const { protocol, hostname } = parsed;
  if (protocol !== "http:" && protocol !== "https:") {
    throw new Error(`scheme "${protocol}" is not http or https`);
  }
  const written = `${protocol}//${hostname}`;
  const isAsWritten = url.slice(0, written.length).toLowerCase() === written &&
    /^(?:[:/?#]|$)/.test(url.slice(written.length));
  if (!isAsWritten) {
    throw new Error(`host "${hostname}" is not written plainly, or has credentials before it`);
  }
  const { path, query } = canonicalPath(rawTarget(url));
  return { protocol, hostname, port: Number(parsed.port || DEFAULT_PORT[protocol]), path, query };
}

function isAllowedBy(entry: ForwardHost, { protocol, hostname, port }: Origin): boolean {
  if (port !== (entry.port ?? DEFAULT_PORT[protocol])) return false;
  if (!entry.host.startsWith("*.")) return hostname === entry.host;
  const dot = hostname.indexOf(".");
  return dot > 0 && hostname.slice(dot) === entry.host.slice(1);
}

/**
 * getaddrinfo, as for every other program on the machine: `Deno.resolveDns` does not read
 * /etc/hosts.
 */
async function systemResolve(hostname: string): Promise<readonly string[]> {
  const answers = await lookup(hostname, { all: true });
  return answers.map((answer) => answer.address);
}
