/** Laws of paths: for whatever target, the router, the plugin and the upstream see one string, and it means what it should. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { canonicalPath, type CanonicalTarget } from "../../protocol/path.ts";
import { testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawClient } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";
import { referenceTarget } from "../support/reference_path.ts";

const TARGETS = 100_000;
/** Through a real gateway; `CONDUIT_LAW_RUNS` for another number. */
const REAL_TARGETS = Number(Deno.env.get("CONDUIT_LAW_RUNS") ?? TARGETS);
const CLIENTS = 32;

/** What attackers make paths of. */
const PARTS = [
  ..."/ / / / // . .. ... a b x admin public strip keep A ~ - _ : @ = + ! $ & ' ( ) * ,".split(" "),
  ..."; ;a=b ..; .; %2e %2E %2e%2e .%2e %2f %2F %5c %5C %3b %3B %3f %23 %25 %252e %252f".split(" "),
  ...'%61 %7e %7E %41 %20 %c3%a4 %C0%AE %c0%af %e0%80%af %ff %EF%BC%8E | ^ [ ] { } < > " `'.split(
    " ",
  ),
];
/** What is refused, or makes a query of the rest: rarely, so that most targets go through. */
const REFUSED = [
  "%",
  "%2",
  "%zz",
  "%u002e",
  "%00",
  "%0d%0a",
  "%7f",
  "\\",
  "#",
  "?",
  "?a=/../b&%2f",
];
const target = fc.array(
  fc.oneof(
    { weight: 60, arbitrary: fc.constantFrom(...PARTS) },
    { weight: 1, arbitrary: fc.constantFrom(...REFUSED) },
  ),
  { maxLength: 14 },
).map((parts) => `/${parts.join("")}`);
/** With what no request line can hold, too. */
const anyTarget = fc.oneof(
  { weight: 4, arbitrary: target },
  {
    weight: 1,
    arbitrary: fc.tuple(target, fc.string({ unit: "binary", maxLength: 4 }), target)
      .map((parts) => parts.join("")),
  },
);

function canonical(raw: string): CanonicalTarget | undefined {
  try {
    return canonicalPath(raw);
  } catch (error) {
    assertEquals((error as Error).name, "PathError");
    return undefined;
  }
}

Deno.test(`path law: for ${TARGETS} targets the canonical form is what an independent reference makes of it, and canonicalising again changes nothing`, () => {
  let accepted = 0;
  fc.assert(
    fc.property(anyTarget, (raw) => {
      const form = canonical(raw);
      assertEquals(form, referenceTarget(raw));
      if (form === undefined) return;
      accepted++;
      const again = form.query === "" ? form.path : `${form.path}?${form.query}`;
      assertEquals(canonical(again), form);
      // A third reader: the URL parser resolves dots too. It keeps empty segments, which `..` then counts.
      const [path = ""] = raw.split("?");
      if (path.includes("//")) return;
      const parsed = new URL(`http://a${path}?`);
      assertEquals(canonical(parsed.pathname)?.path, form.path);
    }),
    { numRuns: TARGETS },
  );
  assert(accepted > TARGETS / 2, `only ${accepted} targets were accepted`);
});

const ROUTES = ["/public/*", "/admin/*", "/strip/*", "/keep/*", "/a/*", "/a/b", "/*"];

/** The longest pattern by segments, an exact one before a prefix, asked of the path that the upstream got. */
function referenceRoute(path: string): string {
  const segments = path.split("/").slice(1);
  const matching = ROUTES.flatMap((route) => {
    const pattern = route.replace(/\/\*$/, "").split("/").slice(1);
    if (!route.endsWith("/*")) return route === path ? [{ route, rank: pattern.length + 0.5 }] : [];
    const matches = pattern.every((segment, at) => segments[at] === segment);
    return matches ? [{ route, rank: pattern.length }] : [];
  });
  return matching.toSorted((a, b) => b.rank - a.rank)[0]?.route ?? "";
}

Deno.test(`path law: over sockets, ${REAL_TARGETS} targets are one string to the router, the plugin and the upstream`, async () => {
  await using upstream = recordingUpstream();
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      log: { format: "json", level: "info" },
      routes: ROUTES.map((path) => ({ path, upstream: upstream.url, encodedSlashes: "keep" })),
    },
    plugins: {
      "001-echo.ts": `export default { readsBodies: false, beforeRequest({ request, upstream }) {
        upstream.setHeader("x-path", request.path);
        upstream.setHeader("x-query", "?" + request.query);
        upstream.setHeader("x-route", request.route);
      } };`,
    },
  });
  const targets = fc.sample(target, REAL_TARGETS);
  const statuses = new Map<number, number>();
  const ask = async (first: number) => {
    let client = await rawClient(gateway.port);
    for (let row = first; row < targets.length; row += CLIENTS) {
      await client.send(`GET ${targets[row]} HTTP/1.1\r\nHost: a\r\nX-Row: ${row}\r\n\r\n`);
      const response = await client.response();
      statuses.set(row, response.status);
      if (response.header("connection") !== "close") continue;
      client[Symbol.dispose]();
      client = await rawClient(gateway.port);
    }
    client[Symbol.dispose]();
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, first) => ask(first)));

  const seen = new Map(upstream.requests.map((each) => [Number(each.header("x-row")), each]));
  for (const [row, raw] of targets.entries()) {
    const form = canonical(raw);
    assertEquals(statuses.get(row), form === undefined ? 400 : 200, raw);
    const request = seen.get(row);
    if (form === undefined) {
      assertEquals(request, undefined, raw);
      continue;
    }
    const { path, query } = form;
    assertEquals(request?.target, query === "" ? path : `${path}?${query}`, raw);
    assertEquals(request?.header("x-path"), path, raw);
    assertEquals(request?.header("x-query"), `?${query}`, raw);
    assertEquals(request?.header("x-route"), referenceRoute(path), raw);
  }
  assertEquals(upstream.requests.length, seen.size);
  assert(seen.size > REAL_TARGETS / 2, `only ${seen.size} targets went through`);
});
