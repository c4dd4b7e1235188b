/** Attacks 24 and 25: clients that are slow on purpose, or send too much. */
import { assert, assertEquals } from "@std/assert";
import { attackTest } from "../support/attack_rows.ts";
import { askMany, assertAllServed, assertNothingLeft } from "../support/failure.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { usageOf } from "../support/proc.ts";
import { rawRequest } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { chunk } from "../support/smuggling.ts";

const MARK =
  `export default { readsBodies: false, beforeRequest(ctx) { ctx.log.info("the hook ran"); } };`;
const READ = `export default { beforeRequest(ctx) { ctx.log.info("the hook ran"); } };`;

const MAX = 2000;
const GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
const post = (fields: string, body = "") =>
  `POST /x HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;

/** How a head begins that will never end, and what is sent of it again and again. */
const SLOW_HEADS: readonly (readonly [begins: string, goesOn: string])[] = [
  ["", ""],
  ["G", "E"],
  ["GET /x", "x"],
  ["GET /x HTTP/1.1\r\nHost: a\r\nX", "x"],
  ["GET /x HTTP/1.1\r\nHost: a\r\nX: ", "x"],
  ["GET /x HTTP/1.1\r\nHost: a\r\n", "X: y\r\n"],
  [`${GET}GET /y HTTP/1.1\r\nHost: a`, "a"],
  // The head is whole; a body with such pauses is a 408 after idleMs.
  [post("Content-Length: 1000000"), "x"],
];
const SLOW_CONNECTIONS = 2000;

attackTest(
  "attack 24: 2,000 connections whose heads never end take nothing from other clients, and are given back",
  { 24: SLOW_HEADS },
  async (heads) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: { "001-x.ts": MARK },
    });
    assertAllServed(await askMany(gateway, "/before", 50));
    const before = await usageOf(gateway.pid);
    const slow: Deno.Conn[] = [];
    const say = async (conn: Deno.Conn, text: string) => {
      await conn.write(new TextEncoder().encode(text)).catch(() => {}); // refused by now
    };
    try {
      for (let at = 0; at < SLOW_CONNECTIONS; at++) {
        const conn = await Deno.connect({ hostname: "127.0.0.1", port: gateway.port });
        slow.push(conn);
        await say(conn, heads[at % heads.length]?.[0] ?? "");
      }
      for (let round = 0; round < 3; round++) {
        const others = askMany(gateway, `/round-${round}`, 50);
        await Promise.all(slow.map((conn, at) => say(conn, heads[at % heads.length]?.[1] ?? "")));
        assertAllServed(await others);
      }
      const open = (await usageOf(gateway.pid)).fds;
      assert(open > before.fds + SLOW_CONNECTIONS / 2, `only ${open} descriptors were open`);
    } finally {
      for (const conn of slow) conn.close();
    }
    // Connections that the others and the upstream keep open are not what is meant.
    const mostFds = before.fds + SLOW_CONNECTIONS / 10;
    await gateway.until(async () => (await usageOf(gateway.pid)).fds <= mostFds, {
      what: "the descriptors to be given back",
      withinMs: 30_000,
    });
    assertAllServed(await askMany(gateway, "/after", 50));
  },
);

/** What is sent, and whether a hook that reads no bodies may run before it is known to be too long. */
const TOO_LONG: readonly (readonly [name: string, sent: string, hookMayRun: boolean])[] = [
  ["declared, one byte over", post(`Content-Length: ${MAX + 1}`, "x".repeat(MAX + 1)), false],
  ["declared and never sent", post("Content-Length: 99999999999"), false],
  ["declared as more than there is", post("Content-Length: 999999999999999", "x"), false],
  [
    "declared, and waiting for leave to send it",
    post(`Expect: 100-continue\r\nContent-Length: ${MAX + 1}`),
    false,
  ],
  ["in one chunk", post("Transfer-Encoding: chunked", chunk("x".repeat(MAX + 1))), true],
  [
    "in two chunks",
    post(
      "Transfer-Encoding: chunked",
      chunk("x".repeat(1500)) + chunk("x".repeat(501)) + "0\r\n\r\n",
    ),
    true,
  ],
  ["in chunks of a byte", post("Transfer-Encoding: chunked", chunk("x").repeat(MAX + 1)), true],
  [
    "in a chunk that does not end",
    post("Transfer-Encoding: chunked", `7fffffffffffffff\r\n${"x".repeat(MAX + 1)}`),
    true,
  ],
];

for (const [way, plugin] of [["streamed", MARK], ["read by a hook", READ]] as const) {
  attackTest(
    `attack 25: a request body up to maxRequestBytes passes, one byte more is a 413: ${way}`,
    { 25: TOO_LONG },
    async (refusals) => {
      await using upstream = recordingUpstream();
      await using gateway = await testGateway({
        config: {
          ...PATIENT,
          bodies: { maxRequestBytes: MAX, inlineLimitBytes: 100_000 },
          routes: [{ path: "/*", upstream: upstream.url }],
        },
        plugins: { "001-x.ts": plugin },
      });
      const fits = "x".repeat(MAX);
      const fitting = [
        post(`Content-Length: ${MAX}`, fits),
        post(
          "Transfer-Encoding: chunked",
          chunk(fits.slice(0, 1500)) + chunk(fits.slice(1500)) + "0\r\n\r\n",
        ),
      ];
      for (const sent of fitting) {
        assertEquals((await rawRequest(gateway.port, sent)).status, 200);
      }
      assertEquals(upstream.requests.map((each) => each.body.length), [MAX, MAX]);

      for (const [name, sent, hookMayRun] of refusals) {
        const response = await rawRequest(gateway.port, sent);
        assertEquals(
          [response.status, JSON.parse(response.text).error.code],
          [413, "payload_too_large"],
          name,
        );
        const traceId = response.header("x-request-id");
        const itsLines = () => gateway.logs.filter((line) => line.traceId === traceId);
        await gateway.until(() => itsLines().some((line) => line.status === 413), {
          what: "the access line",
        });
        const ran = itsLines().some((line) => line.message === "the hook ran");
        assertEquals(ran, hookMayRun && plugin === MARK, name);
      }
      // Of what was refused the upstream never had a complete request.
      assertEquals(upstream.requests.length, 2);
      await assertNothingLeft(gateway);
    },
  );
}
