/**
 * Short ways to say what an upstream client test sends and what it got.
 *
 * @module
 */

import { UpstreamError, type UpstreamFailure } from "../../gateway/errors.ts";
import { UpstreamClient, type UpstreamClientOptions } from "../../gateway/upstream/client.ts";
import type {
  UpstreamRequest,
  UpstreamResponse,
  UpstreamTimeouts,
} from "../../gateway/upstream/origin.ts";

/** A GET of `/`, with whatever differs. The time limits are long enough never to be met by accident. */
export function upstreamRequest(
  { timeouts, ...rest }: Partial<Omit<UpstreamRequest, "timeouts">> & {
    timeouts?: Partial<UpstreamTimeouts>;
  } = {},
): UpstreamRequest {
  return {
    method: "GET",
    target: "/",
    headers: [["host", "upstream.test"]],
    body: null,
    signal: new AbortController().signal,
    timeouts: { connectMs: 20_000, responseHeaderMs: 20_000, idleMs: 20_000, ...timeouts },
    ...rest,
  };
}

/** A client that is closed at the end of its scope. */
export function disposableClient(
  options: UpstreamClientOptions = {},
): UpstreamClient & Disposable {
  const client = new UpstreamClient(options);
  return Object.assign(client, { [Symbol.dispose]: () => client.close() });
}

/** The whole body; throws what the body stream fails with. */
export async function bodyBytes({ body }: UpstreamResponse): Promise<Uint8Array<ArrayBuffer>> {
  if (body instanceof ReadableStream) return await new Response(body).bytes();
  return body ?? new Uint8Array(0);
}

export async function bodyText(response: UpstreamResponse): Promise<string> {
  return new TextDecoder().decode(await bodyBytes(response));
}

/** The failure that `action` ends with; throws where it succeeds or ends with another kind of error. */
export async function failureOf(action: PromiseLike<unknown>): Promise<UpstreamFailure> {
  try {
    await action;
  } catch (error) {
    if (error instanceof UpstreamError) return error.failure;
    throw error;
  }
  throw new Error("Expected an UpstreamError, but nothing was thrown");
}

/** Resolves when `condition` holds; for what another task of the event loop has to do first. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}
