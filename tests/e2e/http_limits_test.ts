/** Limits on clients: what they get, what the upstream sees, and that everything is given back. */
import { PATIENT } from "../support/patient.ts";
import { assertEquals } from "@std/assert";
import { assertNothingLeft } from "../support/failure.ts";
import { testGateway } from "../support/gateway.ts";
import { rawClient, rawRequest, type RawResponse } from "../support/raw_client.ts";
import { OK, recordingUpstream } from "../support/recording_upstream.ts";

const READ = `export default {
  beforeRequest(ctx) { ctx.upstream.setHeader("x-ran", "yes"); },
  afterResponse(ctx) { ctx.response.setHeader("x-ran", "yes"); },
};`;
const MARK = `export default { readsBodies: false, beforeRequest(ctx) {
  ctx.log.info("the hook ran"); ctx.upstream.setHeader("x-ran", "yes");
} };`;

const post = (fields: string, body = "") =>
  `POST /x HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;

function errorCode({ text }: RawResponse): string {
  return JSON.parse(text).error.code;
}

Deno.test("a request body that does not arrive within idleMs is a 408, streamed or read by a hook", async () => {
  await using upstream = recordingUpstream();
  for (const plugin of [MARK, READ]) {
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        timeouts: { idleMs: 200 },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: { "001-x.ts": plugin },
    });
    const response = await rawRequest(gateway.port, post("Content-Length: 10", "part"));
    assertEquals([response.status, errorCode(response)], [408, "request_timeout"]);
    await assertNothingLeft(gateway);
  }
  assertEquals(upstream.requests, []);
});

Deno.test("a client that is slow but alive gets its time: each piece starts it anew", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { timeouts: { idleMs: 1500 }, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  using client = await rawClient(gateway.port);
  await client.send(post("Content-Length: 4"));
  for (const piece of "body") {
    await new Promise((resolve) => setTimeout(resolve, 500)); // the slowness is the point
    await client.send(piece);
  }
  assertEquals((await client.response()).status, 200);
});

Deno.test("beyond maxInFlight a request is a 503 with Retry-After, and is served when one has left", async () => {
  const arrived = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  await using upstream = recordingUpstream(async ({ target }) => {
    if (target === "/hold") {
      arrived.resolve();
      await goOn.promise;
    }
    return OK;
  });
  await using gateway = await testGateway({
    config: { maxInFlight: 1, routes: [{ path: "/*", upstream: upstream.url }] },
  });
  const held = rawRequest(gateway.port, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
  await arrived.promise;
  const refused = await rawRequest(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assertEquals([refused.status, errorCode(refused)], [503, "overloaded"]);
  assertEquals(refused.header("retry-after"), "1");
  goOn.resolve();
  assertEquals((await held).status, 200);
  await gateway.waitForLog((line) => line.path === "/hold" && line.status === 200);
  assertEquals((await rawRequest(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status, 200);
});
