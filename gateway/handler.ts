/**
 * The walk of one request, in the eight steps of `docs/architecture.md`.
 *
 * @module
 */

import type { HeaderMap } from "../protocol/snapshot.ts";
import { requestBody } from "./body_store.ts";
import type { Config, Route } from "./config.ts";
import { type CorsPolicy, corsPolicy } from "./cors.ts";
import { EdgeError } from "./errors.ts";
import { Exchange, type UpstreamAnswer } from "./exchange.ts";
import type { Generation } from "./generation.ts";
import { type NameMatcher, requestHeaderMap, stripMatcher } from "./headers.ts";
import {
  HookChain,
  hookPlan,
  readsBodies,
  type Rejected,
  runtimeUnavailable,
} from "./hook_chain.ts";
import { parseHost, type RequestHost } from "./host.ts";
import {
  type AddressMatcher,
  clientAddress,
  forwardedHeaders,
  requestId,
  traceContext,
  trustedProxyMatcher,
} from "./identity.ts";
import type { Log } from "./log.ts";
import {
  canonicalPath,
  type CanonicalTarget,
  encodedSlashRefused,
  isAsteriskForm,
  rawTarget,
} from "./path.ts";
import { ClientGone, type Proxy } from "./proxy.ts";
import { answerReply, edgeErrorReply, errorReply, type Reply, toResponse } from "./respond.ts";
import { Router } from "./router.ts";

export interface HandlerNeeds {
  readonly config: Config;
  readonly log: Log;
  readonly proxy: Proxy;
  /** The generation for a new request, `undefined` while there is none. */
  readonly generation: () => Generation | undefined;
  /** What `conduit dev` tells a client where `run` says only that the plugin runtime is away. */
  readonly explainAbsence?: () => string | undefined;
  /** Show which route and plugins a response passed, in `x-conduit-*` headers. */
  readonly showsWay?: boolean;
}

/** What is known of a request from its first moment. */
interface Arrival {
  readonly request: Request;
  readonly traceId: string;
  readonly peer: string;
  readonly startedAt: number;
}

/** What the access log says beyond the arrival; filled in along the walk. */
interface Story {
  path: string;
  route?: string;
  clientAddr?: string;
  exchange?: Exchange;
  rejectedBy?: string;
}

const NOT_HTTP_HERE: Readonly<Record<string, true>> = { CONNECT: true, TRACE: true };

export class Handler {
  readonly #needs: HandlerNeeds;
  readonly #router: Router<Route>;
  readonly #cors: CorsPolicy;
  readonly #strip: NameMatcher;
  readonly #isTrusted: AddressMatcher;
  #inFlight = 0;

  constructor(needs: HandlerNeeds) {
    const { config } = needs;
    this.#needs = needs;
    this.#router = new Router(config.routes);
    this.#cors = corsPolicy(config.cors);
    this.#strip = stripMatcher(config.stripInboundHeaders);
    this.#isTrusted = trustedProxyMatcher(config.trustedProxies);
  }

  /** Requests that are being answered now. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Answers one request; never rejects. `info.completed` settles when the response is written or the client has left. */
  async handle(request: Request, info: Deno.ServeHandlerInfo): Promise<Response> {
    const arrival: Arrival = {
      request,
      traceId: requestId(request.headers),
      peer: info.remoteAddr.transport === "tcp" ? info.remoteAddr.hostname : "",
      startedAt: performance.now(),
    };
    const story: Story = { path: "-" };
    this.#inFlight++;
    const reply = await this.#answer(arrival, story);
    const headers = this.#finalHeaders(reply, arrival, story);
    void info.completed.then(() => false, () => true).then((cut) =>
      this.#finish(arrival, story, { reply, cut })
    );
    return toResponse({ ...reply, headers }, request.method);
  }

