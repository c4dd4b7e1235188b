/** What HTTP says of messages: repeated fields, answers without a body, 1xx, early answers, pipelining, old clients, encodings. */
import { PATIENT } from "../support/patient.ts";
import { assert, assertEquals } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { rawClient, rawRequest } from "../support/raw_client.ts";
import { type RawUpstream, rawUpstream } from "../support/raw_upstream.ts";
import { OK, recordingUpstream } from "../support/recording_upstream.ts";

const HOOK_READS = `export default { afterResponse(ctx) { ctx.response.body; } };`;
/** Both ways an answer takes through the gateway: with a hook that reads its body, and without any. */
const WAYS = { "no hooks": {}, "a hook that reads bodies": { "001-read.ts": HOOK_READS } };

function gatewayTo(
  upstream: RawUpstream,
  plugins: Readonly<Record<string, string>> = {},
  config: Readonly<Record<string, unknown>> = {},
): Promise<TestGateway> {
  return testGateway({
    config: { ...PATIENT, ...config, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins,
  });
}

const get = (target = "/", fields = "") => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

Deno.test("Set-Cookie: every one arrives in order, the upstream's and those that two hooks append", async () => {
  await using upstream = recordingUpstream(() =>
    "HTTP/1.1 200 OK\r\nset-cookie: a=1; Expires=Mon, 01 Jan 2035 00:00:00 GMT\r\n" +
    "Set-Cookie: b=2\r\nlink: <x>\r\nlink: <y>\r\ncontent-length: 0\r\n\r\n"
  );
  const append = (cookie: string) =>
    `export default { afterResponse(ctx) {
      ctx.response.appendHeader("Set-Cookie", "${cookie}");
      ctx.response.setHeader("x-cookies", String(ctx.response.headerValues("set-cookie").length));
    } };`;
  await using gateway = await gatewayTo(upstream, {
    "001-c.ts": append("c=3"),
    "002-d.ts": append("d=4"),
  });
  const response = await rawRequest(gateway.port, get());
  assertEquals(response.headerValues("set-cookie"), [
    "a=1; Expires=Mon, 01 Jan 2035 00:00:00 GMT",
    "b=2",
    "c=3",
    "d=4",
  ]);
  assertEquals(response.header("link"), "<x>, <y>");
  assertEquals(response.header("x-cookies"), "4");
});

Deno.test("repeated request fields reach hooks and the upstream with every value", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await gatewayTo(upstream, {
    "001-show.ts": `export default { beforeRequest(ctx) {
      ctx.upstream.setHeader("x-shown", ctx.request.headerValues("accept").join("|"));
      ctx.upstream.appendHeader("x-list", "c");
      ctx.upstream.appendHeader("x-list", "d");
    } };`,
  });
  const fields =
    "Accept: a\r\nAccept: b, c\r\nCookie: x=1\r\nCookie: y=2\r\nX-List: a\r\nX-List: b\r\n";
  await rawRequest(gateway.port, get("/", fields));
  const [seen] = upstream.requests;
  assertEquals(seen?.header("x-shown"), "a|b|c");
  assertEquals(seen?.header("accept"), "a, b, c");
  assertEquals(seen?.header("cookie"), "x=1; y=2");
  assertEquals(seen?.header("x-list"), "a, b, c, d");
});

