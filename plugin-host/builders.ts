/**
 * `ctx.upstream` and `ctx.response`: builders over what the earlier hooks proposed.
 *
 * @module
 */

import type {
  BodyInfo,
  Draft,
  DraftBody,
  HeaderMap,
  HookContext,
  HookName,
  Json,
} from "../protocol/snapshot.ts";
import { bodyBytes, bodyJson, bodyMetadata, bodyText, draftBodyInfo, toDraftBody } from "./body.ts";
import { FIELDS_OF_BODY, responseFields, responseStatus } from "../protocol/headers.ts";
import { HeaderBuilder, joinedHeaders, listValues } from "./headers.ts";
import { asText } from "./json.ts";
import type { ResponseBuilder, UpstreamBuilder } from "./mod.ts";

const NO_HEADERS: HeaderMap = Object.freeze(Object.create(null));
const NO_BODY: BodyInfo = Object.freeze({ kind: "none" });

/** Runs a change, unless the hook's time is over. */
type Guard = (change: () => void) => void;

export class UpstreamDraft implements UpstreamBuilder {
  readonly #headers: HeaderBuilder;
  readonly #change: Guard;
  #path: string | undefined;
  #query: string | undefined;

  constructor({ draft }: HookContext, hook: HookName, guard: Guard) {
    this.#headers = new HeaderBuilder(draft.upstream.headers);
    this.#path = draft.upstream.path;
    this.#query = draft.upstream.query;
    this.#change = (change) => {
      if (hook !== "beforeRequest") throw new TypeError("ctx.upstream works in beforeRequest only");
      guard(change);
    };
    Object.freeze(this);
  }

  setHeader(name: string, value: string): void {
    this.#change(() => this.#headers.set(name, value));
  }

  appendHeader(name: string, value: string): void {
    this.#change(() => this.#headers.append(name, value));
  }

  deleteHeader(name: string): void {
    this.#change(() => this.#headers.delete(name));
  }

  setPath(path: string): void {
    this.#change(() => this.#path = asText(path, "the path"));
  }

  setQuery(query: string): void {
    this.#change(() => this.#query = asText(query, "the query"));
  }

  result(): Draft["upstream"] {
    return { path: this.#path, query: this.#query, headers: this.#headers.overrides };
  }
}

export class ResponseDraft implements ResponseBuilder {
  readonly #captured: HeaderMap;
  readonly #headers: HeaderBuilder;
  readonly #change: Guard;
  readonly #input: HookContext;
  #status: number | undefined;
  #body: DraftBody | undefined;

  constructor(input: HookContext, guard: Guard) {
    this.#input = input;
    this.#captured = input.response?.headers ?? NO_HEADERS;
    this.#headers = new HeaderBuilder(input.draft.response.headers);
    this.#status = input.draft.response.status;
    this.#body = input.draft.response.body;
    this.#change = guard;
    Object.freeze(this);
  }

  get status(): number | undefined {
    const upstream = this.#input.response?.status;
    return upstream === undefined ? this.#status : responseStatus(upstream, this.result());
  }

  get headers(): Readonly<Record<string, string>> {
    return joinedHeaders(this.#effective());
  }

  get body(): BodyInfo {
    return bodyMetadata(this.#effectiveBody());
  }

  header(name: string): string | undefined {
    return this.headers[name.toLowerCase()];
  }

  headerValues(name: string): string[] {
    const key = name.toLowerCase();
    const headers = this.#effective();
    return listValues(key, Object.hasOwn(headers, key) ? headers[key] : undefined);
  }

  text(): string {
    return bodyText(this.#effectiveBody());
  }

  json(): Json {
    return bodyJson(this.#effectiveBody());
  }

  bytes(): Uint8Array {
    return bodyBytes(this.#effectiveBody());
  }

  setStatus(status: number): void {
    this.#change(() => this.#status = asNumber(status, "status"));
  }

  setHeader(name: string, value: string): void {
    this.#change(() => this.#headers.set(name, value));
  }

  appendHeader(name: string, value: string): void {
    this.#change(() => this.#headers.append(name, value));
  }

  deleteHeader(name: string): void {
    this.#change(() => this.#headers.delete(name));
  }

  setBody(body: Parameters<ResponseBuilder["setBody"]>[0]): void {
    const { draft, isJson } = toDraftBody(body);
    this.#change(() => {
      this.#body = draft;
      this.#headers.withdraw(FIELDS_OF_BODY);
      if (isJson) this.#headers.set("content-type", "application/json");
    });
  }

  result(): Draft["response"] {
    return { status: this.#status, headers: this.#headers.overrides, body: this.#body };
  }

  #effective(): HeaderMap {
    return responseFields(this.#captured, this.result());
  }

  #effectiveBody(): BodyInfo {
    if (this.#body !== undefined) return draftBodyInfo(this.#body);
    return this.#input.response?.body ?? NO_BODY;
  }
}

/** @throws {TypeError} for what is no finite number, which JSON could not carry */
export function asNumber(value: unknown, what: string): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  throw new TypeError(`${what} is ${shown}, not a number`);
}
