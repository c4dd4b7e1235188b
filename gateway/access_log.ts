/**
 * The access log: one line for each request, written when its response is out or its client has left.
 *
 * @module
 */

import type { Json } from "../protocol/snapshot.ts";
import type { Config } from "./config.ts";
import type { UpstreamFailure } from "./errors.ts";
import type { Exchange, HookStep } from "./exchange.ts";
import type { Log } from "./log.ts";
import type { EndedStory } from "./observe/stories.ts";
import type { RequestSpan } from "./telemetry.ts";

/** What is known of a request from its first moment. */
export interface Arrival {
  readonly request: Request;
  /** Settles when the response is written or the client has left. */
  readonly completed: Promise<unknown>;
  /** Its URL. Once it has been answered, Deno gives that only where it was asked for before. */
  readonly url: string;
  readonly traceId: string;
  /** The address at the other end of the connection; `""` on a Unix socket. */
  readonly peer: string;
  readonly startedAt: number;
  /** Where requests are traced. */
  readonly span?: RequestSpan | undefined;
}

/** What there is to say beyond the arrival; filled in along the walk. */
export interface Story {
  /** Canonical, once there is such a form of it. */
  path: string;
  route?: string;
  exchange?: Exchange;
  rejectedBy?: string;
  upstreamFailure?: UpstreamFailure;
  /** Of the response's body, as far as it was handed over. */
  sentBytes: number;
  /** Why the client's connection was cut in the middle of its response. */
  failure?: string;
  /** The code of the gateway's own answer, where that is an error. */
  errorCode?: string;
}

/** Longer values are cut: a line is for reading, and what one of these is a client may choose. */
const MAX_VALUE_CHARS = 256;
const MAX_PATH_CHARS = 1024;

/** Writes the lines, with those request headers and query parameters that the configuration names. */
export class AccessLog {
  readonly #log: Log;
  readonly #headers: readonly string[];
  readonly #parameters: readonly string[];

  constructor(log: Log, named: Pick<Config["log"], "requestHeaders" | "queryParameters">) {
    this.#log = log;
    this.#headers = named.requestHeaders;
    this.#parameters = named.queryParameters;
  }

  /** A client that left is a 499, a response that broke off says `cut` and the `failure` behind it. */
  write({ request, url }: Arrival, story: EndedStory): void {
    const { traceId, status, trip, route, clientAddr, rejectedBy, failure, user } = story;
    const method = cut(story.method, MAX_VALUE_CHARS);
    const path = cut(story.path, MAX_PATH_CHARS);
    this.#log.info(`${method} ${path} ${status}`, {
      traceId,
      method,
      path,
      status,
      bytes: story.sentBytes,
      durationMs: tenths(story.durationMs),
      upstreamMs: trip?.durationMs === undefined ? undefined : tenths(trip.durationMs),
      pluginsMs: pluginTimes(story.steps),
      retries: trip && trip.attempts > 1 ? trip.attempts - 1 : undefined,
      route,
      clientAddr,
      rejectedBy,
      error: status === 499 ? undefined : story.error,
      ...(failure === undefined ? {} : { cut: true, failure }),
      user,
      headers: this.#headersOf(request),
      query: this.#queryOf(url),
    });
  }

  #headersOf({ headers }: Request): NamedValues | undefined {
    if (this.#headers.length === 0) return undefined;
    return Object.fromEntries(this.#headers.flatMap((name) => {
      const value = headers.get(name);
      return value === null ? [] : [[name, cut(value, MAX_VALUE_CHARS)]];
    }));
  }

  #queryOf(url: string): NamedValues | undefined {
    if (this.#parameters.length === 0) return undefined;
    const at = url.indexOf("?");
    const parameters = new URLSearchParams(at < 0 ? "" : url.slice(at + 1));
    return Object.fromEntries(this.#parameters.flatMap((name) => {
      const [first, ...others] = parameters.getAll(name)
        .map((value) => cut(value, MAX_VALUE_CHARS));
      return first === undefined ? [] : [[name, others.length === 0 ? first : [first, ...others]]];
    }));
  }
}

type NamedValues = Readonly<Record<string, string | readonly string[]>>;

/** What the hooks of each plugin took together; `undefined` where none ran. */
function pluginTimes(steps: readonly HookStep[]): Readonly<Record<string, number>> | undefined {
  if (steps.length === 0) return undefined;
  const times: Record<string, number> = {};
  for (const { plugin, durationMs } of steps) {
    times[plugin] = tenths((times[plugin] ?? 0) + durationMs);
  }
  return times;
}

/**
 * Who asked, where an authentication plugin set `ctx.user`: that itself if it is a text, else its `id`, else its `sub` (RFC 7519
 * §4.1.2). The rest of an identity is not for logs.
 */
export function userId(user: Json | undefined): string | number | undefined {
  const own = (name: string) =>
    typeof user === "object" && user !== null && Object.hasOwn(user, name)
      ? (user as { readonly [key: string]: Json })[name]
      : undefined;
  for (const id of [user, own("id"), own("sub")]) {
    if (typeof id === "string") return cut(id, MAX_VALUE_CHARS);
    if (typeof id === "number") return id;
  }
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}

function cut(text: string, maxChars: number): string {
  return text.length > maxChars ? `${text.slice(0, maxChars)}…` : text;
}
