/** A law of answers: what an upstream says and plugins make of it. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { testGateway } from "../support/gateway.ts";
import { http2Answer } from "../support/http2_client.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient } from "../support/raw_client.ts";
import { rawUpstream } from "../support/raw_upstream.ts";

const ANSWERS = 400;

/** What a hook does, in this order. */
interface Act {
  readonly reject?: number;
  readonly status?: number;
  readonly body?: string;
  readonly throws?: boolean;
}

const ACT = `const act = ({ reject, response, request }, name) => {
  const act = JSON.parse(request.headers[name]);
  if (act.reject) reject(act.reject, "no");
  if (act.status) response.setStatus(act.status);
  if (act.body !== undefined) response.setBody(act.body);
  if (act.throws) throw new Error("as told");
};`;
const acting = (more: string) =>
  `${ACT} export default { ${more} beforeRequest(ctx) { act(ctx, "x-before"); }, afterResponse(ctx) { act(ctx, "x-after"); } };`;

const status = fc.constantFrom(200, 201, 204, 205, 206, 301, 304, 404, 416, 503);
const act: fc.Arbitrary<Act> = fc.oneof(
  fc.constant({}),
  fc.record({ status, body: fc.constantFrom("", "new", "new".repeat(99)), throws: fc.boolean() }, {
    requiredKeys: [],
  }),
  fc.record({ reject: status }),
);
const scene = fc.record({
  method: fc.constantFrom("GET", "HEAD", "POST"),
  path: fc.constantFrom("/reads", "/streams"),
  says: status,
  framing: fc.constantFrom("length", "chunks", "end"),
  sizeBytes: fc.constantFrom(0, 2, 100, 101, 70_000),
  before: act,
  after: act,
});
type Scene = typeof scene extends fc.Arbitrary<infer T> ? T : never;

const isBodiless = (method: string, code: number) =>
  method === "HEAD" || code === 204 || code === 205 || code === 304;

/** The bytes of the upstream's answer. */
function spoken(method: string, { says, framing, sizeBytes }: Scene): string {
  const body = isBodiless(method, says) && says !== 205 ? "" : "x".repeat(sizeBytes);
  const head = `HTTP/1.1 ${says} X\r\netag: "1"\r\n`;
  switch (framing) {
    case "length":
      return `${head}content-length: ${sizeBytes}\r\n\r\n${body}`;
    case "end":
      return `${head}connection: close\r\n\r\n${body}`;
    case "chunks": {
      const chunk = body && `${body.length.toString(16)}\r\n${body}\r\n`;
      const hasChunks = !isBodiless(method, says) || says === 205;
      return `${head}transfer-encoding: chunked\r\n\r\n${hasChunks ? `${chunk}0\r\n\r\n` : ""}`;
    }
  }
}

/** What has to come of it: the status, and the body but for its trace id. */
function expected({ method, says, sizeBytes, before, after }: Scene): readonly unknown[] {
  const sent = (code: number, body: string) =>
    [code === 205 ? 204 : code, isBodiless(method, code) ? "" : body] as const;
  const error = (code: string, message: string) => JSON.stringify({ error: { code, message } });
  let draft: Act = {};
  for (const each of [before, after]) {
    if (each.reject) return sent(each.reject, error("rejected", "no"));
    if (each.throws && each === before) {
      return sent(500, error("plugin_error", "a policy check failed"));
    }
    if (!each.throws) draft = { ...draft, ...each };
  }
  const code = draft.status ?? (says === 206 && draft.body !== undefined ? 200 : says);
  return sent(
    code,
    draft.body ?? (isBodiless("", says) && says !== 205 ? "" : "x".repeat(sizeBytes)),
  );
}

const withoutTrace = (text: string) => text.replace(/,"traceId":"[^"]*"/, "");

Deno.test(`answer law: whatever ${ANSWERS} upstreams say and hooks change, the client gets that, by HTTP/1.1 as by HTTP/2, and the next answer is its own`, async () => {
  let current: Scene | undefined;
  await using upstream = rawUpstream(async (conn) => {
    for (;;) {
      const { method, target } = await conn.readRequest();
      if (target === "/after") await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nafter");
      else if (current) await conn.send(spoken(method, current));
      if (current?.framing === "end" && target !== "/after") return;
    }
  });
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      bodies: { inlineLimitBytes: 100 },
      routes: [
        { path: "/reads", upstream: upstream.url, plugins: ["001-reads"] },
        { path: "/streams", upstream: upstream.url, plugins: ["002-streams"] },
        { path: "/after", upstream: upstream.url, plugins: false },
      ],
    },
    plugins: { "001-reads.ts": acting(""), "002-streams.ts": acting("readsBodies: false,") },
  });
  await fc.assert(
    fc.asyncProperty(scene, async (told) => {
      current = told;
      const { method, path, before, after } = told;
      const fields = { "x-before": JSON.stringify(before), "x-after": JSON.stringify(after) };
      const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`).join("");
      const body = method === "POST" ? "hello" : "";
      const length = body && `content-length: ${body.length}\r\n`;
      using client = await rawClient(gateway.port);
      await client.send(
        `${method} ${path} HTTP/1.1\r\nHost: a\r\n${lines}${length}\r\n${body}` +
          "GET /after HTTP/1.1\r\nHost: a\r\n\r\n",
      );
      const first = await client.response({ method });
      assertEquals([first.status, withoutTrace(first.text)], expected(told));
      assertEquals((await client.response()).text, "after");
      const second = await http2Answer(gateway.url, { method, path, fields, body });
      assertEquals([second.status, withoutTrace(second.body)], expected(told));
      const named = ["etag", "content-type"];
      assertEquals(
        named.map((name) => second.fields[name]),
        named.map((name) => first.header(name)),
      );
    }),
    { numRuns: ANSWERS },
  );
});
