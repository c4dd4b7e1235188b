/**
 * The walk of one request, in the eight steps of `docs/architecture.md`.
 *
 * @module
 */

import { isBodiless } from "../protocol/headers.ts";
import type { HeaderMap } from "../protocol/snapshot.ts";
import type { Arrival, Story } from "./access_log.ts";
import { captureAnswer } from "./body_store.ts";
import type { Config, Route } from "./config.ts";
import { type CorsPolicy, corsPolicy } from "./cors.ts";
import {
  ClientGone,
  EdgeError,
  errorText,
  errorType,
  UpstreamError,
  upstreamFailed,
} from "./errors.ts";
import type { Generation } from "./generation.ts";
import { HookChain, runtimeUnavailable } from "./hook_chain.ts";
import { hookPlan } from "./hook_plan.ts";
import { accept, Intake } from "./intake.ts";
import { type Listed, LiveList } from "./live_list.ts";
import type { Log } from "./log.ts";
import type { Observer } from "./observe/observer.ts";
import type { PluginLogs } from "./plugin_logs.ts";
import type { Proxy } from "./proxy.ts";
import { assertNoBody, saysNothingOfBody } from "./request_body.ts";
import {
  answerReply,
  cutResponse,
  edgeErrorReply,
  rejectionReply,
  type Reply,
  toResponse,
  watchedBody,
} from "./respond.ts";
import type { Telemetry } from "./telemetry.ts";

export interface HandlerNeeds {
  readonly config: Config;
  readonly log: Log;
  readonly pluginLogs: PluginLogs;
  /** Hears of each request once when it begins and once when it has ended. */
  readonly observer: Observer;
  readonly proxy: Proxy;
  /** The generation for a new request, `undefined` while there is none. */
  readonly generation: () => Generation | undefined;
  /** What `conduit dev` tells a client where `run` says only that the plugin runtime is away. */
  readonly explainAbsence?: () => string | undefined;
  /** Show which route and plugins a response passed, in `x-conduit-*` headers and in the log. */
  readonly showsWay?: boolean;
  /** Where requests are traced. */
  readonly telemetry?: Telemetry | undefined;
  /** Requests that are being answered now: of the whole process, also those that began with another configuration. */
  readonly visits: LiveList<Visit>;
}

/** A request that is being answered; `status` is what it has so far. */
export interface Visit extends Listed<Visit> {
  readonly arrival: Arrival;
  readonly story: Story;
  status: number;
  /** Whether it is known, without asking if the client has left, how the response ended: in full, or cut for its upstream. */
  isSettled: boolean;
}

export class Handler {
  readonly #needs: HandlerNeeds;
  readonly #intake: Intake;
  readonly #cors: CorsPolicy;
  readonly #visits: LiveList<Visit>;

  constructor(needs: HandlerNeeds) {
    this.#needs = needs;
    this.#visits = needs.visits;
    this.#intake = new Intake(needs.config);
    this.#cors = corsPolicy(needs.config.cors);
  }

  /** Answers one request; never rejects. `info.completed` settles when the response is written or the client has left. */
  async handle(request: Request, info: Deno.ServeHandlerInfo): Promise<Response> {
    const { completed } = info;
    const arrival: Arrival = {
      request,
      completed,
      url: request.url,
      traceId: this.#intake.traceId(request),
      peer: info.remoteAddr.transport === "tcp" ? info.remoteAddr.hostname : "",
      startedAt: performance.now(),
      span: this.#needs.telemetry?.request(request.method),
    };
    const story: Story = { path: "-", sentBytes: 0 };
    const visit: Visit = { arrival, story, status: 503, isSettled: false };
    this.#visits.add(visit);
    this.#needs.observer.began();
    const reply = await this.#answer(arrival, story);
    const { status, body } = reply;
    visit.status = status;
    // Before there is an answer it is aborted only where there is nobody to have it.
    const hasLeft = request.signal.aborted;
    let isWhole = !hasLeft &&
      (!(body instanceof ReadableStream) || isBodiless(request.method, status));
    completed.then(() => {
      // It also resolves where a client leaves in the middle of a stream.
      visit.isSettled ||= isWhole;
      this.#finish(visit);
    }, () => this.#finish(visit));
    if (body instanceof Uint8Array && !hasLeft && !isBodiless(request.method, status)) {
      story.sentBytes = body.length;
    }
    const response = toResponse({
      ...reply,
      headers: this.#finalHeaders(reply, arrival, story),
      body: body instanceof ReadableStream
        ? watchedBody(body, {
          signal: request.signal,
          onPiece: (bytes) => void (story.sentBytes += bytes),
          onEnd: () => void (isWhole = true),
          idleMs: story.exchange?.facts.route.timeouts.idleMs ?? Infinity,
          onFailure: (error) => this.#onCut(error, visit),
        })
        : body,
    }, request.method);
    if (request.method !== "CONNECT" || !request.headers.has("content-length")) return response;
    // Deno.serve would read this body as the next request.
    visit.isSettled = true;
    return cutResponse(response);
  }

  /** Writes the access lines of the requests that will end with the process. */
  abandon(): void {
    for (const visit of this.#visits.toArray()) {
      visit.story.failure ??= "shutdown";
      this.#finish(visit);
    }
  }

  #finish(visit: Visit): void {
    if (!this.#visits.delete(visit)) return;
    const { arrival, story, status, isSettled } = visit;
    // The signal alone does not tell: without `no-legacy-abort` Deno aborts it for every request that ends.
    const hasLeft = !isSettled && arrival.request.signal.aborted;
    this.#needs.observer.ended(arrival, story, hasLeft ? 499 : status);
  }

  async #answer(arrival: Arrival, story: Story): Promise<Reply> {
    try {
      if (this.#visits.size > this.#needs.config.maxInFlight) {
        throw new EdgeError("overloaded", "too many requests at a time", {
          headers: { "retry-after": "1" },
        });
      }
      return await this.#walk(arrival, story);
    } catch (error) {
      story.exchange?.facts.requestBody.release();
      story.errorCode = errorType(error);
      return this.#failed(error, arrival, story);
    }
  }

