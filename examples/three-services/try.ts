/**
 * What to try with the running example: data, so that a test can run every line that is printed.
 *
 * @module
 */

import type { Tokens } from "./example.ts";

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

/** @param baseUrl of the gateway, without a final slash */
export function tries(baseUrl: string, { alice, root }: Tokens): readonly Try[] {
  const as = (token: string) => ["-H", `authorization: Bearer ${token}`];
  return [
    {
      title: "refused: 001-auth asks for a bearer token",
      args: ["-i", `${baseUrl}/user-service/me`],
      expectStatus: 401,
      shows: ["www-authenticate: Bearer", "missing bearer token"],
    },
    {
      title: "allowed: logging in is public; both cookies arrive",
      args: [
        "-i",
        ...["-d", '{"user":"alice","password":"wonderland"}'],
        `${baseUrl}/user-service/login`,
      ],
      expectStatus: 200,
      shows: [alice, "set-cookie: user=alice", "set-cookie: theme=dark"],
    },
    {
      title:
        "rewritten: the service sees x-gateway-user and x-edge instead of the token; the client sees no server",
      args: ["-i", ...as(alice), `${baseUrl}/user-service/me?full=1`],
      expectStatus: 200,
      shows: ['"x-gateway-user":"alice"', '"x-edge":"three-services"', "x-served-by: conduit"],
      hides: ["server: user-service", "x-powered-by", '"authorization"', '"user-agent"'],
    },
    {
      title: "not fooled: a client cannot say who it is",
      args: ["-i", ...as(alice), "-H", "x-gateway-user: root", `${baseUrl}/user-service/me`],
      expectStatus: 200,
      shows: ['"user":"alice"'],
    },
    {
      title: "refused: alice has no role that opens the admin service",
      args: ["-i", ...as(alice), `${baseUrl}/admin-service/stats`],
      expectStatus: 403,
      shows: ['error="insufficient_scope"'],
    },
    {
      title: "allowed: root has one",
      args: ["-i", ...as(root), `${baseUrl}/admin-service/stats`],
      expectStatus: 200,
      shows: ['"x-gateway-user":"root"'],
    },
    {
      title: "allowed: a POST",
      args: ["-i", ...as(alice), "-d", '{"text":"hello"}', `${baseUrl}/chat-service/messages`],
      expectStatus: 201,
      shows: ['{"from":"alice","text":"hello"}'],
    },
    {
      title: "streamed: one event after the other",
      args: ["-i", "-N", ...as(alice), `${baseUrl}/chat-service/events`],
      expectStatus: 200,
      shows: ["data: tick 1", "data: tick 3"],
    },
    {
      title: "forwarded: 004-route-control sends /beta/* to the beta service",
      args: ["-i", ...as(alice), `${baseUrl}/beta/chat-service/messages?limit=1`],
      expectStatus: 200,
      shows: ['"service":"chat-service-beta"', '"query":"limit=1"'],
    },
    {
      title: "blocked: nobody gets to this path, however it is written",
      args: [
        ...["-i", "--path-as-is", ...as(root)],
        `${baseUrl}/chat-service/./x/../%69nternal/debug`,
      ],
      expectStatus: 404,
      hides: ["secret"],
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
export function tryText(baseUrl: string, tokens: Tokens): string {
  const lines = tries(baseUrl, tokens).map(({ title, args, expectStatus }) =>
    `# ${expectStatus}  ${title}\ncurl ${args.map(shellWord).join(" ")}\n`
  );
  return `The gateway listens on ${baseUrl}. Try this in another terminal:

${lines.join("\n")}
Then
- in plugins/003-header-rewrite.ts change "conduit" to your name, save, and run the third line again
- in plugins/003-header-rewrite.ts make a syntax error and save: the log says where, and all goes on as before
- kill -9 $(pgrep -f plugin-host/main.ts): without its plugin host the gateway answers 503, but for /health, whose
  failPolicy is "open"; a moment later the host is back

Ctrl-C ends all of it.
`;
}

/** `text` as one word for a POSIX shell. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
