/**
 * The admin listener: whether the gateway lives (`/healthz`), whether it is ready for traffic (`/readyz`), and pages about
 * what it does. Browsers are kept out, also those that a rebound name leads here.
 *
 * @module
 */

import ipaddr from "ipaddr.js";

export interface AdminNeeds {
  readonly readiness: () => Readiness | Promise<Readiness>;
  /** By path; one that ends in `/` takes what follows. */
  readonly pages?: Readonly<Record<string, AdminPage>>;
}

/** Answers a GET. */
export type AdminPage = (url: URL) => Response | Promise<Response>;

export interface Readiness {
  /** Why the gateway is not ready, or `undefined`. */
  readonly reason: string | undefined;
  /** Of a parent: how many of its gateway processes are ready. */
  readonly processes?: { readonly ready: number; readonly of: number };
}

/** Answers one request to the admin listener. */
export function adminHandler(
  { readiness, pages = {} }: AdminNeeds,
): (request: Request) => Promise<Response> {
  return async (request) => {
    if (!isLocalHost(request.headers.get("host")) || request.headers.has("origin")) {
      return json(403, {
        error: "this listener answers only requests made to it by address, and none from browsers",
      });
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      return json(405, { error: "use GET" });
    }
    const url = new URL(request.url);
    switch (url.pathname) {
      case "/healthz":
        return json(200, { status: "ok" });
      case "/readyz": {
        const answer = await readiness();
        return answer.reason === undefined
          ? json(200, { status: "ready", ...answer })
          : json(503, { status: "not ready", ...answer });
      }
      default:
        return await pageFor(url.pathname, pages)?.(url) ?? json(404, {
          error: `there are ${["/healthz", "/readyz", ...Object.keys(pages)].join(", ")}`,
        });
    }
  };
}

function pageFor(path: string, pages: Readonly<Record<string, AdminPage>>): AdminPage | undefined {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const name = Object.hasOwn(pages, path) ? path : folder;
  return Object.hasOwn(pages, name) ? pages[name] : undefined;
}

/** An address or `localhost`: whatever name an attacker's page has, it is neither. A Unix socket has no host to check. */
function isLocalHost(host: string | null): boolean {
  const name = host?.replace(/:\d+$/, "") ?? "";
  return name === "" || name === "localhost" || ipaddr.isValid(name.replace(/^\[|\]$/g, ""));
}

/** An answer as JSON, indented for people. */
export function json(status: number, value: object): Response {
  return new Response(`${JSON.stringify(value, null, 2)}\n`, {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}
