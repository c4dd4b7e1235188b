import { assertEquals } from "@std/assert";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";

/** One request over HTTP/2 in clear text, begun with prior knowledge (RFC 9113 §3.3). 0 for a stream that is reset. */
async function status(
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<number> {
  const session = connect(url);
  const done = Promise.withResolvers<number>();
  session.on("error", () => done.resolve(0));
  const stream = session.request(headers);
  stream.on(
    "response",
    (fields: IncomingHttpHeaders & { ":status"?: number }) =>
      done.resolve(Number(fields[":status"])),
  );
  stream.on("error", () => done.resolve(0));
  stream.resume();
  stream.end();
  try {
    return await done.promise;
  } finally {
    session.destroy();
  }
}

Deno.test("HTTP/2 in clear text meets the same rules as HTTP/1.1: one host, one path, and the policy for it", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      routes: [{ path: "/*", upstream: upstream.url }],
      hookTimeoutMs: 5000,
      hardCeilingMs: 5000,
    },
    plugins: {
      "001-guard.ts": `export default { beforeRequest(ctx) {
        if (ctx.request.path.startsWith("/admin")) ctx.reject(403, "guarded");
      } };`,
    },
  });
  const host = `127.0.0.1:${gateway.port}`;
  const ask = (headers: Record<string, string>) => status(gateway.url, headers);
  assertEquals(await ask({ ":path": "/x" }), 400, "no Host");
  assertEquals(await ask({ ":path": "/x", ":authority": "a", host }), 400, "another :authority");
  assertEquals(upstream.seen.length, 0);
  for (const path of ["/admin", "/x/../admin", "/x/%2e%2e/admin", "//admin", "/%61dmin"]) {
    assertEquals(await ask({ ":path": path, host }), 403, path);
  }
  for (const path of ["/x/..%2fadmin", "/x\\..\\admin", "/%00admin", "/..;/admin"]) {
    assertEquals(await ask({ ":path": path, host }), 400, path);
  }
  assertEquals(upstream.seen.length, 0);
  assertEquals(await ask({ ":path": "/x?a=b", host, "x-forwarded-for": "1.2.3.4" }), 200);
  assertEquals(upstream.seen.map(({ target }) => target), ["/x?a=b"]);
  assertEquals(upstream.seen[0]?.headers["x-forwarded-for"], "127.0.0.1");
});
