/**
 * The access log: one line for each request, written when its response is out or its client has left.
 *
 * @module
 */

import type { UpstreamFailure } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import type { Log } from "./log.ts";
import type { RequestSpan } from "./telemetry.ts";

/** What is known of a request from its first moment. */
export interface Arrival {
  readonly request: Request;
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

/** A client that left is a 499, a response that broke off says `cut` and the `failure` behind it. */
export function logAccess(
  log: Log,
  { request, traceId, peer }: Arrival,
  { story, status, durationMs }: {
    readonly story: Story;
    readonly status: number;
    readonly durationMs: number;
  },
): void {
  const { path, route, exchange, rejectedBy, failure } = story;
  log.info(`${request.method} ${path} ${status}`, {
    traceId,
    method: request.method,
    path,
    status,
    durationMs: Math.round(durationMs * 10) / 10,
    route,
    clientAddr: exchange?.facts.request.remoteAddr ?? peer,
    rejectedBy,
    ...(failure === undefined ? {} : { cut: true, failure }),
    user: userId(exchange?.draft.user),
  });
}

/** A user's `id` where an authentication plugin set one: the rest of an identity is not for logs. */
function userId(user: unknown): unknown {
  if (typeof user === "string") return user;
  return typeof user === "object" && user !== null && "id" in user ? user.id : undefined;
}
