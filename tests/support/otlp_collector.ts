/**
 * A collector of OpenTelemetry: takes OTLP over HTTP, as JSON, on a port of its own.
 *
 * @module
 */

/** One span, with its attributes as plain values. */
export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** `""` where it has none. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: "internal" | "server" | "client" | "other";
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly isError: boolean;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface OtlpCollector extends AsyncDisposable {
  /** What makes a gateway export to it, soon. */
  readonly env: Readonly<Record<string, string>>;
  readonly spans: CollectedSpan[];
  /** Everything that came, as it came. */
  readonly texts: string[];
}

interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { key: string; value: Readonly<Record<string, unknown>> }[];
  readonly status: { readonly code: number };
}

export function otlpCollector(): OtlpCollector {
  const spans: CollectedSpan[] = [];
  const texts: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const text = await request.text();
    texts.push(text);
    for (const { scopeSpans } of JSON.parse(text).resourceSpans ?? []) {
      for (const scope of scopeSpans) spans.push(...scope.spans.map(collected));
    }
    return Response.json({});
  });
  return {
    env: {
      OTEL_DENO: "true",
      OTEL_SERVICE_NAME: "conduit-test",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${server.addr.port}`,
      OTEL_BSP_SCHEDULE_DELAY: "50",
      // Deno 2.9.6 can hang at its end where it exports its own metrics in that moment (docs/operations.md).
      OTEL_DENO_METRICS: "false",
    },
    spans,
    texts,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function collected(span: OtlpSpan): CollectedSpan {
  const keys = span.attributes.map(({ key }) => key);
  if (new Set(keys).size < keys.length) throw new Error(`an attribute stands twice: ${keys}`);
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    name: span.name,
    kind: ([, "internal", "server", "client"] as const)[span.kind] ?? "other",
    attributes: Object.fromEntries(
      span.attributes.map(({ key, value }) => [
        key,
        "intValue" in value ? Number(value.intValue) : Object.values(value)[0],
      ]),
    ),
    isError: span.status.code === 2,
    fromMs: Number(span.startTimeUnixNano) / 1e6,
    toMs: Number(span.endTimeUnixNano) / 1e6,
  };
}
