/** What plugins change of an answer, and what HTTP says of such an answer: validators, parts, statuses without a body. */
import { assertEquals } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { http2Answer } from "../support/http2_client.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient, rawRequest } from "../support/raw_client.ts";
import type { RawUpstream } from "../support/raw_upstream.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const get = (target = "/", method = "GET") => `${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

function gatewayTo(
  { url }: Pick<RawUpstream, "url">,
  plugins: Readonly<Record<string, string>>,
): Promise<TestGateway> {
  return testGateway({ config: { ...PATIENT, routes: [{ path: "/*", upstream: url }] }, plugins });
}

/** Each says something that is true of the upstream's bytes only. */
const OF_THE_BODY = {
  "accept-ranges": "bytes",
  "content-digest": "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
  "content-md5": "XUFAKrxLKna5cZ2REBfFkg==",
  "content-range": "bytes 0-4/10",
  "digest": "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=",
  "etag": '"of the upstream"',
  "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT",
  "repr-digest": "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
};

for (const hook of ["beforeRequest", "afterResponse"]) {
  Deno.test(`a body that ${hook} sets takes away what was said of the upstream's, and what it says itself stands`, async () => {
    const fields = Object.entries(OF_THE_BODY).map(([name, value]) => `${name}: ${value}\r\n`);
    await using upstream = recordingUpstream(({ target }) => {
      const type = target === "/parts" ? "Multipart/ByteRanges; boundary=x" : "text/plain";
      return `HTTP/1.1 206 Part\r\n${fields.join("")}content-type: ${type}\r\n` +
        "content-language: en\r\nlink: <x>\r\ncontent-length: 5\r\n\r\nhello";
    });
    await using gateway = await gatewayTo(upstream, {
      "001-set.ts": `export default { ${hook}({ response, request }) {
        if (request.query === "own") response.setHeader("last-modified", "Tue, 02 Jan 2024 00:00:00 GMT");
        if (request.query !== "none") response.setBody("new");
      } };`,
      "002-see.ts": `export default { afterResponse({ response }) {
        const { status, headers } = response;
        response.setHeader("x-seen", JSON.stringify([status, Object.keys(headers).sort()]));
      } };`,
    });
    const names = [...Object.keys(OF_THE_BODY), "content-type"].sort();
    const ask = async (target: string) => {
      const { status, text, header } = await rawRequest(gateway.port, get(target));
      const left = names.filter((name) => header(name) !== undefined);
      const [seenStatus, seenNames] = JSON.parse(header("x-seen") ?? "");
      assertEquals(seenStatus, status, "a later hook sees another status than the client");
      assertEquals(seenNames, ["content-language", "link", ...left].sort());
      return { status, text, left };
    };
    const own = ["content-type", "last-modified"];
    assertEquals(await ask("/"), { status: 200, text: "new", left: ["content-type"] });
    assertEquals(await ask("/parts"), { status: 200, text: "new", left: [] });
    assertEquals(await ask("/?own"), { status: 200, text: "new", left: own });
    assertEquals(await ask("/?none"), { status: 206, text: "hello", left: names });
  });
}

Deno.test("a body that a plugin sets in place of another plugin's takes away what that one said of its own", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await gatewayTo(upstream, {
    "001-compress.ts": `export default { afterResponse({ response }) {
      response.setBody("as if it were compressed");
      response.setHeader("content-encoding", "gzip");
      response.appendHeader("content-digest", "sha-256=:AAAA:");
      response.setHeader("x-other", "1");
    } };`,
    "002-replace.ts": `export default { afterResponse({ response, request }) {
      if (request.query === "keep") return;
      if (request.query === "own") response.setHeader("content-encoding", "gzip");
      response.setBody("another");
      if (request.query === "later") response.setHeader("content-encoding", "gzip");
    } };`,
  });
  for (
    const [query, text, encoding, digest] of [
      ["keep", "as if it were compressed", "gzip", "sha-256=:AAAA:"],
      ["", "another", undefined, undefined],
      ["own", "another", "gzip", undefined],
      ["later", "another", "gzip", undefined],
    ] as const
  ) {
    const answer = await rawRequest(gateway.port, get(`/?${query}`));
    const fields = ["content-encoding", "content-digest", "x-other"].map(answer.header);
    assertEquals([answer.text, ...fields], [text, encoding, digest, "1"], query);
  }
});

Deno.test("a 304 or 204 that a plugin makes a 200 is an empty one, whatever length it told of, also by HTTP/2", async () => {
  await using upstream = recordingUpstream(({ target }) =>
    target === "/after"
      ? "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nafter"
      : `HTTP/1.1 ${target.slice(1, 4)} X\r\ncontent-length: 1234\r\netag: "1"\r\n\r\n`
  );
  await using gateway = await gatewayTo(upstream, {
    "001-set.ts": `export default { afterResponse({ response }) { response.setStatus(200); } };`,
  });
  for (const target of ["/304", "/204"]) {
    using client = await rawClient(gateway.port);
    await client.send(get(target) + get("/after"));
    const { status, header, text } = await client.response();
    assertEquals([status, header("content-length"), header("etag"), text], [200, "0", '"1"', ""]);
    assertEquals((await client.response()).text, "after");
    const answer = await http2Answer(gateway.url, { path: target });
    assertEquals([answer.status, answer.fields["content-length"]], [200, undefined], target);
  }
});

Deno.test("a rejection without a body says nothing of one: a cache gives what a 304 says to what it has stored", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await gatewayTo(upstream, {
    "001-set.ts": `export default { beforeRequest({ response }) {
      response.setHeader("x-policy", "1");
      response.setHeader("content-disposition", "attachment");
      response.setHeader("content-language", "de");
      response.setHeader("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT");
    } };`,
    "002-reject.ts": `export default { beforeRequest(ctx) {
      const status = Number(ctx.request.path.slice(1));
      const type = ctx.request.query ? { "content-type": ctx.request.query } : {};
      ctx.reject(status, "not this time", { etag: '"e"', ...type });
    } };`,
  });
  for (const [status, sent] of [[304, 304], [204, 204], [205, 204], [403, 403]] as const) {
    for (const method of ["GET", "HEAD"]) {
      using client = await rawClient(gateway.port);
      await client.send(get(`/${status}`, method) + get("/403"));
      const { header, ...response } = await client.response({ method });
      assertEquals(response.status, sent);
      const type = status === 403 ? "application/json" : undefined;
      assertEquals(header("content-type"), type, `${method} ${status}`);
      assertEquals(header("content-length") !== undefined, status === 403, `${method} ${status}`);
      for (const name of ["content-disposition", "content-language", "last-modified"]) {
        assertEquals(header(name), undefined, name);
      }
      assertEquals([header("etag"), header("x-policy")], ['"e"', "1"]);
      assertEquals((await client.response()).status, 403, "the connection goes on");
    }
    const { fields } = await http2Answer(gateway.url, { path: `/${status}` });
    assertEquals(fields["content-type"], status === 403 ? "application/json" : undefined);
    assertEquals(fields["content-length"] !== undefined, status === 403);
    const own = await rawRequest(gateway.port, get(`/${status}?text/css`));
    assertEquals(own.header("content-type"), "text/css");
  }
  assertEquals(upstream.requests, []);
});
