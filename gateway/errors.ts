/**
 * The errors the gateway knows by name: what a client is told (`EdgeError`) and what went wrong upstream
 * (`UpstreamError`). A client never sees an upstream's address, a file name or a stack.
 *
 * @module
 */

/** Every `error.code` a client can receive, with its status. `rejected` carries the plugin's own status. */
export const ERROR_STATUS = {
  bad_request: 400,
  not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  payload_too_large: 413,
  internal: 500,
  plugin_error: 500,
  not_implemented: 501,
  upstream_unreachable: 502,
  runtime_unavailable: 503,
  hook_timeout: 503,
  overloaded: 503,
  upstream_timeout: 504,
} as const satisfies Record<string, number>;

export type ErrorCode = keyof typeof ERROR_STATUS;

/** What the user of the program can put right: it is told without a stack. */
export class UserError extends Error {}

/** A failure with a stated answer. `message` is shown to the client. */
export class EdgeError extends Error {
  override readonly name = "EdgeError";
  readonly code: ErrorCode;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { headers?: Readonly<Record<string, string>>; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.status = ERROR_STATUS[code];
    this.headers = options.headers ?? {};
  }
}

/**
 * What went wrong on the upstream side.
 *
 * - `unreachable`: no connection (refused, no such name, TLS failed); nothing was sent
 * - `timeout`: connecting, the response head, or the next bytes took longer than configured
 * - `closed`: the upstream closed or reset the connection before its answer was complete
 * - `malformed`: what it sent is not HTTP/1.1, or breaks its own framing
 * - `aborted`: the caller's signal fired (the client left, the gateway gave up)
 */
export type UpstreamFailure = "unreachable" | "timeout" | "closed" | "malformed" | "aborted";

/** A failed round trip. `message` names the upstream and is for the log only. */
export class UpstreamError extends Error {
  override readonly name = "UpstreamError";
  readonly failure: UpstreamFailure;

  constructor(failure: UpstreamFailure, message: string, options: { cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.failure = failure;
  }
}

/** The client left before it had its answer; there is nobody to tell. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
}

/** What the client is told of a failed round trip. */
export function upstreamFailed(error: UpstreamError): EdgeError {
  return error.failure === "timeout"
    ? new EdgeError("upstream_timeout", "the upstream did not answer in time", { cause: error })
    : new EdgeError("upstream_unreachable", "the upstream could not be reached", { cause: error });
}

/** One word for anything that ends a request: what the client is told, where it is told something. */
export function errorType(error: unknown): string {
  if (error instanceof EdgeError) return error.code;
  if (error instanceof UpstreamError) return upstreamFailed(error).code;
  return error instanceof ClientGone ? "client_gone" : "internal";
}

/** The text of anything thrown, for a log line; never sent to a client. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
