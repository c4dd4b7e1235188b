import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { barChart, lineChart } from "../bench/chart.ts";
import { verdicts } from "../bench/goals.ts";
import { BODY, checkAnswer, which } from "../bench/lab.ts";
import { parseOptions } from "../bench/main.ts";
import { goalsTable, seriesTable, throughputTable } from "../bench/report.ts";
import { type CaseResult, median, type Results, type Sample } from "../bench/results.ts";
import { parseWrk } from "../bench/wrk.ts";
import { ROOT } from "./support/gateway.ts";

const MISSING = (await Promise.all(
  ["wrk", "nginx"].map(async (name) => await which(name) === undefined ? name : ""),
)).filter(Boolean).join(" and ");
const SKIPPED = MISSING ? ` (ignored: no ${MISSING} on this machine)` : "";

const sample = (requestsPerSecond: number, p50Ms = 1): Sample => ({
  requestsPerSecond,
  p50Ms,
  p99Ms: 9,
  failed: 0,
});

const measured = (id: string, rates: number[], singleP50Ms = 1): CaseResult => ({
  id,
  title: `the case ${id}`,
  ours: true,
  loaded: rates.map((rate) => sample(rate)),
  single: [sample(1, singleP50Ms)],
});

const WRK = `Running 5s test @ http://127.0.0.1:1234/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.11ms    1.02ms  29.84ms   93.27%
    Req/Sec    10.40k     0.93k   11.35k    84.00%
  Latency Distribution
     50%  950.00us
     75%    3.31ms
     90%    3.82ms
     99%    1.02s
  51737 requests in 5.00s, 16.43MB read
Requests/sec:  10346.98
Transfer/sec:      3.29MB
`;

Deno.test("the median is the middle value, or the mean of the two middle ones", () => {
  assertEquals(median([3, 1, 200]), 3);
  assertEquals(median([4, 1, 3, 200]), 3.5);
  assertEquals(median([]), NaN);
});

Deno.test("the report of wrk is read in every unit, and failed answers are counted", () => {
  assertEquals(parseWrk(WRK), {
    requestsPerSecond: 10346.98,
    p50Ms: 0.95,
    p99Ms: 1020,
    failed: 0,
  });
  const failing = `${WRK}  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 90\n`;
  assertEquals(parseWrk(failing).failed, 100);
});

Deno.test("a report of wrk without answers is an error that shows it", () => {
  for (
    const text of [
      "unable to connect to 127.0.0.1:1 Connection refused",
      WRK.replace("10346.98", "0.00"),
      WRK.replace("99%", "98%"),
    ]
  ) {
    assertThrows(() => parseWrk(text), Error, text.trim().slice(0, 20));
  }
});

Deno.test("the table has medians, ranges, ratios to Caddy and nginx, and what is added to nginx alone", () => {
  const cases = [
    measured("direct", [90_000], 0.05),
    measured("plain", [20_000, 18_000, 25_000], 0.15),
    measured("caddy", [8000]),
    { ...measured("nginx", [40_000]), single: [{ ...sample(1), failed: 7 }] },
  ];
  const rows = throughputTable({ cases, leftOut: [] }).split("\n");
  assertEquals(
    rows[3],
    "| the case plain | 20,000 [18,000–25,000] | 2.50 | 0.50 | 1.00 | 9.00 | 0.150 | 0.100 |",
  );
  assertMatch(rows[5] ?? "", /^\| the case nginx \(7 failed\) \|/);
});

Deno.test("a ratio to what was not measured is left empty", () => {
  const [, , row] = throughputTable({ cases: [measured("plain", [10])], leftOut: [] }).split("\n");
  assertEquals(row, "| the case plain | 10 [10–10] |  |  | 1.00 | 9.00 | 1.000 |  |");
});

Deno.test("a series shows what each point adds to the same request without a gateway", () => {
  const point = {
    x: "4",
    loaded: [sample(5000)],
    single: [sample(1, 0.5)],
    base: [sample(1, 0.1)],
  };
  const lines = [{ title: "per-hook", points: [point] }];
  const table = seriesTable({ id: "s", title: "T", xLabel: "plugins", lines, leftOut: [] });
  assertMatch(table, /^\| per-hook \| 4 \| 5,000 \| 0\.500 \| 0\.400 \|$/m);
});

Deno.test("a goal is reached, not reached or not measured", () => {
  const cases = [
    measured("direct", [90_000], 0.05),
    measured("plain", [20_000]),
    measured("caddy", [10_000]),
    measured("nginx", [40_000]),
    measured("per-hook", [5900], 1.04),
    measured("per-phase", [9000], 0.41),
  ];
  const found = (results: Partial<Record<keyof Results, unknown>>) =>
    Object.fromEntries(
      verdicts(results as Results).map(({ goal, ...verdict }) => [goal, verdict]),
    );
  const reached = found({
    throughput: { cases, leftOut: [] },
    idle: { clients: 3000, warmRssBytes: 100e6, idleRssBytes: 220e6 },
    memory: { warmRssBytes: 100e6, transfers: [{ title: "down", peakRssBytes: 195e6 }] },
    start: { samplesMs: [450, 390, 380] },
  });
  assertEquals(reached["no plugins against Caddy ≥ 2.00 ×"], { reached: "2.00 ×", met: true });
  assertEquals(reached["no plugins against nginx ≥ 0.55 ×"], { reached: "0.50 ×", met: false });
  assertEquals(reached["8 hooks per-hook against Caddy without policy ≥ 0.60 ×"]?.met, false);
  assertEquals(reached["8 hooks per-phase against nginx with Lua ≥ 0.40 ×"], {
    reached: "not measured",
  });
  assertEquals(reached["added p50 at concurrency 1, 8 hooks per-hook < 1 ms"]?.met, true);
  assertEquals(reached["added p50 at concurrency 1, 8 hooks per-phase < 0.35 ms"]?.met, false);
  assertEquals(reached["memory grows < 96 MB: down"], { reached: "95.0 MB", met: true });
  assertEquals(reached["3000 idle keep-alive clients < 40 KB each"], {
    reached: "40.0 KB",
    met: false,
  });
  assertEquals(reached["start to first policed answer < 400 ms"]?.met, true);

  const nothing = verdicts({});
  assertEquals(nothing.length, Object.keys(reached).length);
  assert(nothing.every(({ met }) => met === undefined));
  assert(goalsTable(nothing).includes("| not measured |  |"));
});

