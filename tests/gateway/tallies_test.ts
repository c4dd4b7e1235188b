import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Counter, Histogram, Registry } from "prom-client";
import { Buckets, counterFamily, histogramFamily } from "../../gateway/observe/tallies.ts";

const BOUNDS = [0.001, 0.01, 0.1, 1];
const LABELS = ["route", "method"];

/** Values on and around the bounds, and any others. */
const observed = fc.array(fc.record({
  route: fc.constantFrom("/a/*", '/"b\\\n', "-"),
  method: fc.constantFrom("GET", "POST"),
  value: fc.oneof(fc.constantFrom(0, ...BOUNDS, 5), fc.double({ min: 0, max: 2, noNaN: true })),
}));

Deno.test("tallies law: a histogram and a counter stand on the page as those of prom-client do", async () => {
  await fc.assert(fc.asyncProperty(observed, async (all) => {
    const [ours, theirs] = [new Registry(), new Registry()];
    const family = { help: "Help.", labelNames: LABELS };
    const durations = histogramFamily(ours, { ...family, name: "d", bounds: BOUNDS });
    const counts = counterFamily(ours, { ...family, name: "c" });
    const registers = [theirs];
    const expected = new Histogram({ ...family, name: "d", buckets: BOUNDS, registers });
    const expectedCounts = new Counter({ ...family, name: "c", registers });
    for (const { route, method, value } of all) {
      durations.labels(route, method).observe(value);
      counts.labels(route, method).value++;
      expected.observe({ route, method }, value);
      expectedCounts.inc({ route, method });
    }
    const lines = async (registry: Registry) => (await registry.metrics()).split("\n").toSorted();
    assertEquals(await lines(ours), await lines(theirs));
  }));
});

Deno.test("tallies: a quantile lies within its bucket, and above all bounds it is the last of them", () => {
  const buckets = new Buckets(BOUNDS);
  assert(Number.isNaN(buckets.quantile(0.5)));
  for (let at = 0; at < 90; at++) buckets.observe(0.005);
  for (let at = 0; at < 9; at++) buckets.observe(0.5);
  buckets.observe(7);
  assertEquals(buckets.count, 100);
  assert(buckets.quantile(0.5) > 0.001 && buckets.quantile(0.5) <= 0.01);
  assert(buckets.quantile(0.95) > 0.1 && buckets.quantile(0.95) <= 1);
  assertEquals(buckets.quantile(1), 1);
});
