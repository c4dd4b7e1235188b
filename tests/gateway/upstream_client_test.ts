import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { UpstreamFailure } from "../../gateway/errors.ts";
import { rawUpstream } from "../support/raw_upstream.ts";
import { OK, recordingUpstream } from "../support/recording_upstream.ts";
import {
  bodyText,
  disposableClient,
  failureOf,
  until,
  upstreamRequest,
} from "../support/upstream_request.ts";

function streamOf(...pieces: readonly (string | Error)[]): ReadableStream<Uint8Array> {
  const left = [...pieces];
  return new ReadableStream({
    pull(controller) {
      const piece = left.shift();
      if (piece === undefined) controller.close();
      else if (piece instanceof Error) controller.error(piece);
      else controller.enqueue(new TextEncoder().encode(piece));
    },
  }, { highWaterMark: 0 });
}

Deno.test("upstream client reuses a connection and says so", async () => {
  await using upstream = recordingUpstream();
  using client = disposableClient();
  const reused = [];
  for (let i = 0; i < 3; i++) {
    const response = await client.send(upstream.origin, upstreamRequest());
    assertEquals(await bodyText(response), "ok");
    reused.push(response.reused);
  }
  assertEquals(reused, [false, true, true]);
  assertEquals(upstream.connections.length, 1);
});

for (const [declared, connections] of [["transfer-encoding: chunked\r\n", 2], ["", 1]] as const) {
  const reuse = connections === 1 ? "and" : "and not";
  Deno.test(`upstream client reuses a connection after a streamed chunked body, ${reuse} after a HEAD whose answer says ${JSON.stringify(declared)}`, async () => {
    await using upstream = rawUpstream(async (conn) => {
      for (;;) {
        const { method } = await conn.readRequest();
        const framing = method === "GET" ? "transfer-encoding: chunked\r\n" : declared;
        await conn.send(`HTTP/1.1 200 OK\r\n${framing}\r\n`);
        if (method === "GET") {
          await conn.send("2\r\nab\r\n", "2;x=y\r\ncd\r\n0\r\nx-t: 1\r\n\r\n");
        }
      }
    });
    using client = disposableClient();
    for (const method of ["GET", "GET", "HEAD", "GET"]) {
      const response = await client.send(upstream.origin, upstreamRequest({ method }));
      assertEquals(await bodyText(response), method === "GET" ? "abcd" : "");
    }
    assertEquals(upstream.connections.length, connections);
  });
}

Deno.test("upstream client writes head and small body byte for byte, and Content-Length where a body is expected", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.readRequest();
    await conn.send(OK.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"));
  });
  using client = disposableClient();
  const pending = client.send(
    upstream.origin,
    upstreamRequest({
      method: "POST",
      target: "/a?b=%20",
      headers: [["host", "h"], ["x-name", "caf\xe9"], ["x-name", "2"]],
      body: new TextEncoder().encode("hi"),
    }),
  );
  await until(() => upstream.requests.length === 1);
  assertEquals(
    upstream.connections[0]?.received,
    "POST /a?b=%20 HTTP/1.1\r\nhost: h\r\nx-name: caf\xe9\r\nx-name: 2\r\ncontent-length: 2\r\n\r\nhi",
  );
  upstream.connections[0]?.close();
  assertEquals(await failureOf(pending), "closed");
});

Deno.test("upstream client frames bodies: none, empty, large, stream with a length, stream without", async () => {
  await using upstream = recordingUpstream();
  using client = disposableClient();
  const large = new Uint8Array(3_000_000).map((_, i) => i * 7);
  const cases = [
    { method: "GET", body: null },
    { method: "POST", body: null },
    { method: "DELETE", body: new Uint8Array(0) },
    { method: "PUT", body: large },
    { method: "PUT", body: { stream: streamOf("ab", "", "cd"), lengthBytes: 4 } },
    { method: "PUT", body: { stream: streamOf("ab", "", "cd") } },
    { method: "PUT", body: { stream: streamOf() } },
  ];
  for (const request of cases) await client.send(upstream.origin, upstreamRequest(request));
  const seen = upstream.requests.map((request) => [
    request.header("content-length"),
    request.header("transfer-encoding"),
    request.body.length,
  ]);
  assertEquals(seen, [
    [undefined, undefined, 0],
    ["0", undefined, 0],
    ["0", undefined, 0],
    ["3000000", undefined, 3_000_000],
    ["4", undefined, 4],
    [undefined, "chunked", 4],
    [undefined, "chunked", 0],
  ]);
  assertEquals(upstream.requests[3]?.body, large);
  assertEquals(upstream.connections.length, 1);
});

