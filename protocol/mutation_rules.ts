/**
 * What a plugin may not set (docs/plugins.md). The plugin host asks here to tell an author early; the
 * gateway asks again, because it does not trust the host.
 *
 * @module
 */

import { plainName, valueList } from "./headers.ts";
import type { Patch } from "./patch.ts";
import { canonicalPath } from "./path.ts";
import type { HeaderChange } from "./snapshot.ts";

/** A part of a patch that was refused; the rest of the patch stands. */
export interface Denial {
  /** `response header "content-length"`, `upstream path`, … */
  readonly what: string;
  readonly reason: string;
}

/**
 * `upstream`: the request on its way to the upstream. `response`: the answer on its way to the
 * client.
 */
export type HeaderSide = "upstream" | "response";

/** One connection's own affair (RFC 9110 §7.6.1), beside all that begins with `proxy-`. */
const CONNECTION_FIELDS = new Set([
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

/** With `proxy`, which CGI turns into `HTTP_PROXY` (httpoxy). */
const HOP_BY_HOP = new Set([
  ...CONNECTION_FIELDS,
  "proxy",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "proxy-connection",
]);

/** What the gateway makes itself for the upstream: the framing, the target, and who asks. */
const MADE_BY_GATEWAY = new Set([
  ...SET_BY_GATEWAY.upstream,
  "content-length",
  "expect",
  "host",
]);

/** Whether a client's field is shown to no plugin and goes no further, whatever the configuration says. @param plain from `plainName` */
export function isDroppedFromClients(plain: string): boolean {
  return HOP_BY_HOP.has(plain) || MADE_BY_GATEWAY.has(plain) || plain.startsWith("x-forwarded-");
}

/** Whether an upstream's field goes no further: `content-length` follows from the body that is written in the end. @param name in lower case */
export function isDroppedFromAnswers(name: string): boolean {
  return HOP_BY_HOP.has(name) || name === "content-length";
}

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
 * Why a plugin may not set, append or delete this field, or `null` where it may. Aliases
 * (`plainName`) count.
 *
 * @param name a legal field name in any case
 * @param options.ownsCors the gateway answers for CORS itself, and would drop what a plugin says of it
 */
export function deniedHeader(
  name: string,
  side: HeaderSide,
  { ownsCors = false }: { readonly ownsCors?: boolean } = {},
): string | null {
  const plain = plainName(name);
  if (CONNECTION_FIELDS.has(plain) || plain.startsWith("proxy-")) {
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

/** Where a plugin's proposals are judged, and the list that refusals go to. */
export interface Judge {
  /** The gateway answers for CORS itself (`cors` is not `"passthrough"`). */
  readonly ownsCors: boolean;
  readonly denials: Denial[];
}

/** The part of a hook's patch that may stand. */
export function permittedPatch(patch: Patch, judge: Judge): Patch {
  const { upstream, response } = patch;
  const { denials } = judge;
  return {
    ...patch,
    ...(upstream && {
      upstream: {
        ...upstream,
        ...judgePath(upstream.path, denials),
        ...judgeQuery(upstream.query, denials),
        ...(upstream.headers && {
          headers: permittedHeaders(upstream.headers, "upstream", judge),
        }),
      },
    }),
    ...(response && {
      response: {
        ...response,
        ...judgeStatus(response.status, denials),
        ...(response.headers && {
          headers: permittedHeaders(response.headers, "response", judge),
        }),
      },
    }),
  };
}

/**
 * The part of these header changes that may stand. Where a value cannot be sent in place of what the client sent, the field goes
 * upstream without any: the client's own must not arrive as if the plugin had said it.
 */
export function permittedHeaders<C extends HeaderChange | null>(
  headers: { readonly [name: string]: C },
  side: HeaderSide,
  judge: Judge,
): { readonly [name: string]: C } {
  const names = Object.keys(headers);
  const denied = new Set<string>();
  const at = { side, ownsCors: judge.ownsCors };
  for (const name of names) {
    const reason = deniedChange(name, headers[name] as C, at);
    if (reason === null) continue;
    denied.add(name);
    judge.denials.push({ what: `${side} header ${JSON.stringify(name)}`, reason });
  }
  if (denied.size === 0) return headers;
  const kept: Record<string, C> = Object.create(null);
  for (const name of names) {
    const change = headers[name] as C;
    if (!denied.has(name)) kept[name] = change;
    else if (replaces(change) && deniedChange(name, null, at) === null && side === "upstream") {
      kept[name] = valueList(change).filter(isFieldValue) as readonly string[] as C;
    }
  }
  return kept;
}

/** Whether this takes the place of what was there. */
function replaces(change: HeaderChange | null): change is string | readonly string[] {
  return change !== null && (typeof change === "string" || !("append" in change));
}

function deniedChange(
  name: string,
  change: HeaderChange | null,
  at: { readonly side: HeaderSide; readonly ownsCors: boolean },
): string | null {
  if (!isToken(name) || name !== name.toLowerCase()) return "is not a header name";
  const denied = deniedHeader(name, at.side, at);
  if (denied !== null || change === null) return denied;
  const values = replaces(change) ? valueList(change) : change.append;
  return values.every(isFieldValue) ? null : "has a value that is not legal in HTTP";
}

/** A denied scalar is `undefined`: untouched. `null` withdraws an earlier proposal and is always allowed. */
function judgePath(
  path: string | null | undefined,
  denials: Denial[],
): { path?: string | null | undefined } {
  if (typeof path !== "string") return {};
  try {
    if (path.includes("?")) throw new Error('holds a "?"; use setQuery');
    return { path: canonicalPath(path).path };
  } catch (error) {
    denials.push({
      what: "upstream path",
      reason: error instanceof Error ? error.message : String(error),
    });
    return { path: undefined };
  }
}

function judgeQuery(
  query: string | null | undefined,
  denials: Denial[],
): { query?: string | null | undefined } {
  if (typeof query !== "string") return {};
  try {
    return { query: canonicalPath(`/?${query}`).query };
  } catch (error) {
    denials.push({
      what: "upstream query",
      reason: error instanceof Error ? error.message : String(error),
    });
    return { query: undefined };
  }
}

function judgeStatus(
  status: number | null | undefined,
  denials: Denial[],
): { status?: number | null | undefined } {
  const reason = typeof status === "number" ? deniedStatus(status) : null;
  if (reason === null) return {};
  denials.push({ what: "response status", reason });
  return { status: undefined };
}
