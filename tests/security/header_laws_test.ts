/** Laws of header fields: what a client lists in `Connection`, and what a plugin puts into its patch. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Denial, permittedPatch } from "../../protocol/mutation_rules.ts";
import type { Patch } from "../../protocol/patch.ts";
import type { HeaderChange } from "../../protocol/snapshot.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawRequest } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const CONNECTION_LISTS = 1500;

/** Fields that each request brings along; those that `Connection` names are to be missing upstream. */
const OWN = ["accept", "cookie", "x-a", "x_b", "authorization", "__proto__", "x-user"];
/** What the gateway and the plugin set, and a client would take away. */
const MANAGED = [
  ...["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port"],
  ...["x-real-ip", "x-request-id", "traceparent", "x-gateway-user", "x-policed"],
];
const anyCase = (name: string) =>
  fc.infiniteStream(fc.boolean()).map((flips) =>
    [...name].map((c) => flips.next().value ? c.toUpperCase() : c).join("")
  );
const connectionLines = fc.array(
  fc.tuple(
    fc.array(
      fc.oneof(
        fc.constantFrom(...OWN, ...MANAGED).chain(anyCase),
        fc.constantFrom("", " ", "\t", "keep-alive", "x-none", ";", "x-a;q=1", '"x-a"', "x-a x_b"),
      ),
      { maxLength: 8 },
    ),
    fc.constantFrom(",", ", ", " ,\t", ",,"),
  ).map(([tokens, comma]) => tokens.join(comma)),
  { minLength: 1, maxLength: 3 },
);

Deno.test(`header law: whatever ${CONNECTION_LISTS} Connection lists name, a client takes away exactly its own fields, and nothing that was said about it`, async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: {
      "001-say.ts": `export default { readsBodies: false, beforeRequest({ request, upstream }) {
        upstream.setHeader("x-policed", Object.keys(request.headers).sort().join(" "));
        upstream.setHeader("x-gateway-user", "alice");
      } };`,
    },
  });
  const lists = fc.sample(connectionLines, CONNECTION_LISTS);
  const own = OWN.map((name) => `${name}: own\r\n`).join("");
  const ask = async (first: number) => {
    for (let row = first; row < lists.length; row += 16) {
      const connection = (lists[row] ?? []).map((line) => `Connection: ${line}\r\n`).join("");
      const response = await rawRequest(
        gateway.port,
        `GET /x HTTP/1.1\r\nHost: a\r\nX-Row: ${row}\r\n${own}${connection}\r\n`,
      );
      assertEquals(response.status, 200);
    }
  };
  await Promise.all(Array.from({ length: 16 }, (_, first) => ask(first)));

  assertEquals(upstream.requests.length, lists.length);
  for (const request of upstream.requests) {
    const lines = lists[Number(request.header("x-row"))] ?? [];
    const named = lines.join(",").split(",").map((token) => token.trim().toLowerCase());
    const kept = OWN.filter((name) => !named.includes(name));
    const sent = OWN.filter((name) => request.header(name) !== undefined);
    assertEquals(sent, kept, JSON.stringify(lines));
    for (const name of MANAGED) {
      assertEquals(
        request.header(name)?.includes("own"),
        false,
        `${name} ${JSON.stringify(lines)}`,
      );
    }
    assertEquals(request.header("x-gateway-user"), "alice");
    assertEquals(request.header("x-policed"), [...kept, "x-row"].sort().join(" "));
    assertEquals(request.header("connection"), undefined);
  }
});

const name = fc.oneof(
  fc.constantFrom(
    ...["x-a", "set-cookie", "content-type", "__proto__", "constructor", "vary", "host", "X-Upper"],
    ...["content-length", "transfer_encoding", "connection", "te", "proxy-x", "x-forwarded-for"],
    ...[
      "x.real.ip",
      "x-request-id",
      "access-control-allow-origin",
      "keep~alive",
      "expect",
      "",
      "a b",
    ],
  ),
  fc.string({ unit: "binary", maxLength: 6 }),
);
const fieldText = fc.oneof(
  fc.constantFrom("a", "", " a", "a\t", "a\r\nb: c", "a\nb", "a\0", "\u00e9", "\u20ac", "a\x7f"),
  fc.string({ unit: "binary", maxLength: 6 }),
);
const change: fc.Arbitrary<HeaderChange | null> = fc.oneof(
  fieldText,
  fc.array(fieldText, { maxLength: 3 }),
  fc.array(fieldText, { maxLength: 3 }).map((append) => ({ append })),
  fc.constant(null),
);
const headers = fc.array(fc.tuple(name, change), { maxLength: 6 }).map((entries) => {
  const map: Record<string, HeaderChange | null> = Object.create(null);
  for (const [key, each] of entries) map[key] = each;
  return map;
});
const path = fc.oneof(
  fc.constantFrom(
    "/a",
    "/a/../b",
    "a",
    "/a?b",
    "/a#b",
    "/%zz",
    "/\r\n",
    "/a b",
    "/%2e%2e",
    "/..;/",
    "//x",
  ),
  fc.string({ unit: "binary", maxLength: 6 }).map((text) => `/${text}`),
);
const status = fc.oneof(fc.integer({ min: -100, max: 1000 }), fc.double());
const generatedPatch: fc.Arbitrary<Patch> = fc.record({
  upstream: fc.record({ path, query: path, headers }, { requiredKeys: [] }),
  response: fc.record({ status, headers }, { requiredKeys: [] }),
}, { requiredKeys: [] });

