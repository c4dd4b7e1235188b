/** A law of round trips: whatever becomes of either side on the way. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient } from "../support/raw_client.ts";
import { type RawConn, type RawHead, rawUpstream } from "../support/raw_upstream.ts";

const ROUND_TRIPS = 200;
const AT_ONCE = 20;

const trip = fc.record({
  method: fc.constantFrom("GET", "POST", "DELETE"),
  path: fc.constantFrom("/reads", "/streams", "/plain"),
  upstream: fc.constantFrom(
    ...["answers", "answers, then ends", "answers twice", "says 100 and 103 before", "is slow"],
    ...[
      "refuses early, then ends",
      "refuses early",
      "ends",
      "ends in its head",
      "ends in its body",
    ],
    "ends when used again",
  ),
  client: fc.constantFrom("waits", "waits", "sends slowly", "leaves in its body", "leaves"),
  sizeBytes: fc.constantFrom(0, 3, 999, 1001, 70_000, 400_000),
  isChunked: fc.boolean(),
  expects: fc.boolean(),
  rejects: fc.boolean(),
  forwards: fc.boolean(),
});
type Trip = typeof trip extends fc.Arbitrary<infer T> ? T : never;

const MAX_REQUEST_BYTES = 300_000;

/** Answers one request as it says. @returns whether the connection goes on */
async function serve(conn: RawConn, head: RawHead, isFirst: boolean): Promise<boolean> {
  const does = head.header("x-upstream") ?? "";
  if (does === "ends" || (does === "ends when used again" && !isFirst)) return false;
  const id = head.header("x-id") ?? "";
  const says = (line: string) => `HTTP/1.1 ${line}\r\ncontent-length: ${id.length}\r\n\r\n${id}`;
  if (does.startsWith("refuses early")) await conn.send(says("413 X"));
  if (does.startsWith("says 100")) {
    await conn.send("HTTP/1.1 100 X\r\n\r\n", "HTTP/1.1 103 X\r\nlink: <x>\r\n\r\n");
  }
  if (does === "ends in its head") await conn.send("HTTP/1.1 200 O");
  if (/^refuses.*ends|head$/.test(does)) return false;
  await conn.readBody(head);
  if (does === "refuses early") return true;
  if (does === "is slow") await new Promise((resolve) => setTimeout(resolve, 200));
  const answer = says("200 OK");
  if (does === "answers twice") await conn.send(answer + answer);
  else await conn.send(does === "ends in its body" ? answer.slice(0, -1) : answer);
  return !/^answers[ ,]|body$/.test(does);
}

/** What the client may be told. */
function permitted({ method, path, upstream, client, sizeBytes, rejects }: Trip): number[] {
  if (client.startsWith("leaves")) return [];
  const isTooLarge = sizeBytes > MAX_REQUEST_BYTES;
  if (rejects && path !== "/plain") return isTooLarge ? [401, 413] : [401];
  if (isTooLarge) return upstream.startsWith("ends") ? [413, 502] : [413];
  // A kept connection may turn out to be closed; only what is harmless is asked again.
  const isRepeated = method === "GET";
  if (upstream === "ends when used again") return isRepeated ? [200] : [200, 502];
  if (upstream.startsWith("refuses")) return isRepeated ? [413] : [413, 502];
  if (upstream === "ends in its body") return [200, 502];
  if (upstream.startsWith("ends")) return [502];
  return isRepeated ? [200] : [200, 502];
}

