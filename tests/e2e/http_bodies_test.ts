/** Bodies of every size and framing, both ways: what hooks see of them, and that they arrive byte for byte. */
import { PATIENT } from "../support/patient.ts";
import { assertEquals, assertMatch } from "@std/assert";
import { echoUpstream } from "../support/echo_upstream.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { rawRequest, type RawResponse } from "../support/raw_client.ts";
import type { RawRequest } from "../support/raw_upstream.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const LIMIT = 1000;
const SIZES = [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 200_000];
type Framing = "length" | "chunked";

/** Tells what a hook sees: the metadata, and the bytes where they are inline. */
const SHOW = `
const show = (view) => JSON.stringify({
  ...view.body, bytes: view.body.kind === "reference" ? null : view.bytes().toBase64(),
});
export default {
  beforeRequest(ctx) { ctx.upstream.setHeader("x-seen", show(ctx.request)); },
  afterResponse(ctx) { ctx.response.setHeader("x-seen", show(ctx.response)); },
};`;

/** Every byte value, so that any decoding on the way would show. */
function binary(sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, at) => (at * 7) % 256);
}

/** A message with this body. Chunks are of different sizes, and cut characters and lines anywhere. */
function message(start: string, body: Uint8Array, framing: Framing): Uint8Array {
  const pieces: (string | Uint8Array)[] = [`${start}\r\n`];
  if (framing === "length") {
    pieces.push(`content-length: ${body.length}\r\n\r\n`, body);
  } else {
    pieces.push("transfer-encoding: chunked\r\n\r\n");
    for (let at = 0, size = 1; at < body.length; at += size, size = size * 3 % 70_001) {
      const piece = body.subarray(at, at + size);
      pieces.push(`${piece.length.toString(16)}\r\n`, piece, "\r\n");
    }
    pieces.push("0\r\n\r\n");
  }
  const parts = pieces.map((each) =>
    typeof each === "string" ? new TextEncoder().encode(each) : each
  );
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function post(body: Uint8Array, framing: Framing): Uint8Array {
  return message("POST /x HTTP/1.1\r\nhost: a", body, framing);
}

/** What a hook that reads bodies is to see. */
function expectedView(body: Uint8Array, framing: Framing): unknown {
  if (body.length === 0) return { kind: "none", bytes: "" };
  if (body.length <= LIMIT) {
    return { kind: "inline", sizeBytes: body.length, bytes: body.toBase64() };
  }
  const sizeBytes = framing === "length" ? { sizeBytes: body.length } : {};
  return { kind: "reference", ...sizeBytes, bytes: null };
}

function viewOf({ header }: RawRequest | RawResponse): unknown {
  const { ref, ...view } = JSON.parse(header("x-seen") ?? "{}");
  assertEquals(/^stream:\/\/\d+$/.test(ref ?? "stream://1"), true, ref);
  return view;
}

function showingGateway({ url }: { readonly url: string }): Promise<TestGateway> {
  return testGateway({
    config: {
      ...PATIENT,
      bodies: { inlineLimitBytes: LIMIT },
      routes: [{ path: "/*", upstream: url }],
    },
    plugins: { "001-show.ts": SHOW },
  });
}

for (const framing of ["length", "chunked"] as const) {
  Deno.test(`a hook sees bodies up to the inline limit, and larger ones as stream://N: requests, ${framing}`, async () => {
    await using upstream = recordingUpstream();
    await using gateway = await showingGateway(upstream);
    for (const body of SIZES.map(binary)) {
      assertEquals((await rawRequest(gateway.port, post(body, framing))).status, 200);
      const seen = upstream.requests.at(-1);
      if (!seen) throw new Error("the upstream was not asked");
      assertEquals(viewOf(seen), expectedView(body, framing));
      assertEquals(seen.body, body);
      // What was captured has a length; what was not stays as it came.
      const isStillChunked = framing === "chunked" && body.length > LIMIT;
      assertEquals(seen.header("transfer-encoding"), isStillChunked ? "chunked" : undefined);
      assertEquals(seen.header("content-length"), isStillChunked ? undefined : `${body.length}`);
    }
  });

  Deno.test(`a hook sees bodies up to the inline limit, and larger ones as stream://N: responses, ${framing}`, async () => {
    await using upstream = recordingUpstream(({ target }) =>
      message("HTTP/1.1 200 OK", binary(Number(target.slice(1))), framing)
    );
    await using gateway = await showingGateway(upstream);
    for (const body of SIZES.map(binary)) {
      const response = await rawRequest(
        gateway.port,
        `GET /${body.length} HTTP/1.1\r\nHost: a\r\n\r\n`,
      );
      assertEquals(viewOf(response), expectedView(body, framing));
      assertEquals(response.body, body);
      // A chunked answer that happened to be here as a whole gets a length, which is right for any client.
      const announced = response.header("content-length");
      if (announced !== undefined || framing === "length") {
        assertEquals(announced, `${body.length}`);
      }
    }
  });
}

Deno.test("a body that is there with its head is a reference too where it is over the limit, or nobody reads it", async () => {
  await using upstream = recordingUpstream(() => message("HTTP/1.1 200 OK", binary(20), "length"));
  for (const readsBodies of [true, false]) {
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        bodies: { inlineLimitBytes: readsBodies ? 10 : 1000 },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: {
        "001-show.ts":
          `export default { readsBodies: ${readsBodies}, afterResponse(ctx) { ctx.response.setHeader("x-kind", ctx.response.body.kind); } };`,
      },
    });
    const response = await rawRequest(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assertEquals([response.header("x-kind"), response.body.length], ["reference", 20]);
  }
});

