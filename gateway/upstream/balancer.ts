/**
 * Several upstreams behind one route, taken in turn.
 *
 * @module
 */

import type { UpstreamClient } from "./client.ts";
import { ConnectError } from "./connect.ts";
import type { Origin, UpstreamRequest, UpstreamResponse } from "./origin.ts";

const DEFAULT_PROBE_AFTER_MS = 5_000;

interface Member {
  readonly origin: Origin;
  /** When it may be tried again; 0 while it is well. */
  outUntil: number;
  probing: boolean;
}

export class Balancer {
  readonly #members: readonly Member[];
  readonly #clock: () => number;
  readonly #probeAfterMs: number;
  #turn = 0;

  /** @param origins at least one */
  constructor(
    origins: readonly Origin[],
    options: { readonly clock?: () => number; readonly probeAfterMs?: number } = {},
  ) {
    if (origins.length === 0) throw new TypeError("Cannot balance over no upstreams");
    this.#members = origins.map((origin) => ({ origin, outUntil: 0, probing: false }));
    this.#clock = options.clock ?? (() => performance.now());
    this.#probeAfterMs = options.probeAfterMs ?? DEFAULT_PROBE_AFTER_MS;
  }

  /**
   * Sends to the next upstream, and to the one after it where no connection comes about: so nothing is sent twice.
   * That upstream is then left out for `probeAfterMs`, after which a single request tries it. Where all are left
   * out, all are tried.
   *
   * @param requestFor the request as this upstream is to get it (its Host field differs)
   * @throws {UpstreamError} of the upstream that was tried last
   */
  send(
    client: UpstreamClient,
    requestFor: (origin: Origin) => UpstreamRequest,
  ): Promise<UpstreamResponse> {
    const [first] = this.#members;
    // With nobody to turn to there is nothing to keep.
    if (first && this.#members.length === 1) {
      return client.send(first.origin, requestFor(first.origin));
    }
    return this.#sendInTurn(client, requestFor);
  }

  async #sendInTurn(
    client: UpstreamClient,
    requestFor: (origin: Origin) => UpstreamRequest,
  ): Promise<UpstreamResponse> {
    let failure: unknown;
    for (const member of this.#candidates()) {
      member.probing = member.outUntil > 0;
      try {
        const response = await client.send(member.origin, requestFor(member.origin));
        member.outUntil = 0;
        return response;
      } catch (error) {
        if (!(error instanceof ConnectError)) throw error;
        member.outUntil = this.#clock() + this.#probeAfterMs;
        failure = error;
      } finally {
        member.probing = false;
      }
    }
    throw failure;
  }

  /** All members, beginning with the one whose turn it is; those that are left out come last, as the last resort. */
  #candidates(): Member[] {
    const first = this.#turn;
    this.#turn = (first + 1) % this.#members.length;
    const inTurn = [...this.#members.slice(first), ...this.#members.slice(0, first)];
    const now = this.#clock();
    const isOut = (member: Member) => member.outUntil > now || member.probing;
    return [...inTurn.filter((member) => !isOut(member)), ...inTurn.filter(isOut)];
  }
}
