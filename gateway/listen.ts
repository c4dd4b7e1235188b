/**
 * Listening on what the configuration says, with errors that name the address.
 *
 * @module
 */

import type { ListenAddress } from "./config.ts";
import { EdgeError, errorText, UpstreamError } from "./errors.ts";
import type { Log } from "./log.ts";
import { edgeErrorReply, toResponse } from "./respond.ts";
import { isUnwritableTarget } from "./telemetry.ts";

/** An address that cannot be listened on; the message says why. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

export interface Listening {
  readonly address: ListenAddress;
  /** Stops accepting and resolves when all running requests are done. */
  shutdown(): Promise<void>;
}

/** @throws {ListenError} */
export async function serveOn(
  address: ListenAddress,
  options: {
    readonly signal?: AbortSignal;
    readonly log: Log;
    /** Other processes of this gateway listen there too; needs `--unstable-net`. */
    readonly reusePort?: boolean | undefined;
  },
  handler: (request: Request, info: Deno.ServeHandlerInfo) => Response | Promise<Response>,
): Promise<Listening> {
  const common = {
    ...(options.signal ? { signal: options.signal } : {}),
    onListen() {},
    onError(error: unknown): Response {
      if (isUnwritableTarget(error)) return refuseHost(options.log);
      // A handler never throws. What ends here is a body that broke off, which the handler has logged, or a response that
      // could not be built.
      if (!(error instanceof UpstreamError)) {
        options.log.error("a response could not be written", { error });
      }
      return new Response(null, { status: 500 });
    },
  };
  try {
    if (address.kind === "unix") {
      await removeStaleSocket(address.path);
      const server = Deno.serve({ ...common, path: address.path }, handler);
      return { address, shutdown: () => server.shutdown() };
    }
    const server = Deno.serve(
      {
        ...common,
        hostname: address.hostname,
        port: address.port,
        reusePort: options.reusePort ?? false,
      },
      handler,
    );
    const { hostname, port } = server.addr as Deno.NetAddr;
    return { address: { kind: "tcp", hostname, port }, shutdown: () => server.shutdown() };
  } catch (error) {
    throw listenError(address, error);
  }
}

/**
 * The address that several processes are about to share, with a port where it asked for any. Found out by listening there
 * alone: `SO_REUSEPORT` would let them join strangers of the same user in silence. The address is free again until they listen.
 *
 * @throws {ListenError}
 */
export function reserveAddress(address: ListenAddress): ListenAddress {
  if (address.kind === "unix") return address;
  try {
    using listener = Deno.listen({ hostname: address.hostname, port: address.port });
    return { ...address, port: listener.addr.port };
  } catch (error) {
    throw listenError(address, error);
  }
}

/** What the handler would have answered, had it been asked. */
function refuseHost(log: Log): Response {
  const traceId = crypto.randomUUID();
  log.info("a request with an impossible Host was refused unread", { traceId, status: 400 });
  const error = new EdgeError("bad_request", "the Host is not valid");
  const { status, headers, ...reply } = edgeErrorReply(error, traceId);
  const fields = { ...headers, "x-request-id": traceId };
  return toResponse({ status, headers: fields, ...reply }, "GET");
}

function listenError(address: ListenAddress, error: unknown): ListenError {
  const reason = error instanceof Deno.errors.AddrInUse
    ? "another process listens there already"
    : errorText(error);
  return new ListenError(`cannot listen on ${listenAddressText(address)}: ${reason}`, {
    cause: error,
  });
}

/** `127.0.0.1:8080`, `[::1]:8080` or `unix:/path`. */
export function listenAddressText(address: ListenAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  return `${host}:${address.port}`;
}

/** A gateway that was killed leaves its socket behind; one that lives still answers on it. */
async function removeStaleSocket(path: string): Promise<void> {
  const info = await Deno.stat(path).catch(() => undefined);
  if (!info) return;
  if (!info.isSocket) throw new Error("there is a file that is no socket");
  const isLive = await Deno.connect({ transport: "unix", path }).then(
    (conn) => (conn.close(), true),
    () => false,
  );
  if (!isLive) await Deno.remove(path);
}
