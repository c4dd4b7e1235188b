/**
 * OpenTelemetry (docs/operations.md): one span for each request, with children for its hooks and for its round trip. The
 * request's span is the one that Deno begins by itself (`OTEL_DENO`), with what must not leave taken out of it; Deno also
 * exports all of them.
 *
 * @module
 */

import {
  type AttributeValue,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Tracer,
} from "@opentelemetry/api";
import type { Origin } from "./upstream/origin.ts";

/** What a span says; left out where there is nothing to say. */
type Attributes = Readonly<Record<string, AttributeValue | bigint | undefined>>;

/** What there is to say of a request at its end. */
export interface RequestEnd {
  readonly requestId: string;
  readonly status: number;
  /** Canonical; `-` where there is no such form. */
  readonly path: string;
  readonly rejectedBy?: string | undefined;
  /** Why it failed, in one word. */
  readonly error?: string | undefined;
  /** The response broke off. */
  readonly isCut: boolean;
}

/** Methods that may stand in the name of a span: a client can send any word (semantic conventions, HTTP spans). */
const KNOWN_METHODS = new Set(
  ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"],
);

export class Telemetry {
  readonly #tracer: Tracer;
  /** Deno's spans of requests that are not over yet. */
  readonly #held = new WeakSet<Span>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
    overrideSpans(tracer, this.#held);
  }

