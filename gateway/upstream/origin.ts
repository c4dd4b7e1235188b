/**
 * What goes into the upstream client and what comes out of it: data types only.
 *
 * @module
 */

/** Where to connect to. */
export interface Origin {
  readonly protocol: "http:" | "https:";
  /** As in a URL; an IPv6 literal may stand in brackets. */
  readonly hostname: string;
  readonly port: number;
  /** Dial this address instead of resolving `hostname` (the forward guard checked it); TLS still uses `hostname`. */
  readonly address?: string;
}

/** A header list: order and repeats are kept, values are byte strings (latin1). */
export type HeaderList = readonly (readonly [name: string, value: string])[];

/** Limits on waiting for the upstream; time in which the upstream is not waited for never counts. */
export interface UpstreamTimeouts {
  /** Name resolution, TCP and TLS together. */
  readonly connectMs: number;
  /** From the last byte of the request to the end of the final response head. */
  readonly responseHeaderMs: number;
  /** Between two pieces of a body, in either direction. */
  readonly idleMs: number;
}

/** A request body that is not in memory. Without `lengthBytes` it goes out chunked. */
export interface StreamBody {
  readonly stream: ReadableStream<Uint8Array>;
  readonly lengthBytes?: number;
}

export interface UpstreamRequest {
  readonly method: string;
  /** Origin-form: path and query (RFC 9112 §3.2.1). */
  readonly target: string;
  /** Includes `host`; never hop-by-hop or framing headers, the client writes those. */
  readonly headers: HeaderList;
  readonly body: Uint8Array | StreamBody | null;
  /** Ends the round trip at any stage, while the response body streams too. */
  readonly signal: AbortSignal;
  readonly timeouts: UpstreamTimeouts;
}

export interface UpstreamResponse {
  /** 200–599; interim responses are never returned. */
  readonly status: number;
  /** Names in lower case; framing and hop-by-hop headers are still there. */
  readonly headers: HeaderList;
  /**
   * `null` where HTTP forbids a body (HEAD, 204, 304); bytes when all of it was here with the head; else a stream,
   * which must be read to its end or cancelled. It fails with an `UpstreamError`, a short body never ends cleanly.
   */
  readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>> | null;
  /** The `Content-Length` that the upstream declared (to a HEAD: that of the body it did not send). */
  readonly lengthBytes?: number;
  /** A stale pooled connection was replaced by a fresh one. */
  readonly retried: boolean;
  /** The answer came over a connection that had served before. */
  readonly reused: boolean;
}

/** The part of an origin that decides whether a pooled connection may serve it. */
export function originKey({ protocol, hostname, port, address }: Origin): string {
  return `${protocol}//${hostname}:${port}|${address ?? ""}`;
}

/** An origin as log lines show it. */
export function originText({ protocol, hostname, port }: Origin): string {
  return `${protocol}//${hostname}:${port}`;
}