Deno.test("readsBodies: false sends no body to that plugin, and reading one all the same is its error", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-blind.ts": `export default { readsBodies: false, onHookError: "continue",
        beforeRequest(ctx) {
          ctx.response.setHeader("x-blind", JSON.stringify(ctx.request.body));
          if (ctx.request.query === "read") ctx.request.text();
        } };`,
      "002-reader.ts": `export default { beforeRequest(ctx) {
        ctx.response.setHeader("x-reader", ctx.request.text());
      } };`,
    },
  });
  const post = (target: string) =>
    rawRequest(
      gateway.port,
      `POST ${target} HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\nhello`,
    );
  const response = await post("/");
  assertEquals(response.header("x-blind"), '{"kind":"inline","sizeBytes":5}');
  assertEquals(response.header("x-reader"), "hello");
  assertEquals((await post("/?read")).header("x-blind"), undefined);
  await gateway.waitForLog((line) =>
    /^hook failed/.test(line.message) && JSON.stringify(line).includes("readsBodies: false")
  );
});

Deno.test("a hook of afterResponse sees the request's body as beforeRequest did", async () => {
  await using upstream = echoUpstream();
  const seen = (hook: string) =>
    `ctx.response.appendHeader("x-seen", "${hook} " + ctx.request.body.kind + " " + (ctx.request.body.kind === "inline" ? ctx.request.text() : ctx.request.body.ref));`;
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      bodies: { inlineLimitBytes: 8 },
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: {
      "001-see.ts": `export default {
        beforeRequest(ctx) { ${seen("before")} },
        afterResponse(ctx) { ${seen("after")} },
      };`,
    },
  });
  const small = await gateway.fetch("/", { method: "POST", body: "hello" });
  assertEquals(small.headers.get("x-seen"), "before inline hello, after inline hello");
  await small.body?.cancel();
  const large = await gateway.fetch("/", { method: "POST", body: "hello, hello" });
  assertMatch(
    large.headers.get("x-seen") ?? "",
    /^before reference (stream:\/\/\d+), after reference \1$/,
  );
  await large.body?.cancel();
});