  async #walk(arrival: Arrival, story: Story): Promise<Reply> {
    const { request } = arrival;
    const { inlineLimitBytes: limitBytes } = this.#needs.config.bodies;

    // 1. Accept: one canonical path, for everything that follows.
    const accepted = accept(request);
    if (accepted === "asterisk") return { status: 204, headers: {}, body: null };
    story.path = accepted.target.path;

    // 2. A CORS preflight is answered here.
    const preflight = this.#cors.preflight(request);
    if (preflight) {
      const { status, headers } = preflight;
      return { status, headers: Object.fromEntries(headers), body: null, isPreflight: true };
    }

    // 3. Route.
    const routed = this.#intake.route(request, accepted);
    const { route } = routed;
    story.route = route.path;
    arrival.span?.routed(request.method, route.path);

    // 4. Open the exchange.
    const { exchange, managed } = this.#intake.open(arrival, { ...accepted, ...routed });
    story.exchange = exchange;
    if (saysNothingOfBody(request)) await assertNoBody(request, route.timeouts.idleMs);
    const generation = this.#generationFor(route);
    const release = generation?.lease();
    try {
      const plan = generation && hookPlan(generation, route, this.#needs.config);
      const chain = generation && new HookChain(generation, exchange, this.#needs);
      if (plan?.beforeRequest.readsBodies) {
        await exchange.facts.requestBody.capture({ limitBytes });
      }

      // 5. beforeRequest.
      const refused = plan && await chain?.run(plan.beforeRequest);
      if (refused) {
        story.rejectedBy = refused.plugin;
        return rejectionReply(refused, exchange);
      }

      // 6. One round trip.
      if (plan?.afterResponse.hooks.length === 0) release?.(); // it holds up nobody who has to go
      const wantsBody = plan?.afterResponse.readsBodies ?? false;
      const answer = await this.#needs.proxy.send(exchange, { managed, wantsPlainBody: wantsBody });

      // 7. afterResponse.
      try {
        if (wantsBody) await captureAnswer(answer, { limitBytes, withinMs: route.hookTimeoutMs });
        const late = plan && await chain?.run(plan.afterResponse, answer);
        if (!late) return answerReply(exchange, answer);
        answer.body.release();
        story.rejectedBy = late.plugin;
        return rejectionReply(late, exchange);
      } catch (error) {
        answer.body.release();
        throw error;
      }
    } finally {
      release?.();
    }
    // 8. `handle` writes the response, and the access-log line when that is done.
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

  #failed(error: unknown, { request, traceId }: Arrival, story: Story): Reply {
    if (error instanceof ClientGone || request.signal.aborted) {
      return { status: 499, headers: {}, body: null };
    }
    if (error instanceof EdgeError) return edgeErrorReply(error, traceId);
    if (error instanceof UpstreamError) {
      this.#logUpstreamFailure(error, traceId, story);
      return edgeErrorReply(upstreamFailed(error), traceId);
    }
    this.#needs.log.error("the gateway itself failed", { traceId, error });
    return edgeErrorReply(new EdgeError("internal", "internal error"), traceId);
  }

  /** The upstream broke off when the response head was out. */
  #onCut(error: unknown, visit: Visit): void {
    const { arrival: { traceId }, story } = visit;
    story.failure = error instanceof UpstreamError ? error.failure : errorText(error);
    if (error instanceof UpstreamError) {
      visit.isSettled = true;
      this.#logUpstreamFailure(error, traceId, story);
    }
    // `completed` would come when the client goes, which it need not.
    if (error instanceof ClientGone) this.#finish(visit);
  }

  #logUpstreamFailure({ failure, message }: UpstreamError, traceId: string, story: Story): void {
    story.upstreamFailure = failure;
    this.#needs.log.error("upstream failed", { traceId, failure, reason: message });
  }

  /** The fields that neither an upstream nor a plugin decides. */
  #finalHeaders(
    reply: Reply,
    { request, traceId }: Arrival,
    { route, exchange }: Story,
  ): HeaderMap {
    const headers = reply.isPreflight
      ? { ...reply.headers }
      : this.#cors.apply(reply.headers, request.headers.get("origin"));
    headers["x-request-id"] = traceId;
    if (!this.#needs.showsWay) return headers;
    const steps = exchange?.steps.map((each) =>
      `${each.plugin};${each.hook}=${each.action};dur=${each.durationMs.toFixed(1)}`
    );
    return {
      ...headers,
      "x-conduit-route": route ?? "-",
      "x-conduit-plugins": steps?.join(", ") || "-",
    };
  }
}
