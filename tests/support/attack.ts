/**
 * Attacks as table rows: raw bytes in, what the client got and what the upstream saw out. A new variant is one more row.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { type TestGateway } from "./gateway.ts";
import { rawConversation } from "./raw_conversation.ts";
import type { RawRequest, RawUpstream } from "./raw_upstream.ts";

export interface Attack {
  readonly name: string;
  /** All that is sent on one connection. Its first request gets an `x-attack` field, by which the upstream's record is told apart. */
  readonly send: string;
  /** The status of each answer; a list of lists where there is a choice. `[]`: the connection ends without an answer. */
  readonly answers: readonly (number | readonly number[])[];
  /** Just as good: where it depends on how far the server had read. */
  readonly answersMayBe?: readonly number[];
  /** The gateway has to end the connection behind the last answer. */
  readonly closes?: boolean;
  /** The target of each request that the upstream may see; none unless given. */
  readonly reaches?: readonly string[];
  readonly check?: (outcome: AttackOutcome) => void;
}

export interface AttackOutcome {
  readonly received: string;
  readonly seen: readonly RawRequest[];
}

/** What no upstream may ever be asked: attacks hide requests for it in other requests. */
export const SMUGGLED = "/smuggled";

/** Carries out all of them at once, each on a connection of its own, and fails with the names of those that got through. */
export async function assertRepelled(
  attacks: readonly Attack[],
  { gateway, upstream }: { readonly gateway: TestGateway; readonly upstream: RawUpstream },
): Promise<void> {
  const failures = await Promise.all(attacks.map(async (attack, index) => {
    const id = `attack-${index}-`;
    const send = attack.send.replace("\r\n", `\r\nX-Attack: ${id}\r\n`);
    const { received, isClosed } = await rawConversation(gateway.port, bytes(send), {
      quietMs: 700,
      answers: attack.answers.length,
    });
    const seen = upstream.requests.filter((each) => each.header("x-attack") === id);
    try {
      const answers = statuses(received);
      if (answers.join() !== attack.answersMayBe?.join()) assertAnswers(answers, attack.answers);
      assertEquals(seen.map((each) => each.target), attack.reaches ?? []);
      if (attack.closes) assert(isClosed, "the connection is still open");
      attack.check?.({ received, seen });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      return `${attack.name}: ${text}\nreceived ${JSON.stringify(received)}`;
    }
  }));
  assertEquals(failures.filter(Boolean), []);
  for (const { target } of upstream.requests) assert(!target.includes(SMUGGLED), target);
  assertEquals((await (await gateway.fetch("/alive")).body?.cancel(), gateway.stderr), "");
}

/** The status of each response in what a client received. */
export function statuses(received: string): number[] {
  return [...received.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map(([, status]) => Number(status));
}

function assertAnswers(
  actual: readonly number[],
  expected: readonly (number | readonly number[])[],
): void {
  const fits = actual.length === expected.length &&
    actual.every((status, at) => [expected[at]].flat().includes(status));
  if (!fits) assertEquals(actual, expected);
}

/** One byte for each code unit, so that a row can send what is no UTF-8. */
function bytes(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}
