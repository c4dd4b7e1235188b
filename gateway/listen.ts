/**
 * Listening on what the configuration says, with errors that name the address.
 *
 * @module
 */

import type { ListenAddress } from "./config.ts";
import { ClientGone, EdgeError, errorText, UpstreamError, UserError } from "./errors.ts";
import type { Log } from "./log.ts";
import { edgeErrorReply, toResponse } from "./respond.ts";
import { isUnwritableTarget } from "./telemetry.ts";
import { pause } from "./waiting.ts";

/** An address that cannot be listened on; the message says why. */
export class ListenError extends UserError {
  override readonly name = "ListenError";
  readonly address: ListenAddress | undefined;

  constructor(
    message: string,
    { address, cause }: { readonly address?: ListenAddress; readonly cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.address = address;
  }
}

export interface Listening {
  readonly address: ListenAddress;
  /** Stops accepting and resolves when all running requests are done. */
  shutdown(): Promise<void>;
}

export interface ListenOptions {
  readonly signal?: AbortSignal;
  readonly log: Log;
  /** Other processes of this gateway listen there too; needs `--unstable-net`. */
  readonly reusePort?: boolean | undefined;
  /** Who may connect to a Unix socket; by default whom the umask lets. */
  readonly socketMode?: number;
}

/** Between two attempts to listen again. */
const RELISTEN_MS = 100;
/** Descriptors that must be free for that: the first connections would end it anew. */
const SPARE_DESCRIPTORS = 8;
/** A listener that fails again and again is told of once in this time. */
const LISTENER_LOG_MS = 60_000;

/**
 * Listens until it is shut down. `Deno.serve` ends for good where a connection cannot be accepted, above all for want of a
 * descriptor (EMFILE, accept(2)); then this listens again once there are some. Connections that are open go on meanwhile.
 *
 * @throws {ListenError}
 */
export async function serveOn(
  address: ListenAddress,
  options: ListenOptions,
  handler: Deno.ServeHandler,
): Promise<Listening> {
  const { log } = options;
  let server: Deno.HttpServer;
  try {
    server = await serve(address, options, handler);
  } catch (error) {
    throw listenError(address, error);
  }
  const bound = boundAddress(address, server);
  let isOver = false;
  options.signal?.addEventListener("abort", () => isOver = true);
  const listensAgain = async () => {
    try {
      await spareDescriptors();
      server = await serve(bound, options, handler);
      return true;
    } catch {
      return false; // there are still no descriptors, or somebody else has the port: both may pass
    }
  };
  const keepListening = async () => {
    for (let toldAt = -Infinity;;) {
      const failure = await server.finished.then(() => undefined, (error: unknown) => ({ error }));
      if (!failure || isOver) return;
      const isTold = performance.now() - toldAt > LISTENER_LOG_MS;
      if (isTold) {
        toldAt = performance.now();
        const fields = { address: listenAddressText(bound), reason: errorText(failure.error) };
        log.error(
          "the listener failed; new connections are refused until it listens again",
          fields,
        );
      }
      do {
        await pause(RELISTEN_MS);
        if (isOver) return;
      } while (!await listensAgain());
      if (isTold) log.info("listening again", { address: listenAddressText(bound) });
    }
  };
  void keepListening();
  return {
    address: bound,
    shutdown() {
      isOver = true;
      return server.shutdown();
    },
  };
}

async function serve(
  address: ListenAddress,
  { log, reusePort = false, signal, socketMode }: ListenOptions,
  handler: Deno.ServeHandler,
): Promise<Deno.HttpServer> {
  const common = {
    ...(signal ? { signal } : {}),
    onListen() {},
    onError(error: unknown): Response {
      if (isUnwritableTarget(error)) return refuseHost(log);
      // A handler never throws. What ends here is a body that broke off, which the handler has logged, or a response that
      // could not be built.
      if (!(error instanceof UpstreamError || error instanceof ClientGone)) {
        log.error("a response could not be written", { error });
      }
      return new Response(null, { status: 500 });
    },
  };
  if (address.kind === "unix") {
    await removeStaleSocket(address.path);
    const server = Deno.serve({ ...common, path: address.path }, handler);
    if (socketMode !== undefined) Deno.chmodSync(address.path, socketMode);
    return server;
  }
  const { hostname, port } = address;
  return Deno.serve({ ...common, hostname, port, reusePort }, handler);
}

/** With the port that it got. */
function boundAddress(address: ListenAddress, { addr }: Deno.HttpServer): ListenAddress {
  if (address.kind === "unix" || addr.transport !== "tcp") return address;
  return { kind: "tcp", hostname: addr.hostname, port: addr.port };
}

/** @throws where there are too few */
async function spareDescriptors(): Promise<void> {
  const files = await Promise.allSettled(
    Array.from({ length: SPARE_DESCRIPTORS }, () => Deno.open("/dev/null")),
  );
  for (const each of files) if (each.status === "fulfilled") each.value.close();
  const refused = files.find((each) => each.status === "rejected");
  if (refused) throw refused.reason;
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
  const headers = { "x-request-id": traceId };
  const error = new EdgeError("bad_request", "the Host is not valid", { headers });
  return toResponse(edgeErrorReply(error, traceId), "GET");
}

function listenError(address: ListenAddress, error: unknown): ListenError {
  const reason = error instanceof Deno.errors.AddrInUse
    ? "another process listens there already"
    : errorText(error);
  return new ListenError(`cannot listen on ${listenAddressText(address)}: ${reason}`, {
    address,
    cause: error,
  });
}

/** `127.0.0.1:8080`, `[::1]:8080` or `unix:/path`. */
export function listenAddressText(address: ListenAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  return `${host}:${address.port}`;
}

/**
 * A gateway that was killed leaves its socket behind: nobody listens on it, and connecting is refused. Anything else, such as a backlog that
 * is full (EAGAIN, unix(7)) or the want of rights, says that somebody does.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const info = await Deno.stat(path).catch(() => undefined);
  if (!info) return;
  if (!info.isSocket) throw new Error("there is a file that is no socket");
  const isStale = await Deno.connect({ transport: "unix", path }).then(
    (conn) => (conn.close(), false),
    (error) => error instanceof Deno.errors.ConnectionRefused,
  );
  if (isStale) await Deno.remove(path);
}