  /** The span of the request whose handler was called just now. */
  request(method: string): RequestSpan | undefined {
    const span = trace.getActiveSpan();
    if (!span) return undefined;
    const isSampled = (span.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0;
    if (isSampled) this.#held.add(span);
    span.updateName(nameOf(method));
    const release = () => this.#held.delete(span);
    return new RequestSpan(span, { tracer: this.#tracer, isSampled, release });
  }
}

/** @returns `undefined` where Deno traces nothing: then nothing of this costs anything */
export function startTelemetry(): Telemetry | undefined {
  if (trace.getTracerProvider() instanceof ProxyTracerProvider) return undefined;
  return new Telemetry(trace.getTracer("conduit"));
}

/** Deno's own mistake where it traces: it cannot write down a target with an impossible Host (2.9.6). */
export function isUnwritableTarget(error: unknown): boolean {
  return error instanceof TypeError && error.message.startsWith("Invalid URL: ");
}

/**
 * What Deno does to its spans of `Deno.serve` and `fetch`, changed for this process: a query may hold secrets, and an attribute
 * that is set cannot be taken back, as setting it again adds another one. And a held span ends with its response, not where
 * the handler has returned. Deno sets attributes one by one; ours are set together, which stays as it is.
 */
function overrideSpans(tracer: Tracer, held: WeakSet<Span>): void {
  const prototype: Span = Object.getPrototypeOf(tracer.startSpan("never ended, so never exported"));
  const { setAttribute, end } = prototype;
  prototype.setAttribute = function (key, value) {
    // The path is told in its canonical form, the status as the number that it is.
    if (held.has(this) || key === "url.query" || key === "url.path") return this;
    return setAttribute.call(this, key, key === "url.full" ? withoutSecrets(String(value)) : value);
  };
  prototype.end = function (time) {
    if (!held.has(this)) end.call(this, time);
  };
}

/** A URL without its query, its fragment and its credentials. */
function withoutSecrets(url: string): string {
  const parsed = URL.parse(url);
  return parsed ? `${parsed.protocol}//${parsed.host}${parsed.pathname}` : "-";
}

/** A request on its way, as it is traced. */
export class RequestSpan {
  readonly #span: Span;
  readonly #tracer: Tracer;
  /** What is not exported has no children, and nothing to say. */
  readonly #isSampled: boolean;
  readonly #release: () => void;
  /** When the hook that runs now began, in `performance.now()`. */
  #hookFrom = 0;

  constructor(
    span: Span,
    { tracer, isSampled, release }: {
      readonly tracer: Tracer;
      readonly isSampled: boolean;
      readonly release: () => void;
    },
  ) {
    this.#span = span;
    this.#tracer = tracer;
    this.#isSampled = isSampled;
    this.#release = release;
  }

  /** Names this span as the parent (W3C Trace Context §3.2). */
  get traceparent(): string {
    return traceparent(this.#span);
  }

  /** Told as soon as it is known: Deno copies it to its own `http.server.*` metrics when the handler returns. */
  routed(method: string, route: string): void {
    this.#span.updateName(`${nameOf(method)} ${route}`);
    describe(this.#span, { "http.route": route });
  }

  /** Hooks are asked for, one after another. @param now in `performance.now()` */
  asks(now: number): void {
    this.#hookFrom = now;
  }

  /** A hook has ended; its time is its isolate's own. */
  hook(
    { plugin, hook, action, durationMs }: {
      readonly plugin: string;
      readonly hook: string;
      readonly action: string;
      readonly durationMs: number;
    },
  ): void {
    if (!this.#isSampled) return;
    const from = this.#hookFrom;
    this.#hookFrom = Math.min(from + durationMs, performance.now());
    const span = this.#child(`${plugin} ${hook}`, { kind: SpanKind.INTERNAL, from });
    const failed = FAILED_ACTIONS.has(action);
    describe(span, {
      "conduit.plugin": plugin,
      "conduit.hook": hook,
      "conduit.action": action,
      "error.type": failed ? action : undefined,
    });
    if (failed) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(epochMs(this.#hookFrom));
  }

  upstream(method: string): UpstreamSpan | undefined {
    if (!this.#isSampled) return undefined;
    const span = this.#child(nameOf(method), { kind: SpanKind.CLIENT, from: performance.now() });
    return new UpstreamSpan(span, method);
  }

  /** The response is out, or will never be. */
  end({ requestId, status, path, rejectedBy, error, isCut }: RequestEnd): void {
    if (!this.#isSampled) return;
    this.#release();
    // A client's mistake is no failure of the server (semantic conventions, HTTP server spans).
    const failed = status >= 500 || isCut;
    describe(this.#span, {
      "http.response.status_code": BigInt(status),
      "url.path": path === "-" ? undefined : path,
      "error.type": error ?? (failed ? String(status) : undefined),
      "conduit.request_id": requestId,
      "conduit.rejected_by": rejectedBy,
    });
    if (failed) this.#span.setStatus({ code: SpanStatusCode.ERROR });
    this.#span.end();
  }

  #child(name: string, { kind, from }: { readonly kind: SpanKind; readonly from: number }): Span {
    const parent = trace.setSpan(ROOT_CONTEXT, this.#span);
    return this.#tracer.startSpan(name, { kind, startTime: epochMs(from) }, parent);
  }
}

/** The round trip of a request, until the head of the answer is here. */
export class UpstreamSpan {
  readonly #span: Span;
  readonly #method: string;
  #origin: Pick<Origin, "protocol" | "hostname" | "port"> | undefined;
  #path = "";
  #tries = 0;

  constructor(span: Span, method: string) {
    this.#span = span;
    this.#method = method;
  }

  get traceparent(): string {
    return traceparent(this.#span);
  }

  /** A connection to this upstream is about to be tried. @param path without a query */
  tries(origin: Pick<Origin, "protocol" | "hostname" | "port">, path: string): void {
    this.#origin = origin;
    this.#path = path;
    this.#tries++;
  }

  /** @param outcome the status, or why there is none */
  end(outcome: number | string): void {
    const origin = this.#origin;
    const failed = typeof outcome === "string" || outcome >= 400;
    describe(this.#span, {
      "http.request.method": this.#method,
      "http.response.status_code": typeof outcome === "number" ? BigInt(outcome) : undefined,
      "http.request.resend_count": this.#tries > 1 ? BigInt(this.#tries - 1) : undefined,
      "url.full": origin &&
        `${origin.protocol}//${origin.hostname}:${origin.port}${this.#path}`,
      "server.address": origin?.hostname,
      "server.port": origin && BigInt(origin.port),
      "error.type": failed ? String(outcome) : undefined,
    });
    if (failed) this.#span.setStatus({ code: SpanStatusCode.ERROR });
    this.#span.end();
  }
}

/** How a hook may end that is a failure; the words of `HookStep`. */
const FAILED_ACTIONS = new Set(["error", "timed_out", "crashed", "unavailable"]);

function nameOf(method: string): string {
  return KNOWN_METHODS.has(method) ? method : "HTTP";
}

/** Deno writes a number as a double and a bigint as an integer, which the types of the API do not know. */
function describe(span: Span, attributes: Attributes): void {
  const told = Object.entries(attributes).filter(([, value]) => value !== undefined);
  span.setAttributes(Object.fromEntries(told) as Record<string, AttributeValue>);
}

function traceparent(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}

let originMs = performance.timeOrigin;

/** A moment of `performance.now()` as Deno's own spans have it: they follow the system's clock where that is set. */
function epochMs(at: number): number {
  const now = performance.now();
  if (Math.abs(Date.now() - (originMs + now)) > 5) originMs = Date.now() - now;
  return originMs + at;
}
