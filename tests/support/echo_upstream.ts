/**
 * A recording upstream: an ordinary HTTP server that keeps what it saw and tells it in its answer.
 *
 * @module
 */

export interface SeenRequest {
  readonly method: string;
  /** Path and query as they arrived. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface EchoUpstream extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Requests whose body has arrived, in that order. */
  readonly seen: SeenRequest[];
}

/**
 * Answers 200 with `{name, method, target, headers, bodyBytes}` as JSON, or what `respond` gives.
 *
 * @param respond gets the request with its body read
 */
export function echoUpstream(
  { name = "upstream", respond }: {
    readonly name?: string;
    readonly respond?: (
      seen: SeenRequest,
      request: Request,
    ) => Response | undefined | Promise<Response | undefined>;
  } = {},
): EchoUpstream {
  const seen: SeenRequest[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const each: SeenRequest = {
      method: request.method,
      target: request.url.replace(/^[a-z]+:\/\/[^/]*/, ""),
      headers: Object.fromEntries(request.headers),
      body: new Uint8Array(await request.arrayBuffer()),
    };
    seen.push(each);
    const { method, target, headers, body } = each;
    return await respond?.(each, request) ??
      Response.json({ name, method, target, headers, bodyBytes: body.length });
  });
  const { port } = server.addr;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    seen,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** One that takes requests and answers none before `release`. */
export function silentUpstream(): EchoUpstream & { readonly release: () => void } {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const upstream = echoUpstream({
    respond: async () => {
      await released;
      return new Response("late");
    },
  });
  return {
    ...upstream,
    release,
    async [Symbol.asyncDispose]() {
      release();
      await upstream[Symbol.asyncDispose]();
    },
  };
}
