/**
 * Who a request comes from and what it is called: the fields the gateway sets after all plugins
 * (docs/edge.md), and which proxies it believes.
 *
 * @module
 */

import ipaddr from "ipaddr.js";
import { plainName } from "../protocol/headers.ts";
import type { HeaderMap } from "../protocol/snapshot.ts";
import { type NameMatcher, newHeaderMap } from "./headers.ts";

/** Says whether an address belongs to a trusted proxy; `""` is whoever connects to a Unix socket. */
export type AddressMatcher = (address: string) => boolean;

/** `traceparent`, and the `tracestate` that came with it where it is continued. */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate?: string;
}

/** In `trustedProxies`: whoever can connect to the Unix socket of `listen`. */
export const UNIX_PEERS = "unix:";

/**
 * Compiles `trustedProxies`. An IPv4 peer matches in both its forms, `10.0.0.1` and
 * `::ffff:10.0.0.1`.
 *
 * @throws {Error} for an entry that is neither a CIDR nor `UNIX_PEERS`
 */
export function trustedProxyMatcher(proxies: readonly string[]): AddressMatcher {
  const trustsUnix = proxies.includes(UNIX_PEERS);
  const ranges = proxies.filter((each) => each !== UNIX_PEERS).map(parseRange);
  return (text) => {
    if (text === "") return trustsUnix;
    if (ranges.length === 0) return false;
    const address = parseAddress(text);
    return address !== undefined &&
      ranges.some(([range, bits]) => range.kind() === address.kind() && address.match(range, bits));
  };
}

/**
 * The address behind the trusted proxies: the right-most hop of X-Forwarded-For that is none of
 * them. Everything left of it was written by somebody we do not know. A hop that is no address ends
 * the walk.
 *
 * @param peer the address at the other end of the connection
 */
export function clientAddress(
  peer: string,
  options: { readonly forwardedFor: string | null; readonly isTrusted: AddressMatcher },
): string {
  let client = canonicalPeer(peer) ?? peer;
  const hops = options.forwardedFor?.split(",") ?? [];
  while (options.isTrusted(client)) {
    const hop = parseAddress(withoutPort(hops.pop()?.trim() ?? ""));
    if (!hop) break;
    client = hop.toString();
  }
  return client;
}

/**
 * The fields to set on the upstream request once all plugins have run. A trusted peer's
 * X-Forwarded-* and Forwarded are kept but for those that `strip` matches, its X-Forwarded-For is
 * extended; of anybody else's nothing is taken over. Its X-Real-IP counts only where it sends no
 * X-Forwarded-For, from which the client's address follows: Caddy and HAProxy write the one, and
 * pass on what their client says in the other.
 *
 * @param from `peer` and `client` as for `clientAddress` (`""` on a Unix socket: no address fields
 * then); `host` and `port` as the client asked for them; `trusted` is what the matcher says of
 * `peer`
 */
export function forwardedHeaders(from: {
  readonly peer: string;
  readonly client: string;
  readonly host: string;
  readonly proto: "http" | "https";
  readonly port: number;
  readonly inbound: Headers;
  readonly trusted: boolean;
  readonly strip: NameMatcher;
  readonly requestId: string;
  readonly trace: TraceContext;
}): HeaderMap {
  const map = newHeaderMap();
  map["x-forwarded-proto"] = from.proto;
  map["x-forwarded-host"] = from.host;
  if (from.client) map["x-real-ip"] = from.client;
  if (from.trusted) {
    const hasChain = from.inbound.has("x-forwarded-for");
    for (const [name, value] of from.inbound) {
      const isKept = name.startsWith("x-forwarded-") || name === "forwarded" ||
        (name === "x-real-ip" && !hasChain);
      if (isKept && !from.strip(plainName(name))) map[name] = value;
    }
  }
  map["x-forwarded-port"] ??= from.trusted ? portOf(map, from.port) : String(from.port);
  const peer = canonicalPeer(from.peer);
  const hops = [map["x-forwarded-for"], peer].filter(Boolean);
  if (hops.length > 0) map["x-forwarded-for"] = hops.join(", ");
  map["x-request-id"] = from.requestId;
  map["traceparent"] = from.trace.traceparent;
  if (from.trace.tracestate) map["tracestate"] = from.trace.tracestate;
  return map;
}

