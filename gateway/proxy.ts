/**
 * The one round trip of a request: to the approved forward target, or to the route's upstream.
 *
 * @module
 */

import { forEachField, overlay, valueList } from "../protocol/headers.ts";
import type { HeaderMap } from "../protocol/snapshot.ts";
import { Body, type BodySource } from "./body_store.ts";
import type { Route } from "./config.ts";
import { ClientGone, EdgeError, errorType, UpstreamError } from "./errors.ts";
import type { Exchange, UpstreamAnswer, UpstreamTrip } from "./exchange.ts";
import type { ForwardGuard, ForwardTarget } from "./forward_guard.ts";
import { responseHeaderMap } from "./headers.ts";
import { maskedUrl } from "./masking.ts";
import type { PluginLogs } from "./plugin_logs.ts";
import { strippedPath } from "./router.ts";
import { Balancer } from "./upstream/balancer.ts";
import type { UpstreamClient } from "./upstream/client.ts";
import type { Origin, StreamBody, UpstreamRequest, UpstreamResponse } from "./upstream/origin.ts";

export interface ProxyNeeds {
  readonly client: UpstreamClient;
  readonly guard: ForwardGuard;
  readonly pluginLogs: Pick<PluginLogs, "about">;
}

export class Proxy {
  readonly #needs: ProxyNeeds;
  readonly #balancers: ReadonlyMap<Route, Balancer>;

  constructor(routes: readonly Route[], needs: ProxyNeeds) {
    this.#needs = needs;
    this.#balancers = new Map(routes.map((route) => [route, new Balancer(route.upstreams)]));
  }

  /**
   * @param managed the fields that the gateway sets after all plugins
   * @param wantsPlainBody a hook will read the answer: ask for it without an encoding
   * @throws {UpstreamError} when the round trip failed
   * @throws {EdgeError} what was wrong with the client's body
   * @throws {ClientGone}
   */
  async send(
    exchange: Exchange,
    options: { readonly managed: HeaderMap; readonly wantsPlainBody: boolean },
  ): Promise<UpstreamAnswer> {
    const { route, signal, request: { method } } = exchange.facts;
    const trip: UpstreamTrip = { isForward: false, attempts: 0 };
    exchange.trip = trip;
    const target = await this.#forwardTarget(exchange, trip);
    const body = upstreamBody(exchange.facts.requestBody);
    const span = exchange.facts.span?.upstream(method);
    const managed = span
      ? overlay(options.managed, { traceparent: span.traceparent })
      : options.managed;
    const request = (origin: Origin, path: string, query: string): UpstreamRequest => {
      trip.attempts++;
      trip.origin = origin;
      span?.tries(origin, path);
      const host = authority(origin);
      return {
        method,
        target: withQuery(path, query),
        headers: upstreamFields(exchange, { ...options, managed, host }),
        body,
        signal,
        timeouts: route.timeouts,
      };
    };
    const startedAt = performance.now();
    try {
      const response = target
        ? await this.#needs.client.send(target, request(target, target.path, target.query))
        : await this.#sendToRoute(exchange, request);
      if (response.retried) trip.attempts++;
      span?.end(response.status);
      return answer(response);
    } catch (error) {
      const cause = causeOf(error, exchange.facts.signal);
      span?.end(cause instanceof UpstreamError ? cause.failure : errorType(cause));
      throw cause;
    } finally {
      trip.durationMs = performance.now() - startedAt;
    }
  }

  #sendToRoute(
    exchange: Exchange,
    request: (origin: Origin, path: string, query: string) => UpstreamRequest,
  ): Promise<UpstreamResponse> {
    const { route, prefix, request: { path, query } } = exchange.facts;
    const { upstream } = exchange.draft;
    const target = upstream.path ?? (route.stripPrefix ? strippedPath(path, prefix) : path);
    const balancer = this.#balancers.get(route);
    if (!balancer) throw new TypeError("the route belongs to another configuration");
    return balancer.send(
      this.#needs.client,
      (origin) => request(origin, target, upstream.query ?? query),
    );
  }

  /** Where a plugin wants the request to go, if the guard agrees. */
  async #forwardTarget(
    { forwardUrl, steps, facts: { traceId } }: Exchange,
    trip: UpstreamTrip,
  ): Promise<ForwardTarget | undefined> {
    if (forwardUrl === undefined) return undefined;
    const verdict = await this.#needs.guard.check(forwardUrl);
    trip.isForward = verdict.ok;
    if (verdict.ok) return verdict.target;
    trip.refusal = verdict.reason;
    const { plugin = "-" } = steps.findLast(({ action }) => action === "forward") ?? {};
    const log = this.#needs.pluginLogs.about(plugin);
    log.warn("forward refused; using the original route", {
      traceId,
      plugin,
      // A plugin most likely took the query from the client, and queries are not for logs.
      url: maskedUrl(forwardUrl.replace(/\?.*/s, "?…")),
      reason: verdict.reason,
    });
  }
}

/** A round trip also ends where its client does: then that is the reason, not the upstream. */
function causeOf(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return new ClientGone("the client left", { cause: error });
  if (!(error instanceof UpstreamError) || error.failure !== "aborted") return error;
  const { cause } = error;
  return cause instanceof EdgeError || cause instanceof ClientGone ? cause : error;
}

/** One pair for each field line. */
function upstreamFields(
  exchange: Exchange,
  { host, managed, wantsPlainBody }: {
    readonly host: string;
    readonly managed: HeaderMap;
    readonly wantsPlainBody: boolean;
  },
): [name: string, value: string][] {
  const { request: { headers } } = exchange.facts;
  const base = wantsPlainBody ? overlay(headers, { "accept-encoding": "identity" }) : headers;
  const fields: [string, string][] = [["host", host]];
  forEachField(base, exchange.draft.upstream.headers, (name, value) => {
    if (name in managed) return;
    if (typeof value === "string") fields.push([name, value]);
    else for (const each of value) fields.push([name, each]);
  });
  for (const name in managed) {
    for (const value of valueList(managed[name])) fields.push([name, value]);
  }
  return fields;
}

function upstreamBody(body: Body): Uint8Array | StreamBody | null {
  const { declaredBytes } = body;
  const source: BodySource = body.take();
  if (!(source instanceof ReadableStream)) return source;
  return { stream: source, ...(declaredBytes === undefined ? {} : { lengthBytes: declaredBytes }) };
}

function answer({ status, headers, body, lengthBytes }: UpstreamResponse): UpstreamAnswer {
  return { status, headers: responseHeaderMap(headers), body: new Body(body, lengthBytes) };
}

/** RFC 9112 §3.2: the default port is left out. */
function authority({ protocol, hostname, port }: Origin): string {
  return port === (protocol === "https:" ? 443 : 80) ? hostname : `${hostname}:${port}`;
}

function withQuery(path: string, query: string): string {
  return query === "" ? path : `${path}?${query}`;
}
