import { assert, assertEquals } from "@std/assert";
import { ask, errorOf, logOf } from "../support/failure.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { rawExchange } from "../support/raw_conversation.ts";
import { type RawConn, type RawUpstream, rawUpstream } from "../support/raw_upstream.ts";
import { freePort } from "../support/sockets.ts";

const UNREACHABLE = { code: "upstream_unreachable", message: "the upstream could not be reached" };
const TIMEOUT = { code: "upstream_timeout", message: "the upstream did not answer in time" };

/** The upstream's answer is passed on as it comes, or captured first because a hook reads it. */
const WAYS = [
  { way: "streamed", plugins: {} },
  {
    way: "read by a hook",
    plugins: {
      "001-reads.ts": `export default {
        afterResponse(ctx) { ctx.response.setHeader("x-bytes", String(ctx.response.text().length)); },
      };`,
    },
  },
] as const;

function gatewayTo(
  upstream: string,
  plugins: Readonly<Record<string, string>> = {},
): Promise<TestGateway> {
  return testGateway({
    config: {
      timeouts: { connectMs: 1000, responseHeaderMs: 300, idleMs: 300 },
      routes: [{ path: "/*", upstream }],
    },
    plugins,
  });
}

/** Answers every request of a connection the same way, as long as `answer` leaves it open. */
function answering(answer: (conn: RawConn) => Promise<void>): RawUpstream {
  return rawUpstream(async (conn) => {
    await conn.readRequest();
    await answer(conn);
  });
}

const BEFORE_THE_HEAD = [
  { what: "breaks off without a word", send: "", refusal: UNREACHABLE, status: 502 },
  {
    what: "breaks off within the head",
    send: "HTTP/1.1 200 OK\r\ncontent-le",
    refusal: UNREACHABLE,
    status: 502,
  },
  {
    what: "lies about its length (two of them)",
    send: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    refusal: UNREACHABLE,
    status: 502,
  },
] as const;

for (const { way, plugins } of WAYS) {
  Deno.test(`failure: upstream refuses the connection; 502 without its address (${way})`, async () => {
    const port = freePort();
    await using gateway = await gatewayTo(`http://127.0.0.1:${port}`, plugins);
    const answer = await ask(gateway, "/");
    assertEquals([answer.status, errorOf(answer)], [502, UNREACHABLE]);
    assert(!JSON.stringify([answer.text, ...answer.headers]).includes(String(port)));
    await logOf(gateway, answer, "upstream failed");
  });

  for (const { what, send, refusal, status } of BEFORE_THE_HEAD) {
    Deno.test(`failure: upstream ${what}; ${status}, and that connection is never reused (${way})`, async () => {
      await using upstream = answering((conn) => conn.send(send));
      await using gateway = await gatewayTo(upstream.url, plugins);
      for (let times = 1; times <= 2; times++) {
        const answer = await ask(gateway, "/", { method: "POST", body: "x" });
        assertEquals([answer.status, errorOf(answer)], [status, refusal]);
        assertEquals(upstream.connections.length, times);
        assert(!answer.text.includes(String(upstream.port)));
      }
    });
  }

  Deno.test(`failure: upstream too slow; 504, and that connection is never reused (${way})`, async () => {
    await using upstream = answering((conn) => conn.ended());
    await using gateway = await gatewayTo(upstream.url, plugins);
    for (let times = 1; times <= 2; times++) {
      const answer = await ask(gateway, "/");
      assertEquals([answer.status, errorOf(answer)], [504, TIMEOUT]);
      assertEquals(upstream.connections.length, times);
    }
  });

  Deno.test(`failure: upstream lies about its length; what is over it is dropped, and that connection is never reused (${way})`, async () => {
    await using upstream = answering(async (conn) => {
      await conn.send(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nsmuggled",
      );
      await conn.ended();
    });
    await using gateway = await gatewayTo(upstream.url, plugins);
    for (let times = 1; times <= 2; times++) {
      const answer = await ask(gateway, "/");
      assertEquals([answer.status, answer.text], [200, "ok"]);
      assertEquals(upstream.connections.length, times);
    }
  });
}

/** Bodies that never come to their end: the upstream closes, or falls silent. */
const CUT_BODIES = [
  {
    what: "breaks off within its body",
    head: "content-length: 10\r\n\r\n",
    body: "12345",
    isSilent: false,
    captured: 502,
  },
  {
    what: "breaks off within a chunk",
    head: "transfer-encoding: chunked\r\n\r\n",
    body: "a\r\n12345",
    isSilent: false,
    captured: 502,
  },
  {
    what: "falls silent within its body",
    head: "content-length: 10\r\n\r\n",
    body: "12345",
    isSilent: true,
    captured: 504,
  },
] as const;

for (const { what, head, body, isSilent, captured } of CUT_BODIES) {
  const send = async (conn: RawConn) => {
    await conn.send(`HTTP/1.1 200 OK\r\n${head}${body}`);
    if (isSilent) await conn.ended();
  };

  Deno.test(`failure: upstream ${what}; the client's connection is cut, since the head is out`, async () => {
    await using upstream = answering(send);
    await using gateway = await gatewayTo(upstream.url);
    const text = await rawExchange(
      gateway.port,
      "GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET /second HTTP/1.1\r\nhost: localhost\r\n\r\n",
      { quietMs: 3000 },
    );
    assert(text.startsWith("HTTP/1.1 200 OK\r\n"), text);
    assertEquals(text.split("HTTP/1.1").length, 2, "there is no second answer on that connection");
    assert(!text.endsWith("0\r\n\r\n"), "a cut body must not look complete");
    await gateway.waitForLog((line) => line.message === "GET / 200");
    assertEquals(upstream.connections.length, 1);
  });

  Deno.test(`failure: upstream ${what}; ${captured} when a hook was to read it first`, async () => {
    await using upstream = answering(send);
    await using gateway = await gatewayTo(upstream.url, WAYS[1].plugins);
    const answer = await ask(gateway, "/");
    const refusal = captured === 502 ? UNREACHABLE : TIMEOUT;
    assertEquals([answer.status, errorOf(answer)], [captured, refusal]);
    assertEquals(answer.headers.get("x-bytes"), null);
  });
}
