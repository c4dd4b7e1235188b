/**
 * The first steps of a request: what it asks for in one canonical form, which route takes it, and its exchange.
 *
 * @module
 */

import type { CanonicalTarget } from "../protocol/path.ts";
import type { HeaderMap } from "../protocol/snapshot.ts";
import type { Arrival } from "./access_log.ts";
import type { Config, Route } from "./config.ts";
import { EdgeError } from "./errors.ts";
import { Exchange } from "./exchange.ts";
import { type NameMatcher, requestHeaderMap, stripMatcher } from "./headers.ts";
import { parseHost, type RequestHost } from "./host.ts";
import {
  type AddressMatcher,
  clientAddress,
  forwardedHeaders,
  requestId,
  traceContext,
  trustedProxyMatcher,
} from "./identity.ts";
import { canonicalPath, encodedSlashRefused, isAsteriskForm, rawTarget } from "./path.ts";
import { requestBody } from "./request_body.ts";
import { Router } from "./router.ts";

const NO_FIELDS = new Headers();

/** What a request asks for. */
export interface Accepted {
  readonly host: RequestHost;
  readonly target: CanonicalTarget;
}

export interface Routed {
  readonly route: Route;
  /** What `stripPrefix` removes. */
  readonly prefix: string;
}

/** @returns `"asterisk"` for `OPTIONS *`, which asks about the gateway itself @throws {EdgeError} */
export function accept(request: Request): Accepted | "asterisk" {
  const host = parseHost(request.headers.get("host"), request.url);
  const target = rawTarget(request.url);
  refuseOtherProtocols(request);
  if (isAsteriskForm(request.method, target)) return "asterisk";
  return { host, target: canonicalPath(target) };
}

export class Intake {
  readonly #router: Router<Route>;
  readonly #strip: NameMatcher;
  readonly #isTrusted: AddressMatcher;
  readonly #ownsCors: boolean;
  /** Whether what a client calls its request, and its trace, is continued. */
  readonly #continues: { readonly id: boolean; readonly trace: boolean };

  constructor(config: Pick<Config, "routes" | "stripInboundHeaders" | "trustedProxies" | "cors">) {
    this.#router = new Router(config.routes);
    this.#strip = stripMatcher(config.stripInboundHeaders);
    this.#isTrusted = trustedProxyMatcher(config.trustedProxies);
    this.#ownsCors = config.cors !== "passthrough";
    this.#continues = {
      id: !this.#strip("x-request-id"),
      trace: !this.#strip("traceparent"),
    };
  }

  /** What the request is called from its beginning to its end. */
  traceId({ headers }: Request): string {
    return requestId(this.#continues.id ? headers : NO_FIELDS);
  }

  /** @throws {EdgeError} */
  route({ method }: Request, { host: { hostname }, target }: Accepted): Routed {
    const match = this.#router.match({ path: target.path, method, host: hostname });
    switch (match.kind) {
      case "not_found":
        throw new EdgeError("not_found", "no route for this path");
      case "method_not_allowed":
        throw new EdgeError("method_not_allowed", "method not allowed here", {
          headers: { allow: match.allow.join(", ") },
        });
      case "route":
        if (target.hasEncodedSlash && match.route.encodedSlashes !== "keep") {
          throw encodedSlashRefused();
        }
        return match;
    }
  }

  /**
   * @returns the exchange, and the fields that the gateway sets on the upstream request after all plugins
   * @throws {EdgeError} for a body that is refused by its declaration
   */
  open(
    { request, completed, traceId, peer, span }: Arrival,
    { host, target, route, prefix }: Accepted & Routed,
  ): { readonly exchange: Exchange; readonly managed: HeaderMap } {
    const { headers, method, signal } = request;
    const client = clientAddress(peer, {
      forwardedFor: headers.get("x-forwarded-for"),
      isTrusted: this.#isTrusted,
    });
    const trace = traceContext(this.#continues.trace ? headers : NO_FIELDS, span?.traceparent);
    const managed = forwardedHeaders({
      peer,
      client,
      host: host.host,
      proto: "http",
      port: host.port ?? 80,
      inbound: headers,
      trusted: this.#isTrusted(peer),
      strip: this.#strip,
      requestId: traceId,
      trace,
    });
    const exchange = new Exchange({
      traceId,
      trace,
      span,
      route,
      prefix,
      request: {
        method,
        path: target.path,
        query: target.query,
        headers: requestHeaderMap(headers, { strip: this.#strip }),
        remoteAddr: client,
        host: host.host,
        route: route.path,
      },
      requestBody: requestBody(request, {
        maxBytes: route.maxRequestBytes,
        idleMs: route.timeouts.idleMs,
        completed,
      }),
      ownsCors: this.#ownsCors,
      signal,
    });
    return { exchange, managed };
  }
}

function refuseOtherProtocols({ method, headers }: Request): void {
  if (method === "CONNECT" || method === "TRACE") {
    throw new EdgeError("method_not_allowed", `${method} is not served`, {
      headers: { allow: "" },
    });
  }
  if (headers.has("upgrade")) {
    throw new EdgeError("not_implemented", "protocol upgrades are not served");
  }
}
