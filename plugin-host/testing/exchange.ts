/**
 * One request of a test as the gateway would hold it: what hooks are shown, what they proposed so far and what of that may
 * stand.
 *
 * @module
 */

import {
  applyOverrides,
  isBodiless,
  isEventStream,
  overlay,
  plainName,
  rejectionFields,
  responseFields,
  responseStatus,
  sentStatus,
  valueList,
} from "../../protocol/headers.ts";
import {
  type Denial,
  deniedStatus,
  isDroppedFromAnswers,
  isDroppedFromClients,
  permittedHeaders,
  permittedPatch,
} from "../../protocol/mutation_rules.ts";
import { apply, bareMap, type Patch } from "../../protocol/patch.ts";
import { canonicalPath } from "../../protocol/path.ts";
import {
  type BodyInfo,
  type Draft,
  EMPTY_DRAFT,
  type HeaderMap,
  type HeaderOverrides,
  type HookContext,
  type HookName,
  type Json,
  type RequestSnapshot,
  type ResponseSnapshot,
} from "../../protocol/snapshot.ts";
import { bodyText, draftBodyInfo, toDraftBody } from "../body.ts";

/** The default of `bodies.inlineLimitBytes`. */
const INLINE_LIMIT_BYTES = 65_536;
/** The trace id of every request in a test. */
export const TRACE_ID = "test";

/** Names in any case; an array is a field that came more than once. */
export type TestHeaders = { readonly [name: string]: string | readonly string[] };

/**
 * Text, bytes, or an object that is sent as JSON. `{ reference: 10_000_000 }` is a body of that many bytes, too large to be
 * shown to hooks, `{ reference: "unknown" }` one of unknown length. One over 64 KiB becomes a reference by itself.
 */
export type TestBody =
  | string
  | Uint8Array
  | { readonly reference: number | "unknown" }
  | { readonly [key: string]: Json }
  | readonly Json[];

export interface TestResponse {
  readonly status?: number;
  readonly headers?: TestHeaders;
  readonly body?: TestBody;
}

/** What differs from a `GET /` of nobody, without headers and body, that is answered with an empty 200. */
export interface TestRequest {
  readonly method?: string;
  /** Made canonical, as the gateway does. May hold a query. */
  readonly path?: string;
  /** Without `?`. */
  readonly query?: string;
  readonly headers?: TestHeaders;
  readonly body?: TestBody;
  readonly remoteAddr?: string;
  readonly host?: string;
  /** The `path` of the matched route. */
  readonly route?: string;
  /** As earlier plugins left them. */
  readonly user?: Json;
  readonly state?: { readonly [key: string]: Json };
  /** What the upstream answers; seen by `afterResponse`. */
  readonly response?: TestResponse;
  /** `"passthrough"`: as with that configuration, plugins may set CORS headers. */
  readonly cors?: "passthrough";
}

/** What the client gets. `body` is `undefined` where it is the upstream's and not shown to hooks, and empty where HTTP allows none. */
export interface ClientResponse {
  readonly status: number;
  readonly headers: TestHeaders;
  readonly body: string | undefined;
}

export interface Rejected {
  readonly status: number;
  readonly message: string;
  readonly headers: HeaderOverrides;
}

export class TestExchange {
  readonly #request: RequestSnapshot;
  readonly #answer: ResponseSnapshot;
  readonly #ownsCors: boolean;
  #draft: Draft;
  forwarded: string | undefined;
  rejection: ClientResponse | undefined;

