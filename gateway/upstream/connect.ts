/**
 * Opens connections to upstreams: TCP, then TLS for https.
 *
 * @module
 */

import { errorText, UpstreamError } from "../errors.ts";
import { closeQuietly, Connection } from "./connection.ts";
import { type Origin, originText, type UpstreamRequest } from "./origin.ts";

/** `Deno.connect`, as much of it as is used; `hostname` carries no brackets. */
export type Connect = (
  options: { readonly hostname: string; readonly port: number; readonly signal: AbortSignal },
) => Promise<Deno.TcpConn>;

export interface DialOptions {
  readonly connect?: Connect;
  /** PEM certificates to trust in addition to the system's. */
  readonly caCerts?: readonly string[];
}

/** There is no connection: nothing of the request was sent and its body stream was not touched. */
export class ConnectError extends UpstreamError {}

/**
 * Connects within `timeouts.connectMs`.
 *
 * @throws {ConnectError} `unreachable` or `timeout`
 * @throws {UpstreamError} `aborted` where the request's signal fired
 */
export async function dial(
  origin: Origin,
  request: Pick<UpstreamRequest, "signal" | "timeouts">,
  options: DialOptions = {},
): Promise<Connection> {
  const cancel = new AbortController();
  const { connectMs } = request.timeouts;
  const onAbort = () => cancel.abort();
  const timer = setTimeout(onAbort, connectMs);
  request.signal.addEventListener("abort", onAbort);
  let socket: Deno.Conn | undefined;
  try {
    throwIfAborted(origin, request.signal);
    const tcp = await (options.connect ?? Deno.connect)({
      hostname: (origin.address ?? origin.hostname).replace(/^\[|\]$/g, ""),
      port: origin.port,
      signal: cancel.signal,
    });
    socket = tcp;
    cancel.signal.throwIfAborted();
    tcp.setNoDelay(true);
    if (origin.protocol === "https:") socket = await startTls(tcp, origin, options, cancel.signal);
    return new Connection(socket, origin);
  } catch (error) {
    closeQuietly(socket);
    throwIfAborted(origin, request.signal);
    const text = `Could not connect to upstream "${originText(origin)}"`;
    throw cancel.signal.aborted
      ? new ConnectError("timeout", `${text} within ${connectMs} ms`, { cause: error })
      : new ConnectError("unreachable", `${text}: ${errorText(error)}`, { cause: error });
  } finally {
    clearTimeout(timer);
    request.signal.removeEventListener("abort", onAbort);
  }
}

/** @throws {UpstreamError} `aborted` where `signal` has fired */
export function throwIfAborted(origin: Origin, signal: AbortSignal): void {
  if (!signal.aborted) return;
  const text = `Request to upstream "${originText(origin)}" was aborted`;
  throw new UpstreamError("aborted", text, { cause: signal.reason });
}

async function startTls(
  tcp: Deno.TcpConn,
  origin: Origin,
  options: DialOptions,
  signal: AbortSignal,
): Promise<Deno.TlsConn> {
  const tls = await Deno.startTls(tcp, {
    hostname: origin.hostname.replace(/^\[|\]$/g, ""),
    caCerts: [...options.caCerts ?? []],
  });
  const onAbort = () => closeQuietly(tls);
  signal.addEventListener("abort", onAbort);
  try {
    signal.throwIfAborted();
    await tls.handshake();
    return tls;
  } catch (error) {
    closeQuietly(tls);
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
