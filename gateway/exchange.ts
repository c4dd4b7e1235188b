/**
 * One request and its response: what plugins are shown of it, what they have proposed so far, and what of that may stand.
 *
 * @module
 */

import { rejectionFields, responseFields } from "../protocol/headers.ts";
import type { HookResult } from "../protocol/messages.ts";
import {
  type Denial,
  type Judge,
  permittedHeaders,
  permittedPatch,
} from "../protocol/mutation_rules.ts";
import { apply, jsonDraft, jsonMap, type Patch } from "../protocol/patch.ts";
import {
  type Draft,
  EMPTY_DRAFT,
  type HeaderMap,
  type HeaderOverrides,
  type HookContext,
  type HookName,
  type RequestSnapshot,
} from "../protocol/snapshot.ts";
import type { Body } from "./body_store.ts";
import type { Route } from "./config.ts";
import type { TraceContext } from "./identity.ts";
import type { RequestSpan } from "./telemetry.ts";
import type { Origin } from "./upstream/origin.ts";

/** The upstream's answer, while `afterResponse` looks at it. */
export interface UpstreamAnswer {
  readonly status: number;
  readonly headers: HeaderMap;
  readonly body: Body;
}

/** One step of the chain, for whoever tells of it later. */
export interface HookStep {
  readonly plugin: string;
  readonly hook: HookName;
  readonly action: string;
  readonly durationMs: number;
  /** What the hook answered, if it did. */
  readonly result?: HookResult | undefined;
  /** What of that may not stand; at least one. */
  denials?: readonly Denial[];
}

/** The round trip of a request, as far as it has come. */
export interface UpstreamTrip {
  /** The last one that was tried. */
  origin?: Origin;
  isForward: boolean;
  /** How often it was sent, or tried to be. */
  attempts: number;
  /** Until the head of the answer, or the failure. */
  durationMs?: number;
  /** Why the forward target was refused. */
  refusal?: string;
}

/** Names of header fields, in lower case. */
export type HeaderNames = readonly string[];

/** What is known of a request once it has a route. */
export interface ExchangeFacts {
  readonly traceId: string;
  readonly trace: TraceContext;
  readonly span?: RequestSpan | undefined;
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

export class Exchange {
  readonly facts: ExchangeFacts;
  readonly steps: HookStep[] = [];
  trip: UpstreamTrip | undefined;
  /** The target that a plugin proposed last. */
  forwardUrl: string | undefined;
  #draft: Draft = EMPTY_DRAFT;
  /** Of the request: each hook is sent them. */
  #jsonHeaders: HeaderMap | undefined;

  constructor(facts: ExchangeFacts) {
    this.facts = facts;
  }

  get draft(): Draft {
    return this.#draft;
  }

  /**
   * What hooks are shown, to be sent.
   *
   * @param reads whether their plugins look at bodies, and which of the request's fields they read: all unless given
   */
  context(
    { bodies, headers: names }: {
      readonly bodies: boolean;
      readonly headers?: HeaderNames | undefined;
    },
    answer?: UpstreamAnswer,
  ): HookContext {
    const { request, requestBody } = this.facts;
    const context = {
      request: {
        ...request,
        headers: this.#headersToSend(names),
        body: requestBody.info(bodies),
      },
      draft: jsonDraft(this.#draft),
    };
    if (!answer) return context;
    const { status, body } = answer;
    const headers = jsonMap(answer.headers);
    return { ...context, response: { status, headers, body: body.info(bodies) } };
  }

  #headersToSend(names: HeaderNames | undefined): HeaderMap {
    const { headers } = this.facts.request;
    if (names === undefined) return this.#jsonHeaders ??= jsonMap(headers);
    const named: Record<string, string | readonly string[]> = Object.create(null);
    for (const name of names) {
      if (Object.hasOwn(headers, name)) named[name] = headers[name] as string;
    }
    return jsonMap(named);
  }

  /** Lays a hook's patch over the draft, without what a plugin may not set. */
  accept(patch: Patch): Denial[] {
    const denials: Denial[] = [];
    this.#draft = apply(this.#draft, permittedPatch(patch, this.#judge(denials)));
    return denials;
  }

  /** The part of a `reject`'s headers that may be sent. */
  permittedHeaders(headers: HeaderOverrides, denials: Denial[]): HeaderOverrides {
    return permittedHeaders(headers, "response", this.#judge(denials));
  }

  /** The response fields: `headers` with what plugins proposed. */
  responseHeaders(headers: HeaderMap): HeaderMap {
    return responseFields(headers, this.#draft.response);
  }

  /** A rejection's fields: what the chain so far set belongs to this answer too; the rejection's own ones win. */
  rejectionHeaders(own: HeaderOverrides): HeaderOverrides {
    return rejectionFields(own, this.#draft.response);
  }

  #judge(denials: Denial[]): Judge {
    return { ownsCors: this.facts.ownsCors, denials };
  }
}