/** The port that belongs to what a trusted proxy says of scheme and host: beside `https` ours would be wrong. */
function portOf(forwarded: HeaderMap, own: number): string {
  const first = (name: string) => String(forwarded[name]).split(",", 1)[0]?.trim() ?? "";
  const [, port] = /:([0-9]{1,5})$/.exec(first("x-forwarded-host")) ?? [];
  if (port) return port;
  const scheme = first("x-forwarded-proto").toLowerCase();
  return scheme === "https" ? "443" : scheme === "http" ? "80" : String(own);
}

/** The client's `x-request-id` where it is 1–128 of `A–Z a–z 0–9 . _ -`, else a new UUID. */
export function requestId(inbound: Headers): string {
  const given = inbound.get("x-request-id");
  return given !== null && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : crypto.randomUUID();
}

/**
 * The trace of a request (W3C Trace Context §3.2). A valid version 00 `traceparent` goes on
 * unchanged, parent-id too: where we record no span, the upstream's parent is the caller's. Anything
 * else starts a new trace, without the caller's `tracestate` (§3.3). It is marked as sampled: an
 * upstream that follows its parent would otherwise never sample.
 *
 * @param own what names our span, which has continued the caller's trace or begun a new one by the same rules
 */
export function traceContext(inbound: Headers, own?: string): TraceContext {
  const given = inbound.get("traceparent");
  if (given !== null && isTraceparent(given)) {
    const tracestate = inbound.get("tracestate");
    const traceparent = own ?? given;
    return tracestate === null ? { traceparent } : { traceparent, tracestate };
  }
  if (own !== undefined) return { traceparent: own };
  const id = randomHex(24);
  return { traceparent: `00-${id.slice(0, 32)}-${id.slice(32)}-01` };
}

const RANDOM_BYTES = 24 * 128;
const random = new Uint8Array(RANDOM_BYTES);
let randomUsed = RANDOM_BYTES;

/** Asking the system for a few bytes at a time costs more than all else that is done with them. */
function randomHex(bytes: number): string {
  if (randomUsed + bytes > RANDOM_BYTES) {
    crypto.getRandomValues(random);
    randomUsed = 0;
  }
  randomUsed += bytes;
  return random.subarray(randomUsed - bytes, randomUsed).toHex();
}

function isTraceparent(value: string): boolean {
  return /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(value) &&
    !/^00-(?:0{32}|.{32}-0{16})-/.test(value);
}

/** Peers that were seen lately: a connection brings many requests, and reading an address costs as much as routing. */
const peers = new Map<string, string | undefined>();
const MAX_PEERS = 4096;

/** The one written form of a peer's address, `undefined` for what is none. */
function canonicalPeer(peer: string): string | undefined {
  if (!peers.has(peer)) {
    if (peers.size >= MAX_PEERS) peers.clear();
    peers.set(peer, parseAddress(peer)?.toString());
  }
  return peers.get(peer);
}

/** `undefined` for what is no address. IPv4 in IPv6 becomes IPv4. */
function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  // Only four-part decimal: ipaddr.js would also read "1" and "0177.1" as IPv4.
  if (!text.includes(":") && !ipaddr.IPv4.isValidFourPartDecimal(text)) return undefined;
  return ipaddr.isValid(text) ? ipaddr.process(text) : undefined;
}

function parseRange(cidr: string): readonly [ipaddr.IPv4 | ipaddr.IPv6, number] {
  const [address, bits] = ipaddr.parseCIDR(cidr);
  // Peers are compared as IPv4 where they are IPv4, so ::ffff:10.0.0.0/104 must become 10.0.0.0/8.
  return address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() && bits >= 96
    ? [address.toIPv4Address(), bits - 96]
    : [address, bits];
}

/** `1.2.3.4:567` and `[::1]:567` occur in X-Forwarded-For. */
function withoutPort(hop: string): string {
  if (hop.startsWith("[")) return hop.slice(1).split("]", 1)[0] ?? "";
  // More than one colon is IPv6, also `::ffff:1.2.3.4`.
  return hop.indexOf(":") === hop.lastIndexOf(":") ? hop.split(":", 1)[0] ?? "" : hop;
}
