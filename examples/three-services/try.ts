/**
 * What to try with the running example: data, so that a test can run every line that is printed.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";

/** What a plugin host of this checkout runs. */
const HOST = fromFileUrl(new URL("../../plugin-host/main.ts", import.meta.url));

/** One call of curl, and what must come of it. */
export interface Try {
  readonly title: string;
  /** Arguments of `curl`. */
  readonly args: readonly string[];
  readonly expectStatus: number;
  /** Texts that stand in the output, and texts that do not; field names in lower case. */
  readonly shows?: readonly string[];
  readonly hides?: readonly string[];
}

/**
 * @param baseUrl of the gateway, without a final slash
 * @param token of an administrator
 */
export function tries(baseUrl: string, token: string): readonly Try[] {
  const asRoot = ["-H", `authorization: Bearer ${token}`];
  const [user, chat, admin] = ["user", "chat", "admin"].map((it) =>
    `${baseUrl}/${it}-service/api/v1`
  );
  return [
    {
      title: "open: a public path of the user service; ratelimit-* tell what is left",
      args: ["-i", `${user}/external-api/status`],
      expectStatus: 200,
      shows: ['"users":3', "ratelimit-limit: 30"],
    },
    {
      title: "refused: 001-session-hmac asks for a session and a signature",
      args: ["-i", `${user}/me`],
      expectStatus: 401,
      shows: ["www-authenticate: Session", "missing or malformed Authorization"],
    },
    {
      title: "open: logging in; the session in the answer was put there by 006-session-issue",
      args: ["-i", "-d", '{"user":"alice","password":"wonderland"}', `${user}/login`],
      expectStatus: 200,
      shows: ['"sessionId"', '"secret"', "cache-control: no-store"],
    },
    {
      title: "not fooled: a client cannot say who it is",
      args: ["-i", "-H", "x-gateway-user-id: alice", `${user}/me`],
      expectStatus: 401,
    },
    {
      title: "refused: 002-admin-jwt asks for a token",
      args: ["-i", `${admin}/stats`],
      expectStatus: 401,
      shows: ['www-authenticate: Bearer realm="three-services"'],
    },
    {
      title: "let in: with an administrator's; the service sees x-gateway-admin-id instead of it",
      args: ["-i", ...asRoot, `${admin}/stats`],
      expectStatus: 200,
      shows: ['"x-gateway-admin-id":"root"'],
      hides: ['"authorization"'],
    },
    {
      title: "let in: the admin paths of the chat take it too",
      args: ["-i", ...asRoot, "-X", "POST", `${chat}/admin/clear`],
      expectStatus: 200,
      shows: ['"admin":"root"'],
    },
    {
      title: "refused: its other paths do not",
      args: ["-i", ...asRoot, `${chat}/messages`],
      expectStatus: 401,
    },
    {
      title: "announced: 005-route-control says when a path will end",
      args: ["-i", `${user}/external-api/v0/status`],
      expectStatus: 200,
      shows: ["sunset: Wed, 30 Jun 2027 00:00:00 GMT"],
    },
    {
      title: "refused: a public path is only what the list says, however it is written",
      args: ["-i", "--path-as-is", `${user}/external-api/../%6de`],
      expectStatus: 401,
    },
    {
      title: "open: a route without plugins, which works without the plugin host too",
      args: ["-i", `${baseUrl}/health`],
      expectStatus: 200,
      shows: ['"status":"ok"'],
    },
  ];
}

/** What to read after `deno task dev` has started. */
export function tryText(
  { baseUrl, token, deno }: {
    readonly baseUrl: string;
    readonly token: string;
    /** How the reader's shell starts Deno. */
    readonly deno: readonly string[];
  },
): string {
  const lines = tries(baseUrl, token).map(({ title, args, expectStatus }) =>
    `# ${expectStatus}  ${title}\ncurl ${args.map(shellWord).join(" ")}\n`
  );
  return `The gateway listens on ${baseUrl}. Try this in another terminal:

${lines.join("\n")}
# what needs signatures: a client that logs in, signs, replays, tampers, and says what comes of it
${deno.map(shellWord).join(" ")} run -A examples/three-services/client.ts ${shellWord(baseUrl)}

Then
- in examples/three-services/plugins/_public_paths.ts add "/user-service/api/v1/me" to the public paths, save, and
  run the second line again
- make a syntax error there and save: the log says where, and all goes on as before
- kill -9 $(pgrep -f ${
    shellWord(HOST)
  }): without its plugin host the gateway answers 503, but for /health, whose
  failPolicy is "open"; a moment later the host is back

Ctrl-C ends all of it.
`;
}

/** `text` as one word for a POSIX shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
