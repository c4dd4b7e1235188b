/**
 * The services behind the gateway of this example, small but real. None of them checks who somebody is: they believe the
 * `X-Gateway-*` fields, which only the gateway can send. They decide what somebody may do with their things.
 *
 * @module
 */

import { exportJWK, generateKeyPair, SignJWT } from "jose";

export interface Service {
  readonly port: number;
  /** Resolves when the running requests are answered and the port is free. */
  shutdown(): Promise<void>;
}

export interface ServiceOptions {
  /** 0 lets the system choose. */
  readonly port: number;
  /** By default only this machine reaches it. */
  readonly hostname?: string;
}

type Handler = (request: Request, url: URL) => Response | Promise<Response>;

const MAX_MESSAGES = 100;
const TICK_MS = 100;
/** How long the session of somebody at a public terminal lasts without a request. */
const KIOSK_TTL_SECONDS = 3;
const TOKEN_TTL = "1h";

const USERS: Readonly<
  Record<string, { readonly name: string; readonly roles: readonly string[] }>
> = {
  alice: { name: "Alice Ääkkönen", roles: ["user"] },
  bob: { name: "Bob", roles: ["user", "beta"] },
  carol: { name: "Carol", roles: ["user"] },
};

/** Logs people in, and tells them who they are. Sessions are made by the gateway's 006-session-issue. */
export function userService(at: ServiceOptions): Service {
  const refreshTokens = new Map<string, string>(); // to user ids; each is good for one time
  const welcome = (id: string, more: object = {}) => {
    const refreshToken = crypto.randomUUID();
    refreshTokens.set(refreshToken, id);
    return Response.json({ user: { id, ...USERS[id] }, refreshToken, ...more });
  };
  return serve("user-service", at, {
    "POST /user-service/api/v1/login": async (request) => {
      const { user, password, kiosk } = await jsonOf(request);
      if (!isKnown(USERS, user) || password !== "wonderland") {
        return refused("wrong name or password");
      }
      return welcome(user, kiosk === true ? { sessionTtlSeconds: KIOSK_TTL_SECONDS } : {});
    },
    "POST /user-service/api/v1/refresh": async (request) => {
      const token = String((await jsonOf(request)).refreshToken);
      const id = refreshTokens.get(token);
      refreshTokens.delete(token);
      return id === undefined ? refused("unknown refresh token") : welcome(id);
    },
    "POST /user-service/api/v1/logout": () => Response.json({ loggedOut: true }),
    "GET /user-service/api/v1/me": (request, url) => {
      const [id, name, roles] = ["id", "name", "roles"].map((it) =>
        gatewayField(request, `user-${it}`)
      );
      return Response.json({ id, name, roles, seen: seen(request, url) });
    },
    "GET /user-service/api/v1/external-api/status": () =>
      Response.json({ users: Object.keys(USERS).length }),
    "GET /user-service/api/v1/external-api/v0/status": () => Response.json({ status: "ok" }),
    "GET /health": () => Response.json({ status: "ok" }),
  });
}

export interface AdminServiceOptions extends ServiceOptions {
  /** What it shares with the gateway, to sign tokens for scripts with. */
  readonly secret: string;
}

/** Gives tokens to administrators, and shows its numbers to whom the gateway says is one. */
export async function adminService({ secret, ...at }: AdminServiceOptions): Promise<Service> {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwks = {
    keys: [{ ...await exportJWK(publicKey), kid: "2026-11", alg: "ES256", use: "sig" }],
  };
  const startedAt = new Date().toISOString();
  const token = (issuer: string, alg: string) =>
    new SignJWT({ roles: ["support"] }).setProtectedHeader({
      alg,
      ...(alg === "ES256" ? { kid: "2026-11" } : {}),
    })
      .setIssuer(issuer).setSubject("root").setAudience("three-services")
      .setIssuedAt().setExpirationTime(TOKEN_TTL);
  return serve("admin-service", at, {
    "POST /admin-service/api/v1/auth/login": async (request) => {
      const { user, password, script } = await jsonOf(request);
      if (user !== "root" || password !== "toor") return refused("wrong name or password");
      return Response.json({
        token: script === true
          ? await token("admin-scripts", "HS256").sign(new TextEncoder().encode(secret))
          : await token("admin-service", "ES256").sign(privateKey),
      });
    },
    "GET /admin-service/api/v1/auth/jwks.json": () => Response.json(jwks),
    "POST /admin-service/api/v1/device/register": () =>
      Response.json({ device: crypto.randomUUID() }, { status: 201 }),
    "GET /admin-service/api/v1/internal/status": () => Response.json({ status: "ok" }),
    "GET /admin-service/api/v1/stats": (request, url) => {
      const [id, issuer, roles] = ["id", "issuer", "roles"].map((it) =>
        gatewayField(request, `admin-${it}`)
      );
      if (!id) return refused("administrators only");
      return Response.json({ admin: { id, issuer, roles }, startedAt, seen: seen(request, url) });
    },
  });
}