for (const [way, plugins] of Object.entries(WAYS)) {
  Deno.test(`HEAD, 204, 205 and 304 have no body, and the connection goes on: ${way}`, async () => {
    await using upstream = recordingUpstream(({ method, target }) => {
      const status = Number(target.slice(1));
      const length = status === 204 ? "" : "content-length: 1234\r\n";
      const body = method === "HEAD" || status === 204 || status === 304 ? "" : "x".repeat(1234);
      return `HTTP/1.1 ${status} X\r\n${length}etag: "1"\r\n\r\n${body}`;
    });
    await using gateway = await gatewayTo(upstream, plugins);
    using client = await rawClient(gateway.port);
    const ask = async (method: string, status: number) => {
      await client.send(`${method} /${status} HTTP/1.1\r\nHost: a\r\n\r\n`);
      return await client.response({ method });
    };
    const head = await ask("HEAD", 200);
    assertEquals([head.status, head.header("content-length"), head.header("etag")], [
      200,
      "1234",
      '"1"',
    ]);
    for (const [status, shown] of [[204, 204], [304, 304], [205, 204]] as const) {
      const response = await ask("GET", status);
      assertEquals([response.status, response.header("etag")], [shown, '"1"'], `GET ${status}`);
      assertEquals((await ask("HEAD", status)).status, shown, `HEAD ${status}`);
    }
    assertEquals((await ask("GET", 200)).body.length, 1234);
  });

  Deno.test(`HEAD tells no length that the upstream did not tell: ${way}`, async () => {
    const framings = ["transfer-encoding: chunked\r\n", "connection: close\r\n", ""];
    await using upstream = recordingUpstream(({ target }) =>
      `HTTP/1.1 200 OK\r\netag: "1"\r\n${framings[Number(target.slice(1))]}\r\n`
    );
    await using gateway = await gatewayTo(upstream, plugins);
    using client = await rawClient(gateway.port);
    for (const at of framings.keys()) {
      await client.send(`HEAD /${at} HTTP/1.1\r\nHost: a\r\n\r\n`);
      const { status, header } = await client.response({ method: "HEAD" });
      assertEquals([status, header("etag"), header("content-length")], [200, '"1"', undefined]);
      assertEquals((await gateway.waitForLog(({ path }) => path === `/${at}`)).status, 200);
    }
  });

  Deno.test(`interim answers are the upstream's affair, and the final one arrives: ${way}`, async () => {
    await using upstream = recordingUpstream(() =>
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n${OK}`
    );
    await using gateway = await gatewayTo(upstream, plugins);
    using client = await rawClient(gateway.port);
    await client.send(get());
    assertEquals((await client.head()).status, 200);
  });

  Deno.test(`pipelined requests are answered one by one in their order: ${way}`, async () => {
    await using upstream = recordingUpstream(({ target }) =>
      `HTTP/1.1 200 OK\r\ncontent-length: ${target.length}\r\n\r\n${target}`
    );
    await using gateway = await gatewayTo(upstream, plugins);
    using client = await rawClient(gateway.port);
    const post = "POST /b HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\nxyz";
    await client.send(get("/a") + post + get("/c"));
    const answers = [await client.response(), await client.response(), await client.response()];
    assertEquals(answers.map((each) => each.text), ["/a", "/b", "/c"]);
  });

  Deno.test(`an HTTP/1.0 client gets a length or the end of the connection, never chunks: ${way}`, async () => {
    await using upstream = recordingUpstream(({ target }) =>
      target === "/length"
        ? OK
        : "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    );
    await using gateway = await gatewayTo(upstream, plugins);
    for (const target of ["/length", "/chunked"]) {
      using client = await rawClient(gateway.port);
      await client.send(`GET ${target} HTTP/1.0\r\nHost: a\r\n\r\n`);
      await client.ended();
      assert(/^HTTP\/1\.[01] 200 OK\r\n/.test(client.received), client.received);
      assert(client.received.endsWith("\r\n\r\nok"), client.received);
      assert(!/transfer-encoding/i.test(client.received), client.received);
    }
  });
}

Deno.test("Expect: 100-continue is answered here, the body follows, and the upstream is not asked to wait", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await gatewayTo(upstream, { "001-read.ts": HOOK_READS });
  using client = await rawClient(gateway.port);
  await client.send(
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
  );
  assertEquals((await client.head()).status, 100);
  await client.send("hello");
  assertEquals((await client.response()).status, 200);
  const [seen] = upstream.requests;
  assertEquals(new TextDecoder().decode(seen?.body), "hello");
  assertEquals(seen?.header("expect"), undefined);
});

Deno.test("an upstream that answers before the upload has ended is heard, and its connection is not used again", async () => {
  await using upstream = rawUpstream(async (conn) => {
    const { target } = await conn.readHead();
    await conn.send(`HTTP/1.1 ${target.slice(1)} X\r\ncontent-length: 3\r\n\r\nbig`);
    await conn.ended();
  });
  await using gateway = await gatewayTo(upstream);
  for (const [at, status] of [413, 413, 200].entries()) {
    using client = await rawClient(gateway.port);
    await client.send(
      `POST /${status} HTTP/1.1\r\nHost: a\r\ncontent-length: 1000000\r\n\r\nsome of it`,
    );
    const response = await client.response();
    assertEquals([response.status, response.text], [status, "big"]);
    assertEquals(upstream.connections.length, at + 1);
    await upstream.connections.at(-1)?.left;
  }
});

const GZIP = Uint8Array.from([
  0x1f,
  0x8b,
  8,
  0,
  0,
  0,
  0,
  0,
  0,
  3,
  0xcb,
  0xcf,
  6,
  0,
  0x47,
  0xdd,
  0xdc,
  0x79,
  2,
  0,
  0,
  0,
]);

function gzipped(): Uint8Array {
  const head = new TextEncoder().encode(
    `HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\netag: "z"\r\ncontent-type: text/plain\r\ncontent-length: ${GZIP.length}\r\n\r\n`,
  );
  return Uint8Array.from([...head, ...GZIP]);
}

Deno.test("encodings pass through untouched, and are asked for only where no hook reads the answer", async () => {
  await using upstream = recordingUpstream(gzipped);
  const asked = async (plugins: Readonly<Record<string, string>>) => {
    await using gateway = await gatewayTo(upstream, plugins);
    const response = await rawRequest(gateway.port, get("/", "Accept-Encoding: gzip, br\r\n"));
    assertEquals(response.body, GZIP);
    assertEquals(response.header("content-encoding"), "gzip");
    return upstream.requests.at(-1)?.header("accept-encoding");
  };
  const hook = "afterResponse(ctx) { ctx.response.setHeader('x-a', 'b'); }";
  assertEquals(await asked({}), "gzip, br");
  assertEquals(
    await asked({ "001-a.ts": `export default { readsBodies: false, ${hook} };` }),
    "gzip, br",
  );
  assertEquals(await asked({ "001-a.ts": "export default { beforeRequest() {} };" }), "gzip, br");
  assertEquals(await asked({ "001-a.ts": `export default { ${hook} };` }), "identity");
});

Deno.test("a body that a plugin sets takes the place of an encoded or streamed one, with its own fields and length", async () => {
  await using upstream = recordingUpstream(({ target }) =>
    target === "/encoded"
      ? gzipped()
      : `HTTP/1.1 206 Partial\r\ncontent-range: bytes 0-9/*\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n` +
        `${(100_000).toString(16)}\r\n${"x".repeat(100_000)}\r\n0\r\n\r\n`
  );
  await using gateway = await gatewayTo(upstream, {
    "001-set.ts": `export default { afterResponse(ctx) {
      ctx.response.setBody(ctx.request.query === "json" ? { a: "é" } : new Uint8Array([0, 255, 10]));
      if (ctx.request.query === "etag") ctx.response.setHeader("etag", '"mine"');
    } };`,
  });
  for (const path of ["/encoded", "/streamed"]) {
    const binary = await rawRequest(gateway.port, get(path));
    assertEquals(binary.body, new Uint8Array([0, 255, 10]));
    assertEquals(binary.status, 200, "a whole body is no part (RFC 9110 §15.3.7)");
    assertEquals(binary.header("content-length"), "3");
    assertEquals(binary.header("content-type"), "text/plain");
    for (const name of ["content-encoding", "content-range", "etag", "transfer-encoding"]) {
      assertEquals(binary.header(name), undefined, name);
    }
    const json = await rawRequest(gateway.port, get(`${path}?json`));
    assertEquals([json.text, json.header("content-length")], ['{"a":"é"}', "10"]);
    assertEquals(json.header("content-type"), "application/json");
    assertEquals((await rawRequest(gateway.port, get(`${path}?etag`))).header("etag"), '"mine"');
  }
  using client = await rawClient(gateway.port);
  await client.send("HEAD /encoded HTTP/1.1\r\nHost: a\r\n\r\n");
  assertEquals((await client.response({ method: "HEAD" })).header("content-length"), "3");
});
