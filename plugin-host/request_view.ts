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

/**
 * What a plugin sees of a request. The hooks of one chain share it where they see the same: it is frozen, and making one takes
 * longer than most hooks do.
 *
 * @param readsHeaders the plugin's declaration
 */
export function requestView(
  snapshot: RequestSnapshot,
  readsHeaders?: readonly string[],
): GatewayRequest {
  if (readsHeaders) return new RequestView(snapshot, declaration(readsHeaders));
  if (last?.snapshot !== snapshot) last = { snapshot, view: new RequestView(snapshot) };
  return last.view;
}

/** In lower case, each once. */
export function declaredNames(readsHeaders: readonly string[]): string[] {
  return [...new Set(readsHeaders.map((name) => name.toLowerCase()))];
}

interface Declaration {
  readonly names: ReadonlySet<string>;
  /** Behind the headers that are there: what is not found among them is looked up here. */
  readonly prototype: object;
}

const declarations = new WeakMap<readonly string[], Declaration>();

function declaration(readsHeaders: readonly string[]): Declaration {
  let known = declarations.get(readsHeaders);
  if (!known) {
    const names = new Set(declaredNames(readsHeaders));
    // A header that was not sent would otherwise look like one that the client did not send.
    const get = (_target: object, key: string | symbol) => checkDeclared(names, key);
    known = { names, prototype: new Proxy(Object.freeze(Object.create(null)), { get }) };
    declarations.set(readsHeaders, known);
  }
  return known;
}

/** @throws {TypeError} for a header that the plugin did not say it reads */
function checkDeclared(names: ReadonlySet<string>, key: string | symbol): undefined {
  // Asked for by `JSON.stringify` and `await`.
  if (typeof key === "symbol" || names.has(key) || key === "toJSON" || key === "then") return;
  const header = `the header ${JSON.stringify(key)}`;
  throw new TypeError(
    `${header} was not sent to this hook, since its plugin does not name it in readsHeaders`,
  );
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
  readonly #declared: Declaration | undefined;

  constructor(snapshot: RequestSnapshot, declared?: Declaration) {
    this.#snapshot = snapshot;
    this.#declared = declared;
    this.method = snapshot.method;
    this.path = snapshot.path;
    this.query = snapshot.query;
    this.headers = joinedHeaders(snapshot.headers, declared);
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
    if (this.#declared) checkDeclared(this.#declared.names, key);
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
