/**
 * What a plugin may not set (docs/plugins.md). The plugin host asks here to tell an author early; the
 * gateway asks again, because it does not trust the host.
 *
 * @module
 */

/**
 * `upstream`: the request on its way to the upstream. `response`: the answer on its way to the
 * client.
 */
export type HeaderSide = "upstream" | "response";

const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** What the gateway itself makes of a request's identity, after all plugins. */
const SET_BY_GATEWAY: Readonly<Record<HeaderSide, ReadonlySet<string>>> = {
  upstream: new Set(["forwarded", "x-request-id", "x-real-ip", "traceparent", "tracestate"]),
  response: new Set(["forwarded", "x-request-id"]),
};

/** Whether `name` is a field name (RFC 9110 §5.1, §5.6.2 `token`). */
export function isToken(name: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name);
}

/**
 * Whether `value` is a field value (RFC 9110 §5.5): visible characters, bytes up to 0xFF, and
 * spaces and tabs between them. So there is no CR, LF, NUL or other control character, nothing
 * beyond one byte, no space at either end.
 */
export function isFieldValue(value: string): boolean {
  return /^[\t -~\x80-\xff]*$/.test(value) && !/^[\t ]|[\t ]$/.test(value);
}

/**
 * Why a plugin may not set, append or delete this field, or `null` where it may. `_` and `.` count
 * as `-`, since many servers cannot tell them apart once a field has become a variable.
 *
 * @param name a legal field name in any case
 * @param options.ownsCors the gateway answers for CORS itself, and would drop what a plugin says of it
 */
export function deniedHeader(
  name: string,
  side: HeaderSide,
  { ownsCors = false }: { readonly ownsCors?: boolean } = {},
): string | null {
  const plain = name.toLowerCase().replaceAll(/[_.]/g, "-");
  if (HOP_BY_HOP.has(plain) || plain.startsWith("proxy-")) {
    return `"${name}" belongs to one connection`;
  }
  if (plain === "content-length") return `"${name}" follows from the body`;
  if (plain === "host" && side === "upstream") return `"${name}" follows from the upstream`;
  if (SET_BY_GATEWAY[side].has(plain) || plain.startsWith("x-forwarded-")) {
    return `"${name}" is set by the gateway`;
  }
  if (ownsCors && side === "response" && plain.startsWith("access-control-")) {
    return `"${name}" follows from the configuration's "cors"`;
  }
  return null;
}

/**
 * Why a plugin may not answer with this status, or `null` where it may: 1xx is the gateway's own
 * affair.
 */
export function deniedStatus(status: number): string | null {
  return Number.isInteger(status) && status >= 200 && status <= 599
    ? null
    : `status ${status} is not an integer from 200 to 599`;
}