  /** @throws {PathError} for a path that the gateway answers with 400 */
  constructor(options: TestRequest) {
    const target = options.path ?? "/";
    const { path, query } = canonicalPath(
      options.query === undefined ? target : `${target}?${options.query}`,
    );
    this.#request = {
      method: options.method ?? "GET",
      path,
      query,
      remoteAddr: options.remoteAddr ?? "203.0.113.7",
      host: options.host ?? "gateway.test",
      route: options.route ?? "/*",
      ...message(options, (name) => isDroppedFromClients(plainName(name))),
    };
    const { status = 200, ...answer } = options.response ?? {};
    const shown = message(answer, isDroppedFromAnswers);
    const streams = shown.body.kind === "inline" && isEventStream(shown.headers);
    this.#answer = {
      status,
      ...shown,
      ...(streams ? { body: reference(shown.body.sizeBytes ?? "unknown") } : {}),
    };
    this.#ownsCors = options.cors !== "passthrough";
    const { user, state = {} } = options;
    this.#draft = apply(EMPTY_DRAFT, { ...(user === undefined ? {} : { user }), state });
  }

  get draft(): Draft {
    return this.#draft;
  }

  /** What a hook is shown. Where its plugin reads no bodies, and there is no other one, no body is waited for. */
  context(hook: HookName, { readsBodies }: { readonly readsBodies: boolean }): HookContext {
    const shown = <T extends { readonly body: BodyInfo }>(message: T): T =>
      readsBodies || message.body.kind !== "inline"
        ? message
        : { ...message, body: reference(message.body.sizeBytes) };
    return {
      request: shown(this.#request),
      draft: this.#draft,
      ...(hook === "afterResponse" ? { response: shown(this.#answer) } : {}),
    };
  }

  /** Lays a patch over the draft; gives what of it is refused. */
  accept(patch: Patch): Denial[] {
    const denials: Denial[] = [];
    this.#draft = apply(
      this.#draft,
      permittedPatch(patch, { ownsCors: this.#ownsCors, denials }),
    );
    return denials;
  }

  /**
   * Ends the request with this answer; gives what of it is refused.
   *
   * @param options.isMistaken `ctx.reject` was called wrongly, and the status is none that the plugin gave
   */
  reject(
    { status, message, headers }: Rejected,
    { isMistaken }: { readonly isMistaken: boolean },
  ): Denial[] {
    const denials: Denial[] = [];
    const own = permittedHeaders(headers, "response", { ownsCors: this.#ownsCors, denials });
    const reason = deniedStatus(status);
    if (reason === null) {
      const fields = rejectionFields(own, this.#draft.response);
      this.rejection = this.#sent(errorResponse(status, { code: "rejected", message }, fields));
    } else {
      if (!isMistaken) denials.push({ what: "rejection status", reason });
      const error = { code: "plugin_error", message: "a policy check failed" };
      this.rejection = this.#sent(errorResponse(500, error, { "cache-control": "no-store" }));
    }
    return denials;
  }

  /** The fields that the upstream gets, without those that the gateway sets. */
  upstreamHeaders(): TestHeaders {
    return { ...applyOverrides(this.#request.headers, this.#draft.upstream.headers) };
  }

  /** The upstream's answer with what plugins made of it. */
  response(): ClientResponse {
    const { status, headers, body } = this.#answer;
    const draft = this.#draft.response;
    const sent = draft.body === undefined ? body : draftBodyInfo(draft.body);
    return this.#sent({
      status: responseStatus(status, draft),
      headers: { ...responseFields(headers, draft) },
      body: sent.kind === "reference" ? undefined : bodyText(sent),
    });
  }

  #sent({ status, headers, body }: ClientResponse): ClientResponse {
    const isEmpty = isBodiless(this.#request.method, status);
    return { status: sentStatus(status), headers, body: isEmpty ? "" : body };
  }
}

function errorResponse(
  status: number,
  error: { readonly code: string; readonly message: string },
  headers: HeaderOverrides,
): ClientResponse {
  return {
    status,
    headers: {
      ...overlay(isBodiless("", status) ? {} : { "content-type": "application/json" }, headers),
    },
    body: JSON.stringify({ error: { ...error, traceId: TRACE_ID } }),
  };
}

function message(
  { headers = {}, body }: { readonly headers?: TestHeaders; readonly body?: TestBody },
  isDropped: (name: string) => boolean,
): { readonly headers: HeaderMap; readonly body: BodyInfo } {
  const map = bareMap<string | readonly string[]>({});
  for (const [given, value] of Object.entries(headers)) {
    const name = given.toLowerCase();
    const lines = [...valueList(map[name]), ...valueList(value)];
    const [first, ...more] = lines;
    if (first === undefined || isDropped(name)) continue;
    map[name] = more.length === 0 ? first : lines;
  }
  if (body === undefined || body === "") return { headers: map, body: { kind: "none" } };
  if (isReference(body)) return { headers: map, body: reference(body.reference) };
  const { draft, isJson } = toDraftBody(body);
  if (isJson) map["content-type"] ??= "application/json";
  const info = draftBodyInfo(draft);
  const isLarge = info.kind === "inline" && info.sizeBytes > INLINE_LIMIT_BYTES;
  return { headers: map, body: isLarge ? reference(info.sizeBytes) : info };
}

function isReference(
  body: TestBody,
): body is { readonly reference: number | "unknown" } {
  if (typeof body !== "object" || Object.keys(body).join() !== "reference") return false;
  const { reference } = body as { readonly reference: unknown };
  return typeof reference === "number" || reference === "unknown";
}

function reference(size: number | "unknown"): BodyInfo {
  return {
    kind: "reference",
    ref: "stream://1",
    ...(size === "unknown" ? {} : { sizeBytes: size }),
  };
}
