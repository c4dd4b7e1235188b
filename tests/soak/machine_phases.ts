/**
 * Phases in which the machine gives out: Redis away, no room for the log, no descriptors left.
 *
 * @module
 */

import { NO_REDIS } from "../support/redis_server.ts";
import { cpuMsOf } from "../support/proc.ts";
import { connect } from "./load.ts";
import { lanesWith, pause, type Phase, times } from "./phase.ts";
import { CALM, type Storm } from "./storm.ts";

const AWAY_MS = 300;
const COUNTED = "/counted/fast";

const redis: Phase = {
  name: "redis",
  short: 2,
  long: 50,
  ...(NO_REDIS === undefined ? {} : { ignored: "no redis-server on this machine" }),
  lanes: lanesWith(CALM, { path: COUNTED, clients: 2, allowed: ["200", "500 plugin_error"] }),
  async run(storm, _load, events) {
    using client = storm.client();
    await times(events, async () => {
      await storm.redis?.kill();
      await pause(AWAY_MS);
      await storm.redis?.restart();
      await storm.gateway.until(async () => (await client.ask(COUNTED)).outcome === "200", {
        what: "the cache to work again",
        withinMs: 30_000,
      });
    });
    return { restarts: events };
  },
};

/** Without a log to wait for: there is another host, and a closed route is served again. */
async function killHost(storm: Storm): Promise<void> {
  const host = await storm.host();
  Deno.kill(host, "SIGKILL");
  using client = storm.client();
  await storm.gateway.until(async () => {
    const next = await storm.host();
    return next !== 0 && next !== host && (await client.ask("/closed/fast")).outcome === "200";
  }, { what: "another host", withinMs: 60_000 });
}

const CLOSED_AWAY = {
  path: "/closed/fast",
  clients: 4,
  allowed: ["200", "503 runtime_unavailable"],
} as const;

const disk: Phase = {
  name: "disk",
  short: 2,
  long: 10,
  gateway: { output: "> /dev/full 2> /dev/full" },
  lanes: lanesWith(CALM, CLOSED_AWAY),
  async run(storm, _load, events) {
    await pause(1000);
    await times(events, () => killHost(storm));
    return { kills: events };
  },
};

const DESCRIPTORS = 256;
const EXCESS = 200;
const HOLD_MS = 2000;

const descriptors: Phase = {
  name: "descriptors",
  short: 1,
  long: 10,
  gateway: { limits: `ulimit -n ${DESCRIPTORS};` },
  lanes: CALM.map((lane) => ({ ...lane, allowed: ["200", "502 upstream_unreachable"] })),
  async run(storm, load, events) {
    let [busiest, refused] = [0, 0];
    await times(events, async () => {
      await using stack = new AsyncDisposableStack();
      for (let opened = 0; opened < DESCRIPTORS + EXCESS; opened++) {
        await connect(storm.port).then((wire) => stack.use(wire), () => refused++);
      }
      await pause(HOLD_MS);
      const before = await cpuMsOf(storm.gateway.pid);
      await pause(HOLD_MS);
      busiest = Math.max(busiest, (await cpuMsOf(storm.gateway.pid) - before) / HOLD_MS * 100);
    });
    using client = storm.client();
    await storm.gateway.until(async () => (await client.ask("/closed/fast")).outcome === "200", {
      what: "an answer once there are descriptors again",
      withinMs: 30_000,
    });
    load.count(
      { path: "/closed/after", allowed: ["200"] },
      (await client.ask("/closed/after")).outcome,
    );
    return { shortages: events, refused, cpuPercent: Math.round(busiest) };
  },
};

export const MACHINE_PHASES: readonly Phase[] = [redis, disk, descriptors];