for (const bad of ["a\r\nx: y", "a\nb", "a\0b", "\u{100}"]) {
  Deno.test(`upstream client refuses to send the header value ${JSON.stringify(bad)}`, async () => {
    await using upstream = rawUpstream((conn) => conn.ended());
    using client = disposableClient();
    const request = upstreamRequest({ headers: [["host", "h"], ["x", bad]] });
    assertEquals(await failureOf(client.send(upstream.origin, request)), "malformed");
    await until(() => upstream.connections.length === 1);
    assertEquals(upstream.connections[0]?.received, "");
  });
}

for (const pieces of [["abc"], ["abc", "def"], ["abcdef"]]) {
  const total = pieces.join("").length;
  Deno.test(`upstream client aborts where a body of 5 declared bytes has ${total} (${pieces.length} pieces)`, async () => {
    await using upstream = rawUpstream((conn) => conn.ended());
    using client = disposableClient();
    const body = { stream: streamOf(...pieces), lengthBytes: 5 };
    const request = upstreamRequest({ method: "POST", body });
    assertEquals(await failureOf(client.send(upstream.origin, request)), "aborted");
    await until(() => upstream.connections.length === 1);
    await upstream.connections[0]?.left;
    const sent = upstream.connections[0]?.received.split("\r\n\r\n")[1] ?? "";
    assert(sent.length < 5, `sent ${sent}`);
  });
}

Deno.test("upstream client aborts where the request body breaks off, with the cause", async () => {
  await using upstream = rawUpstream((conn) => conn.ended());
  using client = disposableClient();
  const body = { stream: streamOf("abc", new Error("client left")) };
  const error = await client.send(upstream.origin, upstreamRequest({ method: "POST", body }))
    .catch((error) => error);
  assertEquals([error.failure, error.cause.message], ["aborted", "client left"]);
  await until(() => upstream.connections.length === 1);
  await upstream.connections[0]?.left;
});

/** Answers the first request of the first connection, then ends that connection when the second request is there. */
function staleUpstream(beforeEnd = "") {
  return rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send(OK);
    await conn.readRequest();
    if (conn.index === 0) await conn.send(beforeEnd);
    else await conn.send(OK);
  });
}

Deno.test("upstream client retries a GET once where the reused connection ended without an answer", async () => {
  await using upstream = staleUpstream();
  using client = disposableClient();
  await client.send(upstream.origin, upstreamRequest());
  const response = await client.send(upstream.origin, upstreamRequest());
  assertEquals([response.retried, response.reused, await bodyText(response)], [true, false, "ok"]);
  assertEquals(upstream.connections.length, 2);
});

Deno.test("upstream client does not retry a POST that the upstream may have seen", async () => {
  await using upstream = staleUpstream();
  using client = disposableClient();
  await client.send(upstream.origin, upstreamRequest());
  const request = upstreamRequest({ method: "POST" });
  assertEquals(await failureOf(client.send(upstream.origin, request)), "closed");
  assertEquals(upstream.connections.length, 1);
});

Deno.test("upstream client does not retry a GET that has a body", async () => {
  await using upstream = staleUpstream();
  using client = disposableClient();
  await client.send(upstream.origin, upstreamRequest());
  const request = upstreamRequest({ body: new Uint8Array(1) });
  assertEquals(await failureOf(client.send(upstream.origin, request)), "closed");
  assertEquals(upstream.connections.length, 1);
});

Deno.test("upstream client does not retry after the first byte of an answer", async () => {
  await using upstream = staleUpstream("H");
  using client = disposableClient();
  await client.send(upstream.origin, upstreamRequest());
  assertEquals(await failureOf(client.send(upstream.origin, upstreamRequest())), "closed");
  assertEquals(upstream.connections.length, 1);
});