/** Keeps a list of messages, and sums of files. The beta is the same service with another `name`. */
export function chatService(
  { name = "chat-service", ...at }: ServiceOptions & { readonly name?: string },
): Service {
  let messages: readonly { readonly from: string | null; readonly text: string }[] = [];
  return serve(name, at, {
    "GET /chat-service/api/v1/messages": (request, url) =>
      Response.json({ service: name, messages, seen: seen(request, url) }),
    "POST /chat-service/api/v1/messages": async (request) => {
      const { text } = await jsonOf(request);
      if (typeof text !== "string") {
        return Response.json({ error: `send {"text": "…"}` }, { status: 400 });
      }
      const message = { from: gatewayField(request, "user-id"), text };
      messages = [...messages, message].slice(-MAX_MESSAGES);
      return Response.json(message, { status: 201 });
    },
    "POST /chat-service/api/v1/uploads": async (request) => {
      // The gateway has checked who signed this digest. It has not seen a body so large, so that is ours to check.
      const bytes = await request.bytes();
      const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
      if (sha256 !== request.headers.get("x-content-sha256")) {
        return Response.json({ error: "this is not what was signed" }, { status: 400 });
      }
      return Response.json({ sizeBytes: bytes.length, sha256 }, { status: 201 });
    },
    "GET /chat-service/api/v1/events": () =>
      new Response(ticks(3), { headers: { "content-type": "text/event-stream" } }),
    "GET /chat-service/api/v1/external-api/rooms": () => Response.json({ rooms: ["lobby"] }),
    "POST /chat-service/api/v1/admin/clear": (request) => {
      const admin = gatewayField(request, "admin-id");
      if (!admin) return refused("administrators only");
      const cleared = messages.length;
      messages = [];
      return Response.json({ admin, cleared });
    },
    "GET /chat-service/api/v1/internal/debug": () =>
      Response.json({ secret: "no client should read this" }),
  });
}

/** Starts one server that answers by `METHOD /path`. @throws {Deno.errors.AddrInUse} */
function serve(
  name: string,
  { port, hostname = "127.0.0.1" }: ServiceOptions,
  handlers: Readonly<Record<string, Handler>>,
): Service {
  const server = Deno.serve({ hostname, port, onListen() {} }, async (request) => {
    const url = new URL(request.url);
    const key = `${request.method} ${url.pathname}`;
    const handler = Object.hasOwn(handlers, key) ? handlers[key] : undefined;
    return handler
      ? await handler(request, url)
      : Response.json({ error: `${name} has no ${key}` }, { status: 404 });
  });
  return { port: server.addr.port, shutdown: () => server.shutdown() };
}

/** What the gateway says, percent-decoded; `null` where it says nothing. */
function gatewayField(request: Request, name: string): string | null {
  const value = request.headers.get(`x-gateway-${name}`);
  return value === null ? null : decodeURIComponent(value);
}

function isKnown(users: object, name: unknown): name is string {
  return typeof name === "string" && Object.hasOwn(users, name);
}

function refused(error: string): Response {
  return Response.json({ error }, { status: 401 });
}

/** What of a request shows that a gateway stands in front. */
function seen(request: Request, url: URL) {
  return {
    method: request.method,
    path: url.pathname,
    query: url.search.slice(1),
    headers: Object.fromEntries(request.headers),
  };
}

/** The body's members; none where it is no JSON object. */
async function jsonOf(request: Request): Promise<Readonly<Record<string, unknown>>> {
  try {
    return Object(await request.json());
  } catch {
    return {};
  }
}

/** Server-sent events, one every `TICK_MS`: to be seen one by one where nothing in between collects them. */
function ticks(count: number): ReadableStream<Uint8Array> {
  let sent = 0;
  let timer: ReturnType<typeof setInterval> | undefined;
  return new ReadableStream({
    start(controller) {
      timer = setInterval(() => {
        controller.enqueue(new TextEncoder().encode(`data: tick ${++sent}\n\n`));
        if (sent < count) return;
        clearInterval(timer);
        controller.close();
      }, TICK_MS);
    },
    cancel: () => clearInterval(timer),
  });
}