  async #answer(arrival: Arrival, story: Story): Promise<Reply> {
    const { request, traceId } = arrival;
    try {
      if (this.#inFlight > this.#needs.config.maxInFlight) {
        throw new EdgeError("overloaded", "too many requests at a time", {
          headers: { "retry-after": "1" },
        });
      }
      return await this.#walk(arrival, story);
    } catch (error) {
      story.exchange?.facts.requestBody.release();
      if (error instanceof EdgeError) return edgeErrorReply(error, traceId);
      if (error instanceof ClientGone || request.signal.aborted) {
        return { status: 499, headers: {}, body: null };
      }
      this.#needs.log.error("the gateway itself failed", { traceId, error });
      return edgeErrorReply(new EdgeError("internal", "internal error"), traceId);
    }
  }

  async #walk(arrival: Arrival, story: Story): Promise<Reply> {
    const { request } = arrival;

    // 1. Accept: one canonical path, for everything that follows.
    const host = parseHost(request.headers.get("host"), request.url);
    const target = rawTarget(request.url);
    refuseOtherProtocols(request);
    if (isAsteriskForm(request.method, target)) return { status: 204, headers: {}, body: null };
    const canonical = canonicalPath(target, { encodedSlashes: "keep" });
    story.path = canonical.path;

    // 2. A CORS preflight is answered here.
    const preflight = this.#cors.preflight(request);
    if (preflight) {
      return {
        status: preflight.status,
        headers: Object.fromEntries(preflight.headers),
        body: null,
      };
    }

    // 3. Route.
    const { route, prefix } = this.#route(request, canonical, host);
    story.route = route.path;

    // 4. Open the exchange.
    const { exchange, managed } = this.#open(arrival, { canonical, host, route, prefix });
    story.exchange = exchange;
    story.clientAddr = exchange.facts.request.remoteAddr;
    const generation = this.#generationFor(route);
    const release = generation?.lease();
    try {
      const plan = generation && hookPlan(generation, route);
      const chain = generation && new HookChain(generation, exchange, this.#needs);
      if (readsBodies(plan?.beforeRequest ?? [])) {
        await exchange.facts.requestBody.capture(this.#needs.config.bodies.inlineLimitBytes);
      }

      // 5. beforeRequest.
      const refused = await chain?.run("beforeRequest", plan?.beforeRequest ?? []);
      if (refused) return this.#rejection(refused, exchange, story);

      // 6. One round trip.
      const wantsBody = readsBodies(plan?.afterResponse ?? []);
      const answer = await this.#needs.proxy.send(exchange, { managed, wantsPlainBody: wantsBody });

      // 7. afterResponse.
      try {
        if (wantsBody) await answer.body.capture(this.#needs.config.bodies.inlineLimitBytes);
        const late = await chain?.run("afterResponse", plan?.afterResponse ?? [], answer);
        if (!late) return this.#reply(exchange, answer);
        answer.body.release();
        return this.#rejection(late, exchange, story);
      } catch (error) {
        answer.body.release();
        throw error;
      }
    } finally {
      release?.();
    }
    // 8. `handle` writes the response and `#finish` the access-log line.
  }

  #route(
    request: Request,
    canonical: CanonicalTarget,
    { hostname }: RequestHost,
  ): { readonly route: Route; readonly prefix: string } {
    const match = this.#router.match({
      path: canonical.path,
      method: request.method,
      host: hostname,
    });
    switch (match.kind) {
      case "not_found":
        throw new EdgeError("not_found", "no route for this path");
      case "method_not_allowed":
        throw new EdgeError("method_not_allowed", "method not allowed here", {
          headers: { allow: match.allow.join(", ") },
        });
      case "route":
        if (canonical.hasEncodedSlash && match.route.encodedSlashes !== "keep") {
          throw encodedSlashRefused();
        }
        return match;
    }
  }

  #open(
    { request, traceId, peer }: Arrival,
    { canonical, host, route, prefix }: {
      readonly canonical: CanonicalTarget;
      readonly host: RequestHost;
      readonly route: Route;
      readonly prefix: string;
    },
  ): { readonly exchange: Exchange; readonly managed: HeaderMap } {
    const { headers, method, signal } = request;
    const trusted = this.#isTrusted(peer);
    const client = clientAddress(peer, {
      forwardedFor: headers.get("x-forwarded-for"),
      isTrusted: this.#isTrusted,
    });
    const trace = traceContext(headers);
    const managed = forwardedHeaders({
      peer,
      client,
      host: host.host,
      proto: "http",
      port: host.port ?? 80,
      inbound: headers,
      trusted,
      requestId: traceId,
      trace,
    });
    const exchange = new Exchange({
      traceId,
      trace,
      route,
      prefix,
      request: {
        method,
        path: canonical.path,
        query: canonical.query,
        headers: requestHeaderMap(headers, { strip: this.#strip }),
        remoteAddr: client,
        host: host.host,
        route: route.path,
      },
      requestBody: requestBody(request, {
        maxBytes: route.maxRequestBytes,
        idleMs: route.timeouts.idleMs,
      }),
      signal,
    });
    return { exchange, managed };
  }

  /** @throws {EdgeError} where a closed route has nobody to ask */
  #generationFor(route: Route): Generation | undefined {
    if (route.plugins !== "all" && route.plugins.length === 0) return undefined;
    const generation = this.#needs.generation();
    if (!generation && route.failPolicy === "closed") {
      throw runtimeUnavailable(this.#needs.explainAbsence?.());
    }
    return generation;
  }

  #rejection(
    { plugin, status, message, headers }: Rejected,
    exchange: Exchange,
    story: Story,
  ): Reply {
    story.rejectedBy = plugin;
    exchange.facts.requestBody.release();
    const { traceId } = exchange.facts;
    const reply = errorReply(status, { code: "rejected", message, traceId });
    // What the chain so far set on the response belongs to this answer too; the rejection's own headers win.
    const merged = { ...exchange.draft.response.headers, ...headers };
    return {
      ...reply,
      headers: errorReply(status, { code: "", message: "", traceId }, merged).headers,
    };
  }

  #reply(exchange: Exchange, answer: UpstreamAnswer): Reply {
    const { status = answer.status, body } = exchange.draft.response;
    return answerReply(status, exchange.responseHeaders(answer.headers), {
      upstream: answer.body,
      draft: body,
    });
  }

  /** The fields that neither an upstream nor a plugin decides. */
  #finalHeaders(
    reply: Reply,
    { request, traceId }: Arrival,
    { route, exchange }: Story,
  ): HeaderMap {
    const headers: HeaderMap = {
      ...this.#cors.apply(reply.headers, request.headers.get("origin")),
      "x-request-id": traceId,
    };
    if (!this.#needs.showsWay || route === undefined) return headers;
    const steps = exchange?.steps.map((each) =>
      `${each.plugin};${each.hook}=${each.action};dur=${each.durationMs.toFixed(1)}`
    );
    return { ...headers, "x-conduit-route": route, "x-conduit-plugins": steps?.join(", ") ?? "" };
  }

  #finish(
    { request, traceId, startedAt, peer }: Arrival,
    { path, route, clientAddr, exchange, rejectedBy }: Story,
    { reply, cut }: { readonly reply: Reply; readonly cut: boolean },
  ): void {
    this.#inFlight--;
    const status = cut ? 499 : reply.status;
    this.#needs.log.info(`${request.method} ${path} ${status}`, {
      traceId,
      method: request.method,
      path,
      status,
      durationMs: Math.round((performance.now() - startedAt) * 10) / 10,
      route,
      clientAddr: clientAddr ?? peer,
      rejectedBy,
      user: exchange?.draft.user === undefined ? undefined : userId(exchange.draft.user),
    });
  }
}

function refuseOtherProtocols(request: Request): void {
  if (NOT_HTTP_HERE[request.method]) {
    throw new EdgeError("method_not_allowed", `${request.method} is not served`, {
      headers: { allow: "" },
    });
  }
  if (request.headers.has("upgrade")) {
    throw new EdgeError("not_implemented", "protocol upgrades are not served");
  }
}

/** A user's `id` where an authentication plugin set one: the rest of an identity is not for logs. */
function userId(user: unknown): unknown {
  return typeof user === "object" && user !== null && "id" in user
    ? user.id
    : typeof user === "string"
    ? user
    : undefined;
}