async function carryOut(
  told: Trip,
  port: number,
  { id, forward }: Readonly<Record<"id" | "forward", string>>,
) {
  const { method, path, upstream, client, sizeBytes, isChunked, expects, rejects, forwards } = told;
  const data = "y".repeat(sizeBytes);
  const body = isChunked ? `${sizeBytes.toString(16)}\r\n${data}\r\n0\r\n\r\n` : data;
  const fields = [
    ...[`x-id: ${id}`, `x-upstream: ${upstream}`],
    ...(rejects ? ["x-reject: 1"] : []),
    ...(forwards ? [`x-forward: ${forward}`] : []),
    ...(expects && sizeBytes ? ["Expect: 100-continue"] : []),
    ...(sizeBytes === 0
      ? []
      : [isChunked ? "transfer-encoding: chunked" : `content-length: ${sizeBytes}`]),
  ];
  using peer = await rawClient(port);
  await peer.send(`${method} ${path} HTTP/1.1\r\nHost: a\r\n${fields.join("\r\n")}\r\n\r\n`);
  if (client === "leaves") return undefined;
  const half = body.length >> 1;
  const sending = (async () => {
    if (sizeBytes === 0) return;
    await peer.send(body.slice(0, half));
    if (client === "sends slowly") await new Promise((resolve) => setTimeout(resolve, 50));
    if (client !== "leaves in its body") await peer.send(body.slice(half));
  })().catch(() => {}); // it may be refused meanwhile
  if (client === "leaves in its body") return void await sending;
  const { status, text } = await peer.response().catch(() => ({ status: 200, text: "cut" }));
  await sending;
  return { status, text };
}

Deno.test(`round trip law: of ${ROUND_TRIPS} round trips each answer is the request's own, nothing is sent twice that may not be, and nothing is left`, async () => {
  const seen = new Map<string, number>();
  let connections = 0;
  const origin = () =>
    rawUpstream(async (conn) => {
      connections++;
      try {
        for (let isFirst = true;; isFirst = false) {
          const head = await conn.readHead();
          const id = head.header("x-id") ?? "";
          seen.set(id, (seen.get(id) ?? 0) + 1);
          if (!await serve(conn, head, isFirst)) return;
        }
      } finally {
        connections--;
      }
    });
  await using a = origin();
  await using b = origin();
  const hook = (more: string) =>
    `export default { ${more} beforeRequest(ctx) {
      const { headers } = ctx.request;
      if (headers["x-forward"]) ctx.forward(headers["x-forward"]);
      if (headers["x-reject"]) ctx.reject(401, "no");
    }, afterResponse(ctx) { ctx.response.setHeader("x-seen", ctx.response.body.kind); } };`;
  const upstream = [a.url, "http://127.0.0.1:9", b.url];
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      bodies: { inlineLimitBytes: 1000, maxRequestBytes: MAX_REQUEST_BYTES },
      routes: [
        { path: "/reads", upstream, plugins: ["001-reads"] },
        { path: "/streams", upstream, plugins: ["002-streams"] },
        { path: "/plain", upstream, plugins: false },
      ],
    },
    plugins: { "001-reads.ts": hook(""), "002-streams.ts": hook("readsBodies: false,") },
  });
  let last = 0;
  const one = async (given: Trip) => {
    const told: Trip = given.method === "GET" ? { ...given, sizeBytes: 0 } : given;
    const id = `id-${++last}`;
    const answer = await carryOut(told, gateway.port, { id, forward: `${b.url}/elsewhere` });
    const text = JSON.stringify([told, answer]);
    if (answer) assert(permitted(told).includes(answer.status), text);
    const isCut = answer?.text === "cut" && told.upstream === "ends in its body";
    if (answer?.status === 200 && !isCut) assertEquals(answer.text, id, text);
    assert((seen.get(id) ?? 0) <= (told.method === "GET" ? 2 : 1), `sent too often: ${text}`);
    if (told.rejects && told.path !== "/plain") assertEquals(seen.get(id), undefined, text);
  };
  const trips = fc.array(trip, { minLength: AT_ONCE, maxLength: AT_ONCE });
  await fc.assert(
    fc.asyncProperty(trips, async (all) => void await Promise.all(all.map(one))),
    { numRuns: ROUND_TRIPS / AT_ONCE, endOnFailure: true },
  );
  const idle = async () =>
    (await (await fetch(`${gateway.adminUrl}/metrics`)).text())
      .includes("\nconduit_requests_in_flight 0\n");
  await gateway.until(idle, { what: "all requests to have ended" });
  // Those that are kept for the next request.
  assert(connections <= 2 * AT_ONCE, `${connections} connections to upstreams are left`);
});
