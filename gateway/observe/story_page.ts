/**
 * `/trace` and `/trace/<id>`: the stories of the requests that run and of the last ones, as JSON for people.
 *
 * @module
 */

import type { HookResult } from "../../protocol/messages.ts";
import { type AdminPage, jsonForPeople } from "../admin.ts";
import { originText } from "../upstream/origin.ts";
import { proposal } from "./proposals.ts";
import type { KeptStep, KeptStory, Stories } from "./stories.ts";

/** How many `/trace` lists. */
const LISTED = 100;

/**
 * The pages, by path.
 *
 * @param running what there is of the requests that have not ended, the latest first
 */
export function storyPages(
  stories: Stories,
  running: () => readonly KeptStory[],
): Readonly<Record<string, AdminPage>> {
  const found = (id: string) => [
    ...running().filter(({ traceId }) => traceId === id),
    ...stories.find(id),
  ];
  return {
    "/trace": () =>
      jsonForPeople(200, {
        requests: [...running(), ...stories.recent(LISTED)].slice(0, LISTED).map(storyLine),
      }),
    "/trace/": ({ pathname }) => storiesFound(pathname, found(traceIdOf(pathname)).map(told)),
  };
}

/** What `/trace/<id>` answers. */
export function storiesFound(pathname: string, requests: readonly object[]): Response {
  return requests.length > 0 ? jsonForPeople(200, { requests }) : jsonForPeople(404, {
    error: `${traceIdOf(pathname)} is none of the requests that run and of the last ones`,
    requests,
  });
}

function traceIdOf(pathname: string): string {
  return pathname.slice(pathname.lastIndexOf("/") + 1);
}

function storyLine({ traceId, endedAt, method, path, status, durationMs }: KeptStory): object {
  return {
    traceId,
    time: new Date(endedAt - durationMs).toISOString(),
    method,
    path,
    status,
    durationMs: thousandths(durationMs),
  };
}

/** All that there is to tell; what looks like a secret is masked. */
function told(story: KeptStory): object {
  const { route, clientAddr, user, sentBytes: bytes, rejectedBy, error, steps } = story;
  return {
    ...storyLine(story),
    route,
    clientAddr,
    user,
    bytes,
    rejectedBy,
    error,
    decided: decision(story),
    hooks: steps.map(hookTold),
    upstream: upstreamTold(story),
  };
}

/** What became of the request, in one sentence. */
function decision(story: KeptStory): string {
  const { status, rejectedBy, error, failure, trip, route } = story;
  if (status === undefined) return `nothing yet: ${whereItIs(story)}`;
  if (failure !== undefined) return `cut in the middle of the response: ${failure}`;
  if (status === 499) return "the client left";
  if (rejectedBy !== undefined) return `${rejectedBy} rejected it with ${status}`;
  if (error !== undefined) return `the gateway answered ${status} ${error}`;
  if (!trip?.origin) return `the gateway answered ${status}`;
  const { origin, isForward } = trip;
  return `${isForward ? "forwarded to" : `${route} to`} ${originText(origin)}, answered ${status}`;
}

function whereItIs({ trip, steps }: KeptStory): string {
  if (!trip) return steps.length === 0 ? "its hooks or its body" : "its later hooks";
  if (trip.durationMs !== undefined) return "its answer is on its way";
  return trip.origin ? `${originText(trip.origin)} has not answered` : "its forward is judged";
}

function hookTold({ plugin, hook, action, durationMs, result, fields, denials }: KeptStep): object {
  const proposed = fields ?? (result ? proposal(result) : {});
  return {
    plugin,
    hook,
    action,
    durationMs,
    ...(Object.keys(proposed).length > 0 ? { proposed } : {}),
    ...(denials ? { denied: denials } : {}),
    error: errorOf(result),
  };
}

function errorOf(result: HookResult | undefined): string | undefined {
  if (result?.action !== "continue" || !result.error) return undefined;
  return `${result.error.name}: ${result.error.message}`;
}

function upstreamTold({ trip, upstreamFailure }: KeptStory): object | undefined {
  if (!trip) return undefined;
  const { origin, isForward, attempts, durationMs, refusal } = trip;
  return {
    origin: origin && originText(origin),
    forwarded: isForward,
    forwardRefused: refusal,
    attempts,
    durationMs: durationMs === undefined ? undefined : thousandths(durationMs),
    failure: upstreamFailure,
  };
}

function thousandths(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
