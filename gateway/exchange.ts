/**
 * One request and its response: what plugins are shown of it, what they have proposed so far, and what of that may stand.
 *
 * @module
 */

import { overlay, valueList } from "../protocol/headers.ts";
import {
  deniedHeader,
  deniedStatus,
  type HeaderSide,
  isFieldValue,
  isToken,
} from "../protocol/mutation_rules.ts";
import { apply, type Patch } from "../protocol/patch.ts";
import {
  type Draft,
  EMPTY_DRAFT,
  type HeaderChange,
  type HeaderMap,
  type HeaderOverrides,
  type HookContext,
  type HookName,
  type RequestSnapshot,
} from "../protocol/snapshot.ts";
import type { Body } from "./body_store.ts";
import type { Route } from "./config.ts";
import { errorText } from "./errors.ts";
import type { TraceContext } from "./identity.ts";
import { canonicalPath } from "./path.ts";

/** A part of a patch that was refused; the rest of the patch stands. */
export interface Denial {
  /** `response header "content-length"`, `upstream path`, … */
  readonly what: string;
  readonly reason: string;
}

/** The upstream's answer, while `afterResponse` looks at it. */
export interface UpstreamAnswer {
  readonly status: number;
  readonly headers: HeaderMap;
  readonly body: Body;
}

/** One step of the chain, for the log and for `conduit dev`. */
export interface HookStep {
  readonly plugin: string;
  readonly hook: HookName;
  readonly action: string;
  readonly durationMs: number;
}

/** What is known of a request once it has a route. */
export interface ExchangeFacts {
  readonly traceId: string;
  readonly trace: TraceContext;
  readonly route: Route;
  /** What `stripPrefix` removes. */
  readonly prefix: string;
  readonly request: Omit<RequestSnapshot, "body">;
  readonly requestBody: Body;
  /** The gateway answers for CORS itself (`cors` is not `"passthrough"`). */
  readonly ownsCors: boolean;
  /** Aborts when the client leaves. */
  readonly signal: AbortSignal;
}

/** Fields that describe the bytes of a body, to be removed with it (RFC 9110 §8). */
const OF_THE_OLD_BODY: HeaderOverrides = {
  "content-encoding": [],
  "content-range": [],
  "content-md5": [],
  "content-digest": [],
  "repr-digest": [],
  "etag": [],
};

export class Exchange {
  readonly facts: ExchangeFacts;
  readonly steps: HookStep[] = [];
  /** The target that a plugin proposed last. */
  forwardUrl: string | undefined;
  #draft: Draft = EMPTY_DRAFT;

  constructor(facts: ExchangeFacts) {
    this.facts = facts;
  }

  get draft(): Draft {
    return this.#draft;
  }

  /** What one hook is shown. @param readsBodies whether its plugin looks at bodies */
  context(readsBodies: boolean, answer?: UpstreamAnswer): HookContext {
    const { request, requestBody } = this.facts;
    const context = {
      request: { ...request, body: requestBody.info(readsBodies) },
      draft: this.#draft,
    };
    if (!answer) return context;
    const { status, headers, body } = answer;
    return { ...context, response: { status, headers, body: body.info(readsBodies) } };
  }

  /** Lays a hook's patch over the draft, without what a plugin may not set. */
  accept(patch: Patch): Denial[] {
    const denials: Denial[] = [];
    this.#draft = apply(this.#draft, this.#permitted(patch, denials));
    return denials;
  }

  /** The part of a `reject`'s headers that may be sent. */
  permittedHeaders(headers: HeaderOverrides, denials: Denial[]): HeaderOverrides {
    return this.#filter(headers, "response", denials);
  }

  /** The response fields: `headers` with what plugins proposed. */
  responseHeaders(headers: HeaderMap): HeaderMap {
    const { body, headers: proposed } = this.#draft.response;
    return overlay(body === undefined ? headers : overlay(headers, OF_THE_OLD_BODY), proposed);
  }

  /** A rejection's fields: what the chain so far set belongs to this answer too; the rejection's own ones win. */
  rejectionHeaders(own: HeaderOverrides): HeaderOverrides {
    const proposed = Object.entries(this.#draft.response.headers)
      .filter(([name]) => name !== "content-type" && !Object.hasOwn(OF_THE_OLD_BODY, name));
    return { ...Object.fromEntries(proposed), ...own };
  }

  #permitted(patch: Patch, denials: Denial[]): Patch {
    const { upstream, response } = patch;
    return {
      ...patch,
      ...(upstream && {
        upstream: {
          ...upstream,
          ...judgePath(upstream.path, denials),
          ...judgeQuery(upstream.query, denials),
          ...(upstream.headers && { headers: this.#filter(upstream.headers, "upstream", denials) }),
        },
      }),
      ...(response && {
        response: {
          ...response,
          ...judgeStatus(response.status, denials),
          ...(response.headers && { headers: this.#filter(response.headers, "response", denials) }),
        },
      }),
    };
  }

  #filter<C extends HeaderChange | null>(
    headers: { readonly [name: string]: C },
    side: HeaderSide,
    denials: Denial[],
  ): Record<string, C> {
    const kept: Record<string, C> = Object.create(null);
    for (const name of Object.keys(headers)) {
      const change = headers[name] as C;
      const reason = this.#deniedChange(name, change, side);
      if (reason === null) kept[name] = change;
      else denials.push({ what: `${side} header ${JSON.stringify(name)}`, reason });
    }
    return kept;
  }

  #deniedChange(name: string, change: HeaderChange | null, side: HeaderSide): string | null {
    if (!isToken(name) || name !== name.toLowerCase()) return "is not a header name";
    const denied = deniedHeader(name, side, this.facts);
    if (denied !== null || change === null) return denied;
    const values = typeof change === "object" && "append" in change
      ? change.append
      : valueList(change);
    return values.every(isFieldValue) ? null : "has a value that is not legal in HTTP";
  }
}

/** A denied scalar is `undefined`: untouched. `null` withdraws an earlier proposal and is always allowed. */
function judgePath(
  path: string | null | undefined,
  denials: Denial[],
): { path?: string | null | undefined } {
  if (typeof path !== "string") return {};
  try {
    if (path.includes("?")) throw new Error('holds a "?"; use setQuery');
    return { path: canonicalPath(path, { encodedSlashes: "keep" }).path };
  } catch (error) {
    denials.push({ what: "upstream path", reason: errorText(error) });
    return { path: undefined };
  }
}

function judgeQuery(
  query: string | null | undefined,
  denials: Denial[],
): { query?: string | null | undefined } {
  if (typeof query !== "string") return {};
  try {
    return { query: canonicalPath(`/?${query}`, { encodedSlashes: "keep" }).query };
  } catch (error) {
    denials.push({ what: "upstream query", reason: errorText(error) });
    return { query: undefined };
  }
}

function judgeStatus(
  status: number | null | undefined,
  denials: Denial[],
): { status?: number | null | undefined } {
  const reason = typeof status === "number" ? deniedStatus(status) : null;
  if (reason === null) return {};
  denials.push({ what: "response status", reason });
  return { status: undefined };
}
