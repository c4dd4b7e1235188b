/**
 * Several hooks asked for by one message (`hookDispatch: "per-phase"`): what both ends must see alike.
 *
 * @module
 */

import type { ChainLink, HookResult } from "./messages.ts";

/**
 * Whether no further hook of a chain runs after this result: that of its last plugin, or of one that ends it. After a timeout
 * the gateway decides, and asks for the rest anew: the isolate may have been slow to notice, and what it would go on with
 * could be running elsewhere by then.
 */
export function endsChain(result: HookResult, chain: readonly ChainLink[]): boolean {
  const link = chain.find(({ plugin }) => plugin === result.plugin);
  if (!link || link === chain.at(-1)) return true;
  if (result.action !== "continue") return result.action === "reject";
  return result.timedOut === true || (result.error !== undefined && link.stopsOnError);
}
