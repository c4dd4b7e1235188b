/**
 * Requests with another request hidden in their body, for tests of framing.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { type Attack, SMUGGLED } from "./attack.ts";
import { type TestGateway, testGateway } from "./gateway.ts";
import type { RawUpstream } from "./raw_upstream.ts";
import { recordingUpstream } from "./recording_upstream.ts";

export const HIDDEN = `GET ${SMUGGLED} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** A POST with these framing fields and this body. */
export function post(fields: string, body: string): string {
  return `POST /api/x HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;
}

export const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
export const CHUNKED_5 = `${chunk("hello")}0\r\n\r\n`;
export const chunked = (body: string) => post("Transfer-Encoding: chunked", body);

/** One request, with `HIDDEN` as its body, whatever else is said of it. */
export function carried(name: string, send: string): Attack {
  return {
    name,
    send,
    answers: [200],
    reaches: ["/api/x"],
    check: ({ seen }) => assertEquals(new TextDecoder().decode(seen[0]?.body), HIDDEN),
  };
}

export function withBody(method: string, target = "/api/x"): string {
  return `${method} ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`;
}

/** A gateway that streams bodies of `/api/*` to its upstream, with no plugins. */
export async function streamingGateway(
  test: (parts: { gateway: TestGateway; upstream: RawUpstream }) => Promise<void>,
): Promise<void> {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { routes: [{ path: "/api/*", upstream: upstream.url, plugins: false }] },
  });
  await test({ gateway, upstream });
}
