import { assert, assertEquals, assertThrows } from "@std/assert";
import { Client, Load } from "./load.ts";
import { parseOptions, PHASES, soak } from "./main.ts";
import { broken, type Report, reportText, type StormReport } from "./report.ts";
import { CALM, Storm } from "./storm.ts";

const ONLY_LINUX = Deno.build.os === "linux" ? "" : " (ignored: it reads /proc)";
const ignore = ONLY_LINUX !== "";

Deno.test({
  name:
    `soak: whatever rages, no request is lost but by the failure policy, none passes unpoliced, nothing is left${ONLY_LINUX}`,
  ignore,
  async fn() {
    const report = await soak({ minutes: 0, phases: [] });
    console.log(reportText(report));
    assertEquals(broken(report), []);
    assertEquals(
      report.storms.flatMap(({ phases }) => phases.map(({ phase }) => phase)).sort(),
      [
        ...PHASES.filter(({ ignored }) => ignored === undefined).map(({ name }) => name),
      ].sort(),
    );
  },
});

Deno.test({
  name: `soak: a gateway that lets requests by unpoliced is found out${ONLY_LINUX}`,
  ignore,
  async fn() {
    await using storm = await Storm.start({ config: { failPolicy: "open" } });
    const load = storm.load();
    await storm.logged("the plugin host is back", async () => {
      Deno.kill(await storm.host(), "SIGKILL");
    });
    await load.stop();
    assert((await storm.upstream.counts()).unpoliced > 0);
  },
});

Deno.test("soak: a client counts an answer that breaks off, one that never comes and one that nobody gives", async () => {
  const answers = ["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "HTTP/1.1 200", ""];
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const serving = (async () => {
    for (const answer of answers) {
      using conn = await listener.accept();
      await conn.read(new Uint8Array(1000));
      await conn.write(new TextEncoder().encode(answer));
    }
  })();
  using client = new Client(port);
  const outcomes: string[] = [];
  for (const _ of answers) outcomes.push((await client.ask("/")).outcome);
  await serving;
  assertEquals(outcomes, [
    "cut",
    "lost: broke off in its head",
    "lost: closed without an answer",
  ]);
  listener.close();
  assertEquals((await client.ask("/")).outcome.startsWith("lost: "), true);
});

const USE = { rssMiB: 100, fds: 50, threads: 9 };
const GOOD: StormReport = {
  phases: [{
    phase: "calm",
    seconds: 1,
    events: {},
    answers: 5,
    outcomes: { "/closed/fast": { "200": 5 } },
    lost: 0,
    unpoliced: 0,
    left: 0,
  }],
  before: { gateway: USE, host: USE },
  after: { gateway: { ...USE, rssMiB: 110 }, host: { ...USE, fds: 55 } },
  garbageMiB: 0,
  exitCode: 0,
  inFlight: 0,
  orphans: 0,
  faults: [],
};

function reportOf(storm: Partial<StormReport>): Report {
  return { startedAt: "", minutes: 1, ignored: {}, storms: [{ ...GOOD, ...storm }] };
}

Deno.test("soak: every promise that is broken is told, by itself", () => {
  const phase = (odd: object) => ({ phases: GOOD.phases.map((each) => ({ ...each, ...odd })) });
  const grown = { gateway: { ...USE, rssMiB: 111 }, host: { ...USE, fds: 56 } };
  const cases: readonly (readonly [Partial<StormReport>, number])[] = [
    [{}, 0],
    [phase({ lost: 1 }), 1],
    [phase({ unpoliced: 1 }), 1],
    [phase({ left: 1 }), 1],
    [phase({ answers: 0 }), 1],
    [phase({ failure: "it never came" }), 1],
    [{ after: grown }, 2],
    [{ after: grown, garbageMiB: 1 }, 1],
    [{ exitCode: 70 }, 1],
    [{ inFlight: 1 }, 1],
    [{ orphans: 1 }, 1],
    [{ faults: ["the gateway itself failed"] }, 1],
  ];
  for (const [storm, count] of cases) assertEquals(broken(reportOf(storm)).length, count);
});

Deno.test("soak: outcomes that a lane does not allow are lost requests", async () => {
  const load = new Load(0, []);
  await load.stop();
  for (const outcome of ["200", "503 runtime_unavailable"]) load.count(CALM[0] ?? never(), outcome);
  assertEquals([load.answers, load.lost], [2, 1]);
});

function never(): never {
  throw new Error("there are no lanes");
}

Deno.test("soak: options are read, and what is none is refused", () => {
  assertEquals(parseOptions(["--minutes", "5", "--phase", "kills", "--json", "f"]), {
    minutes: 5,
    phases: ["kills"],
    json: "f",
  });
  for (const args of [["--minutes"], ["--minutes", "0"], ["--phase", "x"], ["--fast", "1"]]) {
    assertThrows(() => parseOptions(args), TypeError);
  }
});
