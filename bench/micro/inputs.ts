/**
 * What the micro benchmarks work on: a request as browsers send it, and what a chain of plugins made of it.
 *
 * @module
 */

import { apply } from "../../protocol/patch.ts";
import type { ToIsolate } from "../../protocol/messages.ts";
import { type Draft, EMPTY_DRAFT } from "../../protocol/snapshot.ts";

export const REQUEST_FIELDS: Readonly<Record<string, string>> = {
  "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  "accept-encoding": "gzip, deflate, br, zstd",
  "accept-language": "en-US,en;q=0.9,de;q=0.8",
  "authorization": "Session 6f1c2a7e9b1d4c55a8b0c7f3e2d49a10",
  "cache-control": "no-cache",
  "connection": "keep-alive",
  "cookie": "theme=dark; consent=1; visit=4f7d1b2a6c9e",
  "host": "api.example.com",
  "referer": "https://app.example.com/inbox?folder=new",
  "user-agent":
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0",
  "x-nonce": "b8f1d2c3",
  "x-signature": "7d5c1f2e9a0b4c6d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d",
  "x-timestamp": "1795404493",
};

export const RESPONSE_FIELDS: readonly (readonly [string, string])[] = [
  ["Server", "nginx/1.22.1"],
  ["Date", "Mon, 23 Nov 2026 03:30:00 GMT"],
  ["Content-Type", "application/json; charset=utf-8"],
  ["Content-Length", "200"],
  ["Connection", "keep-alive"],
  ["Cache-Control", "private, max-age=0"],
  ["ETag", '"5f3c-1a2b"'],
  ["Set-Cookie", "visit=4f7d1b2a6c9e; Path=/; HttpOnly"],
  ["Set-Cookie", "theme=dark; Path=/"],
  ["Vary", "Accept-Encoding"],
];

/** After two hooks. */
export const DRAFT: Draft = apply(EMPTY_DRAFT, {
  upstream: { headers: { "x-gateway-user": "42", "authorization": [] } },
  response: { headers: { "x-served-by": "conduit" } },
  user: { id: "42", roles: ["member"] },
  state: { "session.ttl": 3600 },
});

/** After the third. */
export const NEXT_DRAFT: Draft = apply(DRAFT, {
  upstream: { headers: { "x-gateway-plan": "team" } },
  response: { headers: { "cache-control": "no-store" } },
});

/** What the gateway asks an isolate for the third hook. */
export const HOOK: Extract<ToIsolate, { type: "hook" }> = {
  type: "hook",
  id: 7,
  hook: "beforeRequest",
  plugin: "003-header-rewrite",
  traceId: "0af7651916cd43dd8448eb211c80319c",
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  timeoutMs: 100,
  ctx: {
    request: {
      method: "GET",
      path: "/chat-service/rooms/12/messages",
      query: "after=2026-11-23&limit=50",
      headers: REQUEST_FIELDS,
      remoteAddr: "203.0.113.7",
      host: "api.example.com",
      route: "/chat-service/*",
      body: { kind: "none" },
    },
    draft: DRAFT,
  },
};
