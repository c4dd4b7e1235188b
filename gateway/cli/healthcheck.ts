/**
 * `conduit healthcheck`: asks the gateway that runs with a configuration whether it lives, or is ready, over its admin listener.
 *
 * @module
 */

import type { Config, ListenAddress } from "../config.ts";
import { errorText, UserError } from "../errors.ts";
import { listenAddressText } from "../listen.ts";

/** A gateway that takes longer to answer does not live. */
const HEALTHCHECK_TIMEOUT_MS = 2000;

/**
 * What the gateway answers on its admin listener.
 *
 * @param admin what the configuration says
 * @throws {UserError} unless it is a 200
 */
export async function askAdmin(admin: Config["admin"], path: string): Promise<string> {
  if (!admin) {
    throw new UserError("admin is false in the configuration: nobody can be asked");
  }
  const { listen } = admin;
  const at = listenAddressText(listen);
  if (listen.kind === "tcp" && listen.port === 0) {
    throw new UserError(`admin.listen is "${at}": name a port, so that it can be asked`);
  }
  // As a proxy, so that the address counts and not what HTTP_PROXY says.
  using client = Deno.createHttpClient({ proxy: peer(listen) });
  const response = await fetch(`http://localhost${path}`, {
    client,
    redirect: "manual",
    signal: AbortSignal.timeout(HEALTHCHECK_TIMEOUT_MS),
  }).catch((error) => {
    throw new UserError(`${at} does not answer: ${reasonOf(error)}`, { cause: error });
  });
  const text = await response.text();
  if (response.status === 200) return text;
  throw new UserError(`${at} answers ${response.status}: ${text.slice(0, 1000)}`);
}

/** A listener on all addresses is reached on the one of this machine. */
function peer(address: ListenAddress): Deno.Proxy {
  if (address.kind === "unix") return { transport: "unix", path: address.path };
  const { hostname, port } = address;
  const here = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "::1" : hostname;
  return { transport: "tcp", hostname: here, port };
}

/** What went wrong at the bottom: `fetch` itself says no more than that it failed. */
function reasonOf(error: unknown): string {
  let cause = error;
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
  return errorText(cause);
}
