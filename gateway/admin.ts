/**
 * The admin listener: whether the gateway lives (`/healthz`), whether it is ready for traffic (`/readyz`), and pages about
 * what it does. Browsers are kept out, also those that a rebound name leads here.
 *
 * @module
 */

import ipaddr from "ipaddr.js";
import type { ListenAddress } from "./config.ts";
import { type Listening, serveOn } from "./listen.ts";
import type { Log } from "./log.ts";
import { escapeControls } from "./log_lines.ts";

export interface AdminNeeds {
  /** Names that it is asked by, beside addresses and `localhost`. */
  readonly allowedHosts?: () => readonly string[];
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

/**
 * Listens for the operator. A Unix socket is for the user and the group of the gateway.
 *
 * @throws {ListenError}
 */
export function serveAdmin(
  listen: ListenAddress,
  log: Log,
  needs: AdminNeeds,
): Promise<Listening> {
  return serveOn(listen, { log, socketMode: 0o660 }, adminHandler(needs));
}

/** Answers one request to the admin listener. */
export function adminHandler(
  { readiness, pages = {}, allowedHosts = () => [] }: AdminNeeds,
): (request: Request, info: Deno.ServeHandlerInfo) => Promise<Response> {
  return async (request, { remoteAddr }) => {
    const { headers } = request;
    // No name leads to a Unix socket, so none can be rebound.
    if (remoteAddr.transport === "tcp" && !isAskedByUs(headers.get("host"), allowedHosts())) {
      return json(403, {
        error:
          "this listener is asked by address, as localhost, or by a name in admin.allowedHosts",
      });
    }
    if (isFromPage(headers)) {
      return json(403, { error: "this listener answers no requests of web pages" });
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

/** By address or `localhost`: whatever name an attacker's page has, it is neither. */
function isAskedByUs(host: string | null, allowedHosts: readonly string[]): boolean {
  const name = host?.replace(/:\d+$/, "").toLowerCase() ?? "";
  return name === "" || name === "localhost" || allowedHosts.includes(name) ||
    ipaddr.isValid(name.replace(/^\[|\]$/g, ""));
}

/** A script's request, or a picture, a frame or a link of another site (Fetch Metadata §2.3); what a person types is none. */
function isFromPage(headers: Headers): boolean {
  const site = headers.get("sec-fetch-site");
  return headers.has("origin") || (site !== null && site !== "none" && site !== "same-origin");
}

/** An answer as JSON, in one line. */
export function json(status: number, value: object): Response {
  return Response.json(value, { status, headers: { "cache-control": "no-store" } });
}

/** The same, indented: a page to be read with `curl`. */
export function jsonForPeople(status: number, value: object): Response {
  // What a client or a plugin gave is in there, and whoever reads it does so in a terminal.
  const text = JSON.stringify(value, null, 2).split("\n").map(escapeControls).join("\n");
  return new Response(`${text}\n`, {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}
