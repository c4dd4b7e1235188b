/**
 * The services behind the gateway of this example, small but real. None of them knows who may do what: they believe the
 * `x-gateway-user` that the gateway sends. Each answer says in `seen` what arrived.
 *
 * @module
 */

export interface Service {
  readonly port: number;
  /** Resolves when the running requests are answered and the port is free. */
  shutdown(): Promise<void>;
}

export interface ServiceOptions {
  /** On 127.0.0.1; 0 lets the system choose. */
  readonly port: number;
}

type Handler = (request: Request, url: URL) => Response | Promise<Response>;

const MAX_MESSAGES = 100;
const TICK_MS = 100;

/** Logs people in, and tells them who they are. `tokens` are what the gateway accepts, by user name. */
export function userService(
  { port, tokens }: ServiceOptions & { readonly tokens: Readonly<Record<string, string>> },
): Service {
  return serve("user-service", port, {
    "POST /user-service/login": async (request) => {
      const { user, password } = await jsonOf(request);
      if (typeof user !== "string" || !Object.hasOwn(tokens, user) || password !== "wonderland") {
        return Response.json({ error: "unknown user or wrong password" }, { status: 401 });
      }
      // Two fields of the same name, which must not become one on their way (RFC 6265 §3).
      const cookies: [string, string][] = [["set-cookie", `user=${user}`], [
        "set-cookie",
        "theme=dark",
      ]];
      return Response.json({ token: tokens[user] }, { headers: cookies });
    },
    "GET /user-service/me": (request, url) =>
      Response.json({ user: request.headers.get("x-gateway-user"), seen: seen(request, url) }),
    "GET /user-service/export": () => Response.json({ secret: "no client should ever read this" }),
    "GET /health": () => Response.json({ status: "ok" }),
  });
}

/** Shows what is for administrators only; the gateway sees to that. */
export function adminService({ port }: ServiceOptions): Service {
  const startedAt = new Date().toISOString();
  return serve("admin-service", port, {
    "GET /admin-service/stats": (request, url) =>
      Response.json({ startedAt, memory: Deno.memoryUsage(), seen: seen(request, url) }),
  });
}

/** Keeps a list of messages. The beta is the same service with another `name`. */
export function chatService(
  { port, name = "chat-service" }: ServiceOptions & { readonly name?: string },
): Service {
  const messages: { readonly from: string | null; readonly text: string }[] = [];
  return serve(name, port, {
    "GET /chat-service/messages": (request, url) =>
      Response.json({ service: name, messages, seen: seen(request, url) }),
    "POST /chat-service/messages": async (request) => {
      const { text } = await jsonOf(request);
      if (typeof text !== "string") {
        return Response.json({ error: `send {"text": "…"}` }, { status: 400 });
      }
      const message = { from: request.headers.get("x-gateway-user"), text };
      messages.push(message);
      if (messages.length > MAX_MESSAGES) messages.shift();
      return Response.json(message, { status: 201 });
    },
    "GET /chat-service/events": () =>
      new Response(ticks(3), { headers: { "content-type": "text/event-stream" } }),
    "GET /chat-service/internal/debug": () =>
      Response.json({ secret: "no client should read this" }),
  });
}

/** Starts one server that answers by `METHOD /path`. @throws {Deno.errors.AddrInUse} */
function serve(name: string, port: number, handlers: Readonly<Record<string, Handler>>): Service {
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, async (request) => {
    const url = new URL(request.url);
    const key = `${request.method} ${url.pathname}`;
    const handler = Object.hasOwn(handlers, key) ? handlers[key] : undefined;
    const response = handler
      ? await handler(request, url)
      : Response.json({ error: `${name} has no ${key}` }, { status: 404 });
    // What such servers tell about themselves; 003-header-rewrite keeps it from clients.
    response.headers.set("server", `${name}/1.0`);
    response.headers.set("x-powered-by", "Deno");
    return response;
  });
  return { port: server.addr.port, shutdown: () => server.shutdown() };
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
