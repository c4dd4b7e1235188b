import { assertEquals } from "@std/assert";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { echoUpstream } from "../support/echo_upstream.ts";
import { testGateway } from "../support/gateway.ts";
import { cancelFrame, headersFrame, HTTP2_BEGINNING } from "../support/http2_frames.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

/** One request over HTTP/2 in clear text, begun with prior knowledge (RFC 9113 §3.3). 0 for a stream that is reset. */
async function status(
  url: string,
  headers: Readonly<Record<string, string>>,
  { body, ends = true }: { readonly body?: string; readonly ends?: boolean } = {},
): Promise<number> {
  const session = connect(url);
  const done = Promise.withResolvers<number>();
  session.on("error", () => done.resolve(0));
  const stream = session.request(headers, { endStream: ends && body === undefined });
  stream.on(
    "response",
    (fields: IncomingHttpHeaders & { ":status"?: number }) =>
      done.resolve(Number(fields[":status"])),
  );
  stream.on("error", () => done.resolve(0));
  stream.resume();
  if (body !== undefined) stream.end(body);
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

/** A gateway with a plugin that shows the upstream what it sees of `x-role`. */
function showingGateway(url: string, config: Readonly<Record<string, unknown>> = {}) {
  return testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: url, ...config }] },
    plugins: {
      "001-show.ts": `export default { beforeRequest(ctx) {
        ctx.upstream.setHeader("x-shown", JSON.stringify(ctx.request.headers["x-role"] ?? null));
      } };`,
    },
  });
}

Deno.test("HTTP/2 in clear text: a body goes on whole where its length is declared, and is refused where not", async () => {
  await using upstream = echoUpstream();
  await using gateway = await showingGateway(upstream.url);
  const host = `127.0.0.1:${gateway.port}`;
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
    const fields = { ":method": method, ":path": `/${method}`, host };
    assertEquals(await status(gateway.url, fields, { body: "hello" }), 501, method);
    assertEquals(upstream.seen.splice(0), [], method);
    assertEquals(await status(gateway.url, fields), 200, `${method} without a body`);
    assertEquals(
      await status(gateway.url, { ...fields, "content-length": "5" }, { body: "hello" }),
      200,
    );
    assertEquals(upstream.seen.splice(0).map(({ body }) => body.length), [0, 5], method);
  }
});

Deno.test("HTTP/2 in clear text: a client that resets its stream instead of sending a body has left, and has sent none", async () => {
  await using upstream = echoUpstream();
  await using gateway = await showingGateway(upstream.url);
  using client = await rawClient(gateway.port);
  const fields = { ":method": "POST", ":scheme": "http", ":path": "/left", host: "a" };
  await client.send(HTTP2_BEGINNING, headersFrame(Object.entries(fields), { ends: false }));
  const isAsking = async () =>
    (await (await fetch(`${gateway.adminUrl}/metrics`)).text())
      .includes("\nconduit_requests_in_flight 1\n");
  await gateway.until(isAsking, { what: "the request to be under way" });
  await client.send(cancelFrame());
  assertEquals((await gateway.waitForLog(({ path }) => path === "/left")).status, 499);
  assertEquals(upstream.seen, []);
});

Deno.test("HTTP/2 in clear text: a request that says nothing of a body, and does not end, gets 408", async () => {
  await using upstream = echoUpstream();
  await using gateway = await showingGateway(upstream.url, { timeouts: { idleMs: 100 } });
  const fields = { ":method": "POST", ":path": "/x", host: `127.0.0.1:${gateway.port}` };
  assertEquals(await status(gateway.url, fields, { ends: false }), 408);
  assertEquals(upstream.seen, []);
});

Deno.test("HTTP/2 in clear text: a value has no blanks around it, so that plugins and upstreams read the same", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await showingGateway(upstream.url);
  const host = `127.0.0.1:${gateway.port}`;
  for (const role of [" admin", "admin ", "\tadmin", " \t admin \t "]) {
    assertEquals(await status(gateway.url, { ":path": "/x", host, "x-role": role }), 200);
    const seen = upstream.requests.at(-1);
    assertEquals([seen?.header("x-role"), seen?.header("x-shown")], ["admin", '"admin"'], role);
  }
});