/** RFC 9110 §5.1 and §5.5, character by character. */
const isName = (text: string) =>
  text !== "" &&
  [...text].every((c) => "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz".includes(c));
const isValue = (text: string) =>
  !" \t".includes(text[0] ?? "x") && !" \t".includes(text.at(-1) ?? "x") && [...text].every((c) => {
    const code = c.charCodeAt(0);
    return c.length === 1 && (code === 9 || (code >= 32 && code !== 127 && code < 256));
  });
const NEVER =
  /^(?:connection|keep-alive|te|trailer|transfer-encoding|upgrade|content-length|forwarded|x-request-id|proxy-.*|x-forwarded-.*)$/;
const NEVER_UPSTREAM = /^(?:host|x-real-ip|traceparent|tracestate)$/;

function mayStand(key: string, each: HeaderChange | null, side: "upstream" | "response"): boolean {
  const plain = key.replaceAll(/[^a-z0-9]/g, "-");
  if (!isName(key) || NEVER.test(plain)) return false;
  if (side === "upstream" ? NEVER_UPSTREAM.test(plain) : plain.startsWith("access-control-")) {
    return false;
  }
  if (each === null) return true;
  const values = typeof each === "string" ? [each] : "append" in each ? each.append : each;
  return values.every(isValue);
}

/** What a change puts in the place of a client's values: where it may not stand, theirs must not either. */
function replaced(each: HeaderChange | null | undefined): readonly string[] | undefined {
  if (typeof each === "string") return [each];
  return each && !("append" in each) ? each : undefined;
}

Deno.test("mutation law: of 20,000 patches exactly what is legal stands, and the rest is denied one by one", () => {
  fc.assert(
    fc.property(generatedPatch, (patch) => {
      const denials: Denial[] = [];
      const permitted = permittedPatch(patch, { ownsCors: true, denials });
      let denied = 0;
      for (const side of ["upstream", "response"] as const) {
        const proposed = patch[side]?.headers ?? {};
        const names = Object.keys(proposed);
        const legal = names.filter((key) => mayStand(key, proposed[key] ?? null, side));
        const emptied = names.filter((key) =>
          side === "upstream" && !legal.includes(key) && mayStand(key, null, side) &&
          replaced(proposed[key]) !== undefined
        );
        const kept = permitted[side]?.headers ?? {};
        assertEquals(Object.keys(kept).sort(), [...legal, ...emptied].sort());
        for (const key of legal) assertEquals(kept[key], proposed[key]);
        for (const key of emptied) {
          assertEquals(kept[key], replaced(proposed[key])?.filter(isValue));
        }
        denied += names.length - legal.length;
      }
      const { path, query } = permitted.upstream ?? {};
      assert(path === undefined || /^\/[!-~]*$/.test(path ?? ""), path ?? "");
      assert(!/[?#\\]|\/\.{1,2}(?:\/|$)|\/\//.test(path ?? ""), path ?? "");
      assert(query === undefined || /^[!-~]*$/.test(query ?? "") && !query?.includes("#"));
      const answer = permitted.response?.status;
      assert(
        answer === undefined ||
          (Number.isInteger(answer) && Number(answer) >= 200 && Number(answer) <= 599),
      );
      for (
        const [before, after] of [
          [patch.upstream?.path, path],
          [patch.upstream?.query, query],
          [patch.response?.status, answer],
        ]
      ) {
        if (before !== undefined && after === undefined) denied++;
      }
      assertEquals(denials.length, denied);
    }),
    { numRuns: 20_000 },
  );
});
