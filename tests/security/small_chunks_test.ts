/** Bodies in chunks of a byte each, which `Deno.serve` takes one by one, each at the cost of all that waits behind it. */
import { assertEquals, assertMatch } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

/** Much longer than others wait, and much shorter than the whole body takes where nobody else gets a turn. */
const WITHIN_MS = 3000;
const OTHERS = 10;

for (
  const [what, { path, chunks, answer }] of Object.entries({
    "that a hook reads": { path: "/read", chunks: 600_000, answer: undefined },
    "that are refused in the middle": {
      path: "/short",
      chunks: 1_000_000,
      answer: /^HTTP\/1\.1 413 /,
    },
  })
) {
  Deno.test(`a million small chunks ${what} do not keep others from being served`, async () => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: {
        routes: [
          { path: "/short", upstream: upstream.url, maxRequestBytes: 20_000 },
          { path: "/*", upstream: upstream.url },
        ],
      },
      plugins: {
        "001-read.ts": "export default { beforeRequest(ctx) { void ctx.request.body; } };",
      },
    });
    await assertServed(gateway);
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: gateway.port });
    const text = new TextEncoder();
    const sent = (async () => {
      await conn.write(
        text.encode(`POST ${path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n`),
      );
      const bytes = text.encode("1\r\na\r\n".repeat(chunks));
      for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    })().catch(() => {}); // the gateway may have closed the connection by now
    if (answer) {
      const head = new Uint8Array(1024);
      const length = await conn.read(head) ?? 0;
      assertMatch(new TextDecoder().decode(head.subarray(0, length)), answer);
    } else await sent;
    for (let other = 0; other < OTHERS; other++) await assertServed(gateway);
  });
}

async function assertServed(gateway: TestGateway): Promise<void> {
  const response = await gateway.fetch("/other", { signal: AbortSignal.timeout(WITHIN_MS) });
  await response.body?.cancel();
  assertEquals(response.status, 200);
}