Deno.test("upstream client does not retry on a fresh connection", async () => {
  await using upstream = rawUpstream(async (conn) => void await conn.readRequest());
  using client = disposableClient();
  assertEquals(await failureOf(client.send(upstream.origin, upstreamRequest())), "closed");
  assertEquals(upstream.connections.length, 1);
});

Deno.test("upstream client returns an early answer, stops the upload and does not reuse the connection", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readHead();
    await conn.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
    await conn.ended();
  });
  using client = disposableClient();
  let cancelled = false;
  const stream = new ReadableStream<Uint8Array>({
    pull: () => new Promise(() => {}), // A client that sends nothing more.
    cancel: () => void (cancelled = true),
  });
  const request = upstreamRequest({ method: "POST", body: { stream } });
  const response = await client.send(upstream.origin, request);
  assertEquals([response.status, await bodyText(response)], [413, "no"]);
  assert(cancelled);
  assertEquals((await client.send(upstream.origin, upstreamRequest())).reused, false);
  await upstream.connections[0]?.left;
});

Deno.test("upstream client returns an early answer while a large body is stuck in a write", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readHead();
    await conn.send("HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\n", "nono");
    await conn.endSending();
    await until(() => answered);
  });
  let answered = false;
  using client = disposableClient();
  const body = new Uint8Array(64 * 1024 * 1024);
  const request = upstreamRequest({ method: "POST", body });
  const response = await client.send(upstream.origin, request);
  assertEquals([response.status, await bodyText(response)], [413, "nono"]);
  answered = true;
});

// Aborts. `stage` is where the round trip is held up when the signal fires.
Deno.test("upstream client ends at once when aborted while connecting", async () => {
  const controller = new AbortController();
  using client = disposableClient({
    connect: ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        controller.abort(new Error("left"));
      }),
  });
  const request = upstreamRequest({ signal: controller.signal });
  const origin = { protocol: "http:", hostname: "127.0.0.1", port: 9 } as const;
  assertEquals(await failureOf(client.send(origin, request)), "aborted");
});

Deno.test("upstream client sends nothing for a signal that has already fired", async () => {
  await using upstream = rawUpstream((conn) => conn.ended());
  using client = disposableClient();
  const request = upstreamRequest({ signal: AbortSignal.abort() });
  assertEquals(await failureOf(client.send(upstream.origin, request)), "aborted");
  assertEquals(upstream.connections.length, 0);
});

Deno.test("upstream client closes the connection when aborted while a write is stuck", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readHead();
    await until(() => controller.signal.aborted);
    await conn.ended();
  });
  const controller = new AbortController();
  using client = disposableClient();
  const body = new Uint8Array(64 * 1024 * 1024);
  const pending = failureOf(
    client.send(
      upstream.origin,
      upstreamRequest({ method: "POST", body, signal: controller.signal }),
    ),
  );
  await until(() => upstream.connections[0]?.received.startsWith("POST") === true);
  controller.abort();
  assertEquals(await pending, "aborted");
});

Deno.test("upstream client closes the connection when aborted while waiting for the answer", async () => {
  const controller = new AbortController();
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    controller.abort();
    await conn.ended();
  });
  using client = disposableClient();
  const request = upstreamRequest({ signal: controller.signal });
  assertEquals(await failureOf(client.send(upstream.origin, request)), "aborted");
  await upstream.connections[0]?.left;
  assertEquals(upstream.connections.length, 1);
});

Deno.test("upstream client closes the connection when aborted while the body streams, also unread", async () => {
  const controller = new AbortController();
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "abc");
    await conn.ended();
  });
  using client = disposableClient();
  const request = upstreamRequest({ signal: controller.signal });
  const response = await client.send(upstream.origin, request);
  controller.abort();
  await upstream.connections[0]?.left;
  assertEquals(await failureOf(bodyText(response)), "aborted");
});

