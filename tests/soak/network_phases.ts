/**
 * Phases in which the network misbehaves: an upstream that flaps, clients that leave, heads that never end.
 *
 * @module
 */

import { connect, type Load, requestHead } from "./load.ts";
import { lanesWith, pause, type Phase, times } from "./phase.ts";
import { CALM } from "./storm.ts";
import type { FlappyMode } from "./upstream.ts";
import type { Wire } from "./wire.ts";

const FLAPS: readonly FlappyMode[] = ["down", "up", "stall", "up", "reset", "up", "cut", "up"];
const FLAP_MS = 200;
/** Longer than the route waits for an answer. */
const STALL_MS = 1300;
const FLAPPY = "/flappy/fast";

const upstream: Phase = {
  name: "upstream",
  short: 1,
  long: 50,
  lanes: lanesWith(CALM, {
    path: FLAPPY,
    clients: 4,
    allowed: ["200", "502 upstream_unreachable", "504 upstream_timeout", "cut"],
  }),
  async run(storm, load, events) {
    using client = storm.client();
    await times(events * FLAPS.length, async (index) => {
      const mode = FLAPS[index % FLAPS.length] ?? "up";
      await storm.upstream.flap(mode);
      await pause(mode === "stall" ? STALL_MS : FLAP_MS);
      if (mode !== "up") return;
      // It answers, so the gateway has to: nothing of what was may stay.
      load.count({ path: `${FLAPPY} (up)`, allowed: ["200"] }, (await client.ask(FLAPPY)).outcome);
    });
    return { flaps: events * FLAPS.length };
  },
};

/** How far a client gets before it leaves. */
const DEPARTURES: Readonly<Record<string, (wire: Wire) => Promise<void>>> = {
  head: (wire) => wire.send(requestHead("/closed/fast").slice(0, 40)),
  async upload(wire) {
    const fields = "content-length: 1000000\r\n";
    await wire.send(requestHead("/closed/fast", { method: "POST", fields }) + "x".repeat(70_000));
    await pause(20);
  },
  async hook(wire) {
    await wire.send(requestHead("/nap/fast"));
    await pause(50);
  },
  async waiting(wire) {
    await wire.send(requestHead("/closed/slow"));
    await pause(50);
  },
  async download(wire) {
    await wire.send(requestHead("/closed/big"));
    await wire.skip(70_000);
  },
};

const leaving: Phase = {
  name: "leaving",
  short: 10,
  long: 1000,
  async run(storm, _load, events) {
    await times(events, async () => {
      await Promise.all(
        Object.values(DEPARTURES).map(async (depart) => {
          using wire = await connect(storm.port);
          await depart(wire);
        }),
      );
    });
    return { departures: events * Object.keys(DEPARTURES).length };
  },
};

const SLOW_HEADS_AT_ONCE = 100;
const HOLD_MS = 2000;

const slowHeads: Phase = {
  name: "slow-heads",
  short: 200,
  long: 2000,
  atOnce: true,
  async run(storm, load, events) {
    await using stack = new AsyncDisposableStack();
    const wires: Wire[] = [];
    const head = requestHead("/closed/fast");
    await times(events / SLOW_HEADS_AT_ONCE, async () => {
      wires.push(
        ...await Promise.all(Array.from({ length: SLOW_HEADS_AT_ONCE }, async () => {
          const wire = stack.use(await connect(storm.port));
          await wire.send(head.slice(0, 10));
          return wire;
        })),
      );
    });
    for (let at = 10; at < 20; at++) {
      await pause(HOLD_MS / 10);
      await Promise.all(wires.map((wire) => wire.send(head.slice(at, at + 1)).catch(() => {})));
    }
    return { slowHeads: events, ...await completeSome(wires, head.slice(20), load) };
  },
};

/** Half of them say the rest, a few at a time, and are to be answered; the others leave. */
async function completeSome(
  wires: readonly Wire[],
  rest: string,
  load: Load,
): Promise<{ readonly completed: number }> {
  const some = wires.filter((_, index) => index % 2 === 0);
  const completed = some.length;
  await Promise.all(CALM.map(async () => {
    for (let wire; (wire = some.pop());) {
      await wire.send(rest);
      const head = await wire.head();
      load.count({ path: "/closed/fast (slow)", allowed: ["200"] }, head?.words[1] ?? "lost");
    }
  }));
  return { completed };
}

export const NETWORK_PHASES: readonly Phase[] = [upstream, leaving, slowHeads];
