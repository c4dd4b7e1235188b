/**
 * `ctx.request`: the deeply frozen view of one request.
 *
 * @module
 */

import type { BodyInfo, Json, RequestSnapshot } from "../protocol/snapshot.ts";
import { bodyBytes, bodyJson, bodyMetadata, bodyText } from "./body.ts";
import { joinedHeaders, listValues } from "./headers.ts";
import type { GatewayRequest } from "./mod.ts";

let last: { readonly snapshot: RequestSnapshot; readonly view: RequestView } | undefined;

/** The view of a snapshot. The hooks of one chain share it: it is frozen, and making one takes longer than most hooks do. */
export function requestView(snapshot: RequestSnapshot): GatewayRequest {
  if (last?.snapshot !== snapshot) last = { snapshot, view: new RequestView(snapshot) };
  return last.view;
}

class RequestView implements GatewayRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly remoteAddr: string;
  readonly host: string;
  readonly route: string;
  readonly body: BodyInfo;
  readonly #snapshot: RequestSnapshot;

  constructor(snapshot: RequestSnapshot) {
    this.#snapshot = snapshot;
    this.method = snapshot.method;
    this.path = snapshot.path;
    this.query = snapshot.query;
    this.headers = joinedHeaders(snapshot.headers);
    this.remoteAddr = snapshot.remoteAddr;
    this.host = snapshot.host;
    this.route = snapshot.route;
    this.body = bodyMetadata(snapshot.body);
    Object.freeze(this);
  }

  header(name: string): string | undefined {
    return this.headers[name.toLowerCase()];
  }

  headerValues(name: string): string[] {
    const key = name.toLowerCase();
    const { headers } = this.#snapshot;
    return listValues(key, Object.hasOwn(headers, key) ? headers[key] : undefined);
  }

  searchParams(): URLSearchParams {
    return new URLSearchParams(this.query);
  }

  text(): string {
    return bodyText(this.#snapshot.body);
  }

  json(): Json {
    return bodyJson(this.#snapshot.body);
  }

  bytes(): Uint8Array {
    return bodyBytes(this.#snapshot.body);
  }
}
