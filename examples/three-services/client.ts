/**
 * `deno run -A examples/three-services/client.ts [BASE_URL]`: goes through the whole example as a user and as an
 * administrator, and says what it does. Ends with 0 if every step came out as stated, and with 1 at the first that did not.
 *
 * @module
 */

import { ApiClient, type ApiRequest, asAdmin, signed } from "./session_client.ts";

const DEFAULT_BASE_URL = "http://127.0.0.1:8080";
/** Over `bodies.inlineLimitBytes`: the gateway's plugins do not see it. */
const LARGE_BODY_BYTES = 1_000_000;
/** More than any limit of the example allows in two windows of time. */
const MANY_REQUESTS = 70;

if (import.meta.main) {
  try {
    await story(Deno.args[0] ?? DEFAULT_BASE_URL, console.log);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}

/**
 * @param baseUrl of the gateway, without a final slash
 * @throws {Error} that names the step which did not come out as stated
 */
export async function story(baseUrl: string, say: (line: string) => void): Promise<void> {
  const client = new ApiClient(baseUrl);
  /** One step: what is sent, and what must come back. */
  const step = async (title: string, request: ApiRequest, expected: Expected): Promise<Answer> => {
    const response = await client.send(request);
    const answer = { response, text: await response.text() };
    const problem = difference(answer, expected);
    if (problem) throw new Error(`FAILED  ${title}: ${problem}`);
    say(`${expected.status}  ${title}`);
    return answer;
  };

  const status = { method: "GET", target: "/user-service/api/v1/external-api/status", headers: {} };
  await step("a public path needs nothing", status, { status: 200 });
  const me = { method: "GET", target: "/user-service/api/v1/me?full=1" };
  await step("every other path needs a session", { ...me, headers: {} }, {
    status: 401,
    shows: "missing or malformed Authorization",
  });

  const alice = await client.login("alice", "wonderland");
  say(`---  alice has a session for ${alice.expiresInSeconds} s`);
  await step(
    "a signed request is let in, and the service knows whose it is",
    await signed(alice, me),
    {
      status: 200,
      shows: '"id":"alice","name":"Alice Ääkkönen","roles":"user"',
    },
  );
  const forged = { ...me, headers: { "x-gateway-user-id": "root", "X_Gateway_Admin_Id": "root" } };
  const { text } = await step(
    "what a client says of itself does not count",
    await signed(alice, forged),
    {
      status: 200,
      shows: '"id":"alice"',
    },
  );
  if (/root|authorization|x-signature/.test(text)) throw new Error(`FAILED  it shows ${text}`);

  const messages = "/chat-service/api/v1/messages";
  const hello = { method: "POST", target: messages, body: '{"text":"hello"}' };
  const first = await signed(alice, hello);
  await step("alice writes a message", first, {
    status: 201,
    shows: '{"from":"alice","text":"hello"}',
  });
  await step("the same request once more is refused", first, {
    status: 401,
    shows: "X-Nonce was used before",
  });
  const wrong = { status: 401, shows: "unknown session or wrong signature" } as const;
  const another = await signed(alice, { method: "GET", target: messages });
  await step("another path with the signature of this one is refused", {
    ...another,
    target: "/user-service/api/v1/me",
  }, wrong);
  await step("and so is another query", { ...another, target: `${messages}?all=1` }, wrong);
  const { "x-content-sha256": _, ...unsummed } = (await signed(alice, hello)).headers;
  await step("and so is another body", {
    ...hello,
    headers: unsummed,
    body: '{"text":"HELLO"}',
  }, wrong);
  await step(
    "and a session that nobody has",
    await signed({ ...alice, sessionId: "x".repeat(43) }, me),
    wrong,
  );
  await step("a path in another spelling is the same path", {
    ...await signed(alice, { method: "GET", target: messages }),
    target: "/chat-service//api/v1/%6dessages",
  }, { status: 200, shows: "hello" });
  const late = { now: Date.now() - 400_000 };
  await step("a clock that is 400 s slow is refused", await signed(alice, me, late), {
    status: 401,
    shows: "X-Timestamp",
  });

  const events = { method: "GET", target: "/chat-service/api/v1/events" };
  await step("events stream to alice", await signed(alice, events), {
    status: 200,
    shows: "data: tick 3",
  });
  const uploads = "/chat-service/api/v1/uploads";
  const large = new Uint8Array(LARGE_BODY_BYTES).fill(120);
  const upload = await signed(alice, { method: "POST", target: uploads, body: large });
  await step(`a body of ${LARGE_BODY_BYTES} bytes passes, by its digest`, upload, {
    status: 201,
    shows: `"sizeBytes":${LARGE_BODY_BYTES}`,
  });
  const swapped = await signed(alice, { method: "POST", target: uploads, body: large });
  await step("the service refuses one that is not what was signed", {
    ...swapped,
    body: large.with(0, 121) as Uint8Array<ArrayBuffer>,
  }, { status: 400, shows: "this is not what was signed" });

  const bob = await client.login("bob", "wonderland");
  await step(
    "bob takes part in the beta, which has no messages yet",
    await signed(bob, {
      method: "GET",
      target: messages,
    }),
    { status: 200, shows: '"service":"chat-service-beta"' },
  );

  const kiosk = await client.login("alice", "wonderland", { kiosk: true });
  await step("a session for a public terminal works", await signed(kiosk, me), { status: 200 });
  say(`---  it is left alone for ${kiosk.expiresInSeconds} s`);
  await new Promise((resolve) => setTimeout(resolve, kiosk.expiresInSeconds * 1000 + 200));
  await step("and has ended", await signed(kiosk, me), wrong);
  const fresh = await client.refresh(kiosk);
  await step("the refresh token gets another one", await signed(fresh, me), { status: 200 });
  const logout = { method: "POST", target: "/user-service/api/v1/logout" };
  await step("logging out", await signed(fresh, logout), { status: 200 });
  await step("ends it at once", await signed(fresh, me), wrong);

  const register = { method: "POST", target: "/admin-service/api/v1/device/register", headers: {} };
  await step("a device registers itself", register, { status: 201, shows: '"device":' });
  const stats = "/admin-service/api/v1/stats";
  await step("alice is no administrator", await signed(alice, { method: "GET", target: stats }), {
    status: 401,
    shows: "missing bearer token",
  });
  const clear = "/chat-service/api/v1/admin/clear";
  await step("not in the chat either", await signed(alice, { method: "POST", target: clear }), {
    status: 401,
    shows: "missing bearer token",
  });
  const token = await client.adminLogin("root", "toor");
  await step("root is, with a token", asAdmin(token, "GET", stats), {
    status: 200,
    shows: '"admin":{"id":"root","issuer":"admin-service","roles":"support"}',
  });
  await step("which opens the chat's admin paths too", asAdmin(token, "POST", clear), {
    status: 200,
    shows: '"admin":"root"',
  });
  await step("and no user's", asAdmin(token, "GET", me.target), { status: 401 });
  const forScripts = await client.adminLogin("root", "toor", { script: true });
  await step("a token of the other issuer is good as well", asAdmin(forScripts, "GET", stats), {
    status: 200,
    shows: '"issuer":"admin-scripts"',
  });
  await step("a token with another signature is not", asAdmin(broken(token), "GET", stats), {
    status: 401,
    shows: "token is not valid",
  });

  const carol = await client.login("carol", "wonderland");
  for (let number = 1;; number++) {
    const response = await client.send(await signed(carol, me));
    await response.body?.cancel();
    if (response.status === 429 && response.headers.has("retry-after")) {
      say(`429  carol is told to slow down, for ${response.headers.get("retry-after")} s`);
      break;
    }
    if (response.status !== 200 || number === MANY_REQUESTS) {
      throw new Error(`FAILED  carol's request ${number} got ${response.status} and not 429`);
    }
  }
  await step("alice is not slowed down by that", await signed(alice, me), { status: 200 });
}

interface Expected {
  readonly status: number;
  readonly shows?: string;
}

interface Answer {
  readonly response: Response;
  readonly text: string;
}

function difference(
  { response, text }: Answer,
  { status, shows = "" }: Expected,
): string | undefined {
  if (response.status !== status) return `got ${response.status} and not ${status}: ${text}`;
  return text.includes(shows) ? undefined : `"${shows}" is not in ${text}`;
}

/** `token` with one bit of its signature turned. */
function broken(token: string): string {
  const [head, claims, signature = ""] = token.split(".");
  const bytes = Uint8Array.fromBase64(signature, { alphabet: "base64url" });
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  return [head, claims, bytes.toBase64({ alphabet: "base64url", omitPadding: true })].join(".");
}
