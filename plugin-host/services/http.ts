/**
 * `services.http` in an isolate: the platform's `fetch`, with the trace headers set and the hook's time as its limit.
 * Which hosts it reaches is decided by the process's permissions, not here.
 *
 * @module
 */

import type { HttpService } from "../mod.ts";

export interface HttpServiceOptions {
  readonly traceHeaders: Readonly<Record<string, string>>;
  readonly signal: () => AbortSignal;
  /** By default the platform's. */
  readonly fetch?: typeof fetch;
}

/** Taken before any plugin runs, so that a plugin that replaces the global changes only its own calls. */
const platformFetch = globalThis.fetch;

export function httpService(
  { traceHeaders, signal, fetch = platformFetch }: HttpServiceOptions,
): HttpService {
  return Object.freeze({
    async fetch(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
      // What `init` has stands in place of what a request has, whole.
      const request = input instanceof Request ? input : undefined;
      const headers = new Headers(init.headers ?? request?.headers);
      for (const [name, value] of Object.entries(traceHeaders)) headers.set(name, value);
      const own = init.signal ?? request?.signal;
      const signals = own ? [signal(), own] : [signal()];
      try {
        return await fetch(input, { ...init, headers, signal: AbortSignal.any(signals) });
      } catch (error) {
        if (error instanceof Error && error.name === "NotCapable") {
          // Where a redirect led, if it was that; only the platform's own words say it.
          const { protocol, host } = new URL(request?.url ?? input as string | URL);
          const refused = /net access to "([^"]+)"/.exec(error.message)?.[1] ?? host;
          const message = refused === ""
            ? `plugins reach nothing by ${JSON.stringify(protocol)}`
            : `${refused} is not a host that plugins may reach; name it in "pluginNet"`;
          throw new Error(message, { cause: error });
        }
        throw error;
      }
    },
  });
}
