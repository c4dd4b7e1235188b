/**
 * An upstream that answers every request alike and records what it got byte by byte: the oracle of what left the gateway.
 *
 * @module
 */

import {
  type RawRequest,
  type RawUpstream,
  rawUpstream,
  type RawUpstreamOptions,
} from "./raw_upstream.ts";

type Answer = string | Uint8Array;

export const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** @param respond the bytes of the answer, framing and all */
export function recordingUpstream(
  respond: (request: RawRequest) => Answer | Promise<Answer> = () => OK,
  options: RawUpstreamOptions = {},
): RawUpstream {
  return rawUpstream(async (conn) => {
    for (;;) await conn.send(await respond(await conn.readRequest()));
  }, options);
}
