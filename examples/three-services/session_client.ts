/**
 * A client of the three services: it logs in, and signs its requests as `plugins/001-session-hmac.ts` asks. To be copied into
 * another program: it needs nothing but `fetch` and `crypto`.
 *
 * @module
 */

export interface Session {
  readonly sessionId: string;
  readonly secret: string;
  readonly expiresInSeconds: number;
  /** Good for one time: it gets another session, also when this one has ended. */
  readonly refreshToken: string;
}

/** A request as it goes over the wire. `target` is path and query, in canonical form (docs/edge.md). */
export interface ApiRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
}

export class ApiClient {
  readonly #baseUrl: string;

  /** @param baseUrl of the gateway, without a final slash */
  constructor(baseUrl: string) {
    this.#baseUrl = baseUrl;
  }

  /** @throws {Error} with the answer, where it is a refusal */
  async login(user: string, password: string, { kiosk = false } = {}): Promise<Session> {
    return await this.#post<Session>("/user-service/api/v1/login", { user, password, kiosk });
  }

  async refresh({ refreshToken }: Session): Promise<Session> {
    return await this.#post<Session>("/user-service/api/v1/refresh", { refreshToken });
  }

  /** @returns a token for `asAdmin`; with `script` one that is signed with the shared secret */
  async adminLogin(user: string, password: string, { script = false } = {}): Promise<string> {
    const login = { user, password, script };
    return (await this.#post<{ token: string }>("/admin-service/api/v1/auth/login", login)).token;
  }

  /** Sends a request just as it is. */
  async send({ method, target, headers, body }: ApiRequest): Promise<Response> {
    return await fetch(this.#baseUrl + target, { method, headers, body: body ?? null });
  }

  async #post<T>(target: string, value: object): Promise<T> {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify(value);
    const response = await this.send({ method: "POST", target, headers, body });
    if (response.ok) return await response.json();
    throw new Error(`${target} answered ${response.status}: ${await response.text()}`);
  }
}

/** What is to be signed; `headers` are sent along and not signed. */
export type UnsignedRequest = Omit<ApiRequest, "headers"> & Partial<Pick<ApiRequest, "headers">>;

/**
 * `request` with the fields that a session needs. It can be sent once.
 *
 * @param options.now by this client's clock, in milliseconds since 1970
 */
export async function signed(
  session: Pick<Session, "sessionId" | "secret">,
  { method, target, headers = {}, body }: UnsignedRequest,
  options: { readonly now?: number; readonly nonce?: string } = {},
): Promise<ApiRequest> {
  const { now = Date.now(), nonce = crypto.randomUUID() } = options;
  const timestamp = String(Math.floor(now / 1000));
  const bodySha256 = await sha256Hex(body ?? "");
  const [path = "", query = ""] = target.split(/\?(.*)/s);
  const lines = [method, path, query, timestamp, nonce, bodySha256];
  return {
    method,
    target,
    headers: {
      ...headers,
      "authorization": `Session ${session.sessionId}`,
      "x-timestamp": timestamp,
      "x-nonce": nonce,
      "x-signature": await hmacHex(session.secret, lines.join("\n")),
      // Needed where the body is large. Where that begins is the gateway's business, so it is always there.
      ...(body === undefined ? {} : { "x-content-sha256": bodySha256 }),
    },
    ...(body === undefined ? {} : { body }),
  };
}

/** `request` with an administrator's token. */
export function asAdmin(token: string, method: string, target: string): ApiRequest {
  return { method, target, headers: { authorization: `Bearer ${token}` } };
}

async function hmacHex(secret: string, text: string): Promise<string> {
  const encoder = new TextEncoder();
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), hmac, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(text))).toHex();
}

async function sha256Hex(body: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
