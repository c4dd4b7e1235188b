/**
 * Phases in which it is the plugins' turn: saved without an end, their host killed, their isolates hung.
 *
 * @module
 */

import { isRunning } from "../support/gateway.ts";
import { lanesWith, pause, type Phase, times } from "./phase.ts";
import { CALM } from "./storm.ts";

const LIVE_LIMIT_MS = 60_000;
/** Hung at a time: fewer than there are isolates. */
const HUNG_TOGETHER = 2;

const reloads: Phase = {
  name: "reloads",
  short: 10,
  long: 500,
  async run(storm, load, events) {
    using client = storm.client();
    await times(events, async () => {
      const version = await storm.savePolicy();
      await storm.gateway.until(async () => {
        const { outcome, fields } = await client.ask("/closed/fast");
        load.count({ path: "/closed/fast", allowed: ["200"] }, outcome);
        return fields.get("x-version") === version;
      }, { what: `version ${version}`, withinMs: LIVE_LIMIT_MS });
    });
    return { reloads: events };
  },
};

const kills: Phase = {
  name: "kills",
  short: 3,
  long: 100,
  lanes: lanesWith(CALM, {
    path: "/closed/fast",
    clients: 4,
    allowed: ["200", "503 runtime_unavailable"],
  }),
  async run(storm, _load, events) {
    let unborn = 0;
    await times(events, async (index) => {
      await pause(index % 5 * 20); // not always in the first moment of its life
      const host = await storm.host();
      await storm.logged("the plugin host is back", async () => {
        Deno.kill(host, "SIGKILL");
        if (index % 10 !== 2) return;
        // Now and then the next one too, before it has loaded anything.
        const next = await storm.gateway.until(async () => {
          const pid = await storm.host();
          return pid === host ? 0 : pid;
        }, { what: "the next host", withinMs: 30_000 });
        Deno.kill(next, "SIGKILL");
        unborn++;
      });
    });
    return { kills: events, unborn };
  },
};

const hangs: Phase = {
  name: "hangs",
  short: 2,
  long: 50,
  async run(storm, load, events) {
    const hang = { path: "/hang/x", allowed: ["503 hook_timeout"] };
    await times(Math.ceil(events / HUNG_TOGETHER), async () => {
      const host = await storm.host();
      await storm.logged("the plugin host was renewed", async () => {
        await Promise.all(Array.from({ length: HUNG_TOGETHER }, async () => {
          using client = storm.client();
          load.count(hang, (await client.ask(hang.path)).outcome);
        }));
      });
      await storm.gateway.until(async () => !await isRunning(host), {
        what: "the host with hung isolates to be gone",
        withinMs: 90_000,
      });
    });
    return { hung: load.counts[hang.path]?.["503 hook_timeout"] ?? 0 };
  },
};

export const PLUGIN_PHASES: readonly Phase[] = [reloads, kills, hangs];
