/**
 * Fields that a client sends, and what of them the upstream may get: for tests of header hygiene.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Attack } from "./attack.ts";
import { type TestGateway, testGateway } from "./gateway.ts";
import { PATIENT } from "./patient.ts";
import type { RawRequest, RawUpstream } from "./raw_upstream.ts";
import { recordingUpstream } from "./recording_upstream.ts";

/** Sets an identity where there is a token, as an authentication plugin does, and reflects what it was shown. */
const AUTH = `export default { beforeRequest(ctx) {
  const { headers } = ctx.request;
  ctx.upstream.setHeader("x-shown", JSON.stringify(headers));
  ctx.upstream.setHeader("x-shown-addr", ctx.request.remoteAddr);
  if (headers.authorization === "Bearer good") ctx.upstream.setHeader("x-gateway-user", "alice");
  if (headers["x-user"] !== undefined) ctx.upstream.setHeader("x-user", "from the plugin");
} };`;

export interface HeaderAttack {
  readonly name: string;
  readonly fields: readonly string[];
  /** The value that the upstream gets of each field; `undefined`: it does not get the field. */
  readonly upstreamGets: Readonly<Record<string, string | RegExp | undefined>>;
}

export const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function asAttack({ name, fields, upstreamGets }: HeaderAttack): Attack {
  return {
    name,
    send: `GET /api/x HTTP/1.1\r\nHost: a\r\n${fields.join("\r\n")}\r\n\r\n`,
    answers: [200],
    reaches: ["/api/x"],
    check({ seen: [request] }) {
      for (const [field, expected] of Object.entries(upstreamGets)) {
        const value = request?.header(field);
        if (expected instanceof RegExp) assertMatch(value ?? "", expected, field);
        else assertEquals(value, expected, field);
      }
    },
  };
}

export async function withGateway(
  test: (parts: { gateway: TestGateway; upstream: RawUpstream }) => Promise<void>,
  config: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, ...config, routes: [{ path: "/api/*", upstream: upstream.url }] },
    plugins: { "001-auth.ts": AUTH },
  });
  await test({ gateway, upstream });
}

/** Plugins decide by what they are shown: nothing may reach the upstream that they were not shown, but for the gateway's own. */
export function assertShownIsSent(request: RawRequest): void {
  const shown = new Set(Object.keys(JSON.parse(request.header("x-shown") ?? "{}")));
  const own =
    /^(?:host|accept-encoding|x-shown|x-shown-addr|x-user|x-gateway-user|x-request-id|x-real-ip|traceparent|x-forwarded-.*)$/;
  for (const [name] of request.headers) assert(shown.has(name) || own.test(name), name);
}
