/**
 * A plugin host that is there and does nothing, as in a cgroup that is frozen.
 *
 * @module
 */

import { assert } from "@std/assert";
import { untilReady } from "./failure.ts";
import type { TestGateway } from "./gateway.ts";

/** Stops the one that serves. What is asked next is answered by `failPolicy` when the gateway has given it up. */
export async function freezeHost(gateway: TestGateway): Promise<void> {
  await untilReady(gateway);
  const page = await fetch(`${gateway.adminUrl}/plugins`).then((answer) => answer.json());
  assert(typeof page.hostPid === "number");
  Deno.kill(page.hostPid, "SIGSTOP");
}
