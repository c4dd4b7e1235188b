/**
 * The network of a test: a function, or a map from URLs to answers. What nobody answers is refused, like a host that the
 * configuration does not name.
 *
 * @module
 */

type Answer = Response | undefined | Promise<Response | undefined>;

/** `undefined` refuses. In a map a URL without a query stands for every query; a `Response` answers any number of times. */
export type FakeHttp =
  | ((request: Request) => Answer)
  | { readonly [url: string]: Response | ((request: Request) => Answer) };

/** A `fetch` over this network. */
export function fakeFetch(http: FakeHttp): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    const answer = typeof http === "function" ? http : http[request.url] ??
      http[request.url.replace(/[?#].*/s, "")];
    const response = await orAborted(
      typeof answer === "function" ? answer(request) : answer?.clone(),
      request.signal,
    );
    if (response) return response;
    throw Object.assign(new Error(`nobody answers ${request.url} in this test`), {
      name: "NotCapable",
    });
  };
}

async function orAborted(answer: Answer, signal: AbortSignal): Promise<Response | undefined> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    return await Promise.race([answer, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