Deno.test("upstream client closes the connection when the body stream is cancelled", async () => {
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "3\r\nabc\r\n");
    await conn.ended();
  });
  using client = disposableClient();
  const { body } = await client.send(upstream.origin, upstreamRequest());
  assert(body instanceof ReadableStream);
  await body.cancel();
  await until(() => upstream.connections.length === 1);
  await upstream.connections[0]?.left;
});

const HOLD: Record<string, { answer: string; expected: UpstreamFailure }> = {
  "the response head": { answer: "HTTP/1.1 200 OK\r\n", expected: "timeout" },
  "the rest of the response body": {
    answer: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
    expected: "timeout",
  },
};
for (const [waitingFor, { answer, expected }] of Object.entries(HOLD)) {
  Deno.test(`upstream client gives up waiting for ${waitingFor}`, async () => {
    await using upstream = rawUpstream(async (conn) => {
      await conn.readRequest();
      await conn.send(answer);
      await conn.ended();
    });
    using client = disposableClient();
    const request = upstreamRequest({ timeouts: { responseHeaderMs: 150, idleMs: 150 } });
    const error = await client.send(upstream.origin, request).then(bodyText).catch((e) => e);
    assertEquals(error.failure, expected);
    assertStringIncludes(error.message, waitingFor);
    await upstream.connections[0]?.left;
  });
}

Deno.test("upstream client gives up on an upstream that takes no more of the request", async () => {
  await using upstream = rawUpstream(() => until(() => over));
  let over = false;
  using client = disposableClient();
  const body = new Uint8Array(64 * 1024 * 1024);
  const request = upstreamRequest({ method: "POST", body, timeouts: { idleMs: 150 } });
  assertEquals(await failureOf(client.send(upstream.origin, request)), "timeout");
  over = true;
});

Deno.test("upstream client gives up connecting after connectMs, and calls it a timeout", async () => {
  using client = disposableClient({
    connect: ({ signal }) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  });
  const request = upstreamRequest({ timeouts: { connectMs: 50 } });
  const origin = { protocol: "http:", hostname: "127.0.0.1", port: 9 } as const;
  assertEquals(await failureOf(client.send(origin, request)), "timeout");
});

Deno.test("upstream client does not count the time in which nobody reads the body or fills the upload", async () => {
  let read = 0;
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n");
    for (const piece of ["ab", "cd", "ef"]) {
      await conn.send(piece);
      const before = read;
      await until(() => read > before);
    }
    await conn.ended();
  });
  using client = disposableClient();
  // Every pause is longer than every limit.
  const pause = () => new Promise((resolve) => setTimeout(resolve, 250));
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      await pause();
      controller.enqueue(new Uint8Array(3));
      controller.close();
    },
  });
  const timeouts = { responseHeaderMs: 150, idleMs: 150 };
  const request = upstreamRequest({ method: "POST", body: { stream }, timeouts });
  const { body } = await client.send(upstream.origin, request);
  assert(body instanceof ReadableStream);
  let text = "";
  for await (const piece of body) {
    text += new TextDecoder().decode(piece);
    await pause();
    read++;
  }
  assertEquals(text, "abcdef");
});

Deno.test("upstream client holds an upstream back while nobody reads, and then passes 256 MiB on", async () => {
  const total = 256 * 1024 * 1024;
  await using upstream = rawUpstream(async (conn) => {
    await conn.readRequest();
    await conn.send(`HTTP/1.1 200 OK\r\ncontent-length: ${total}\r\n\r\n`);
    const piece = new Uint8Array(1024 * 1024);
    for (let at = 0; at < total; at += piece.length) await conn.send(piece);
    await conn.ended();
  });
  using client = disposableClient();
  const { body } = await client.send(upstream.origin, upstreamRequest());
  assert(body instanceof ReadableStream);
  // Until the upstream has made no progress for a while: what it has sent then lies in the kernel's buffers.
  let before = -1;
  for (let sent = 0; sent !== before; sent = upstream.connections[0]?.sentBytes ?? 0) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert(before < 32 * 1024 * 1024, `the upstream could send ${before} bytes`);
  let received = 0;
  for await (const piece of body) received += piece.length;
  assertEquals(received, total);
});
