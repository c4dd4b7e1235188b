/** Our upstream client and llhttp read the same responses; every difference has a reason (docs/conformance.md). */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Comparison, isDelimited, type Speech } from "../support/llhttp.ts";
import { DIFFERENCES, explain, kindOf, type Seen } from "../support/llhttp_differences.ts";
import { SPEECH } from "../support/llhttp_speeches.ts";
import { readDoc, section, tableRows } from "../support/prose.ts";

const SPEECHES = 6_000;
/** At the same time: one alone waits for the network most of its time. */
const LANES = 8;

/** What both sides make of a speech. Where they agree so far, also whether they use the connection again. */
async function read(comparison: Comparison, speech: Speech): Promise<Seen> {
  const [ours, theirs] = await Promise.all([
    comparison.read("ours", speech),
    comparison.read("llhttp", speech),
  ]);
  const seen = { speech, ours, theirs };
  if (kindOf(seen) !== undefined || !isDelimited(ours, speech)) return seen;
  const [our, their] = await Promise.all([
    comparison.reuses("ours", speech),
    comparison.reuses("llhttp", speech),
  ]);
  return { ...seen, reuse: { ours: our, theirs: their } };
}

/** The lines of the corpus below their headings. */
async function corpus(): Promise<{ readonly heading: string; readonly speech: Speech }[]> {
  const text = await readDoc("tests/gateway/corpus/upstream_responses.txt");
  return text.split("\n## ").slice(1).flatMap((part) => {
    const [heading = "", ...lines] = part.split("\n");
    return lines.filter((line) => line !== "").map((line) => {
      const [, method, json = ""] = /^(GET|HEAD) (".*")$/.exec(line) ?? [];
      if (method !== "GET" && method !== "HEAD") throw new Error(`not a line of a corpus: ${line}`);
      return { heading, speech: { method, text: String(JSON.parse(json)), cuts: [] } };
    });
  });
}

Deno.test("responses of the corpus are read alike, or differently for the reason that stands there", async () => {
  await using comparison = new Comparison();
  for (const { heading, speech } of await corpus()) {
    const seen = await read(comparison, speech);
    assertEquals(explain(seen), heading, JSON.stringify(seen));
  }
});

Deno.test("every reason for a difference has a response in the corpus that shows it", async () => {
  const shown = new Set((await corpus()).map(({ heading }) => heading));
  assertEquals(DIFFERENCES.map(({ name }) => name).filter((name) => !shown.has(name)), []);
});

Deno.test(`${SPEECHES} generated and mutated responses are read as llhttp reads them, or there is a reason`, async (t) => {
  await using comparison = new Comparison();
  const counts = new Map<string, number>();
  const isExplained = fc.asyncProperty(SPEECH, async (speech) => {
    const seen = await read(comparison, speech);
    const reason = explain(seen);
    if (reason === undefined) throw new Error(`${kindOf(seen)}: ${JSON.stringify(seen)}`);
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  });
  const seed = Date.now() & 0x7fff_ffff;
  await Promise.all(Array.from(
    { length: LANES },
    (_, lane) => fc.assert(isExplained, { seed: seed + lane, numRuns: SPEECHES / LANES }),
  ));
  // A generator that makes only what is refused, or only what is right, would find nothing.
  const same = counts.get("same") ?? 0;
  assert(same > SPEECHES / 2 && counts.size > 10, `${t.name}: ${JSON.stringify([...counts])}`);
});

Deno.test("how a response is cut into pieces does not change what our client makes of it", async () => {
  await using comparison = new Comparison();
  await fc.assert(
    fc.asyncProperty(SPEECH, async (speech) => {
      const pieces = await comparison.read("ours", speech);
      assertEquals(pieces, await comparison.read("ours", { ...speech, cuts: [] }));
    }),
    { numRuns: 500 },
  );
});

const DOUBTFUL: Readonly<Record<string, string>> = {
  "a 204 that declares a body": "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
  "a 304 that declares a body": "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n",
  "an interim response that ends the connection":
    "HTTP/1.1 103 Early Hints\r\nconnection: close\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
  "bytes behind the response":
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
};

for (const [what, text] of Object.entries(DOUBTFUL)) {
  Deno.test(`upstream client does not use a connection again after ${what}`, async () => {
    await using comparison = new Comparison();
    assertEquals(await comparison.reuses("ours", { method: "GET", text, cuts: [] }), false);
  });
}

Deno.test("the other side is llhttp", async () => {
  await using comparison = new Comparison();
  const reading = await comparison.read("llhttp", {
    method: "GET",
    text: "SSH-2.0-x\r\n",
    cuts: [],
  });
  assert(reading.kind === "refused" && reading.reason.startsWith("HTTPParserError"));
});

const ACCEPTED = "Where we accept and llhttp or undici refuses";

Deno.test("conformance.md has every reason with its sentence, and no other", async () => {
  const page = await readDoc("docs/conformance.md");
  const told = [
    "Where we refuse and llhttp accepts",
    ACCEPTED,
    "Where both accept and something differs",
  ].flatMap((heading) => tableRows(section(page, heading)));
  const known = DIFFERENCES.map(({ name, why }) => [name, why]);
  assertEquals(told.toSorted(), known.toSorted());
  const accepted = DIFFERENCES.filter(({ kind }) => kind === "we accept").map(({ name }) => name);
  assertEquals(tableRows(section(page, ACCEPTED)).map(([name]) => name), accepted);
});