Deno.test("bars are as long as their values say, and text is escaped", () => {
  const chart = barChart('a < b & "c"', [
    { label: "one", value: 1000, ours: true },
    { label: "two", value: 500, ours: false },
  ]);
  const [one = 0, two = 0] = [
    ...chart.matchAll(/class="mark \w+" x="300" y="\d+" width="([\d.]+)"/g),
  ]
    .map(([, width]) => Number(width));
  assert(one > 0);
  assertEquals(one, two * 2);
  assertMatch(chart, />1,000<\/text>/);
  assertMatch(chart, />a &lt; b &amp; &quot;c&quot;<\/text>/);
});

Deno.test("a line chart has every value as text and the largest on top", () => {
  const lines = [{ label: "per-hook", values: [2, 4] }];
  const text = (value: number) => `${value} ms`;
  const panel = { title: "latency", lines, text };
  const chart = lineChart("T", { xs: ["1", "8"], xLabel: "n", panels: [panel, panel] });
  for (const value of ["2 ms", "4 ms"]) assertEquals(chart.split(`>${value}<`).length, 3);
  const [[low = 0, high = 0] = []] = [
    ...chart.matchAll(/points="[\d.]+,([\d.]+) [\d.]+,([\d.]+)"/g),
  ]
    .map((match) => match.slice(1).map(Number));
  assertEquals([low, high], [170, 80]); // half of the way, and the top
});

Deno.test("a try is not written to docs/benchmarks, a whole run is", () => {
  assertMatch(parseOptions([]).out ?? "", /\/docs\/benchmarks$/);
  assertEquals(parseOptions(["--suite", "idle,start"]).suites, ["idle", "start"]);
  assertEquals(parseOptions(["--quick"]).out, undefined);
  assertEquals(parseOptions(["--only", "caddy,nginx"]).out, undefined);
  assertEquals(parseOptions(["--quick", "--out", "/x"]).out, "/x");
});

Deno.test("a wrong option is named", () => {
  for (
    const [args, message] of [
      [["--secnds", "1"], '"--secnds" is no option'],
      [["--only", "cady"], '"cady" is none of direct, plain'],
      [["--suite", "idel"], '"idel" is none of throughput'],
      [["--rounds", "0"], '--rounds needs a whole number from 1, not "0"'],
    ] as const
  ) {
    assertThrows(() => parseOptions(args), TypeError, message);
  }
});

Deno.test("a case whose policy does nothing, or whose answer is another one, is not measured", async () => {
  const policed = { "x-policy-1": "bench", "x-saw": "bench,,," };
  const ask = async (answer: Response, policies: number) => {
    await using server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      () => answer,
    );
    await checkAnswer(`http://127.0.0.1:${server.addr.port}`, { policies });
  };
  await ask(new Response(BODY, { headers: policed }), 1);
  for (
    const [answer, policies, message] of [
      [new Response(BODY, { headers: { "x-saw": "bench,,," } }), 1, "its answer has"],
      [new Response(BODY, { headers: { ...policed, "x-saw": ",,," } }), 1, "the upstream got"],
      [new Response(BODY, { headers: policed }), 0, "its answer has"],
      [new Response("{}", { headers: policed }), 1, "it answers 200"],
      [new Response(BODY, { headers: policed, status: 503 }), 1, "it answers 503"],
    ] as const
  ) {
    await assertRejects(() => ask(answer, policies), Error, message);
  }
});

Deno.test({
  name: `a run measures, says which peer is missing, and leaves JSON and SVG${SKIPPED}`,
  ignore: MISSING !== "",
  fn: async () => {
    const dir = await Deno.makeTempDir({ prefix: "conduit-bench-test-" });
    try {
      for (const program of ["wrk", "nginx"]) {
        await Deno.symlink(await which(program) ?? "", join(dir, program));
      }
      const out = join(dir, "out");
      const options = ["--quick", "--only", "per-hook,caddy", "--out", out];
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", join(ROOT, "bench/main.ts"), ...options],
        env: { PATH: dir }, // no peer can be found there
      }).output();
      const [said, told] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      assertEquals(code, 0, told);
      assertMatch(said ?? "", /^\| straight to nginx \| [\d,]+ \[/m);
      assertMatch(said ?? "", /^\| Conduit, 8 hooks, per-hook \| [\d,]+ \[/m);
      assertMatch(said ?? "", /^- left out: Caddy .*: caddy is not there: apt-get install caddy$/m);
      assertMatch(said ?? "", /^\| added p50 .* per-hook < 1 ms \| [\d.-]+ ms \| (yes|no) \|$/m);
      const results: Results = JSON.parse(await Deno.readTextFile(join(out, "latest.json")));
      assertEquals(results.throughput?.cases.map(({ id }) => id), ["direct", "per-hook"]);
      assertEquals(results.throughput?.circumstances.versions.deno, Deno.version.deno);
      assertMatch(await Deno.readTextFile(join(out, "latest.svg")), /Conduit, 8 hooks, per-hook/);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
