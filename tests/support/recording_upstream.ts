/**
 * An upstream that answers every request alike and records what it got byte by byte: the oracle of what left the gateway.
 *
 * @module
 */

import { type RawRequest, type RawUpstream, rawUpstream } from "./raw_upstream.ts";

export const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** @param respond the bytes of the answer, framing and all */
export function recordingUpstream(
  respond: (request: RawRequest) => string | Uint8Array = () => OK,
): RawUpstream {
  return rawUpstream(async (conn) => {
    for (;;) await conn.send(respond(await conn.readRequest()));
  });
}
