/**
 * Where our upstream client and llhttp (in undici) understand a response differently, and why that is right. Each class says
 * what it takes for a difference to belong to it, of the bytes and of both readings: one that no class explains is a mistake,
 * of ours or of this table.
 *
 * `docs/conformance.md` has the same rows.
 *
 * @module
 */

import type { Reading, Speech } from "./llhttp.ts";

export interface Seen {
  readonly speech: Speech;
  readonly ours: Reading;
  readonly theirs: Reading;
  /** Where both gave the same answer with an end of its own: whether each used the connection again. */
  readonly reuse?: { readonly ours: boolean | "stalled"; readonly theirs: boolean | "stalled" };
}

export type Kind =
  | "we refuse"
  | "we accept"
  | "we read otherwise"
  | "we do not reuse"
  | "we reuse";

export interface Difference {
  readonly name: string;
  readonly kind: Kind;
  readonly why: string;
  explains(facts: Facts): boolean;
}

/** What classes look at. */
interface Facts {
  readonly text: string;
  /** The interim heads and the final one. */
  readonly heads: readonly Head[];
  /** What stands behind the last head. */
  readonly rest: string;
  /** Why the side that refused did so. */
  readonly reason: string;
  readonly seen: Seen;
}

interface Head {
  readonly startLine: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** How the readings differ, or `undefined` where they do not. */
export function kindOf({ ours, theirs, reuse }: Seen): Kind | undefined {
  if (ours.kind === "refused") return theirs.kind === "refused" ? undefined : "we refuse";
  if (theirs.kind === "refused") return "we accept";
  if (JSON.stringify(ours) !== JSON.stringify(theirs)) return "we read otherwise";
  if (reuse === undefined || reuse.ours === reuse.theirs) return undefined;
  return reuse.ours === true ? "we reuse" : "we do not reuse";
}

/** The first class that explains a difference; `"same"` where there is none, `undefined` where nothing explains it. */
export function explain(seen: Seen): string | undefined {
  const kind = kindOf(seen);
  if (kind === undefined) return "same";
  const refused = kind === "we refuse" ? seen.ours : seen.theirs;
  const reason = refused.kind === "refused" ? refused.reason : "";
  const facts = { ...parts(seen.speech.text), text: seen.speech.text, reason, seen };
  return DIFFERENCES.find((each) => each.kind === kind && each.explains(facts))?.name;
}

/** Splits at the ends of heads, as both parsers see them; in what is malformed that is a guess. */
function parts(text: string): { readonly heads: readonly Head[]; readonly rest: string } {
  const heads: Head[] = [];
  for (let rest = text;;) {
    const end = rest.indexOf("\r\n\r\n");
    if (end === -1) return { heads: [...heads, head(rest)], rest: "" };
    const next = head(rest.slice(0, end));
    heads.push(next);
    rest = rest.slice(end + 4);
    if (!/^HTTP\/1\.[01] 1\d\d/.test(next.startLine)) return { heads, rest };
  }
}

function head(text: string): Head {
  const [startLine = "", ...lines] = text.split("\r\n");
  const fields = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1)];
  });
  return { startLine, fields };
}

const VALID_START = /^HTTP\/1\.[01] [1-5]\d\d( .*)?$/;

function values({ heads }: Facts, name: string): string[] {
  return heads.flatMap(({ fields }) =>
    fields.filter(([each]) => each === name).map(([, value]) => value)
  );
}

function has(facts: Facts, name: string, value: RegExp): boolean {
  return values(facts, name).some((each) => value.test(each));
}

export const DIFFERENCES: readonly Difference[] = [
  {
    name: "another status line",
    kind: "we refuse",
    why:
      "llhttp knows HTTP/0.9, HTTP/2.0 and RTSP, and any three digits; what is not HTTP/1 with a status from 100 to 599 has no meaning here.",
    explains: ({ reason, heads }) =>
      reason === "sent an invalid status line" &&
      heads.some(({ startLine }) => startLine !== "" && !VALID_START.test(startLine)),
  },
  {
    name: "an empty line before the status line",
    kind: "we refuse",
    why:
      "RFC 9112 §2.2 forgives servers an empty line before a request, not clients one before a response: it is left over from something.",
    explains: ({ reason, text }) =>
      /^sent (an invalid status line|a bare LF)$/.test(reason) && /(^|\r\n\r\n)\r?\n/.test(text),
  },
  {
    name: "a control character in the reason phrase",
    kind: "we refuse",
    why: "RFC 9112 §4 allows none; a NUL ends a string for some readers.",
    explains: ({ reason, heads }) =>
      reason === "sent a control character in its head" &&
      // deno-lint-ignore no-control-regex
      heads.some(({ startLine }) => /^.{12}.*[\0-\x08\x0a-\x1f\x7f]/s.test(startLine)),
  },
  {
    name: "Transfer-Encoding in HTTP/1.0",
    kind: "we refuse",
    why:
      "RFC 9112 §6.1: its framing has to be taken as faulty, since an HTTP/1.0 peer between may have ignored it.",
    explains: ({ reason, heads }) =>
      reason === "sent Transfer-Encoding in an HTTP/1.0 response" &&
      heads.some(({ startLine, fields }) =>
        startLine.startsWith("HTTP/1.0") && fields.some(([name]) => name === "transfer-encoding")
      ),
  },
  {
    name: "Transfer-Encoding more than once",
    kind: "we refuse",
    why:
      "Two fields are a list, whose last member decides for one reader and whose first for another.",
    explains: ({ reason, heads }) =>
      reason === "sent more than one Transfer-Encoding" &&
      heads.some(({ fields }) =>
        fields.filter(([name]) => name === "transfer-encoding").length > 1
      ),
  },
  {
    name: "another transfer coding",
    kind: "we refuse",
    why:
      "llhttp reads what does not end in `chunked` to the end of the connection. Nobody asked for a coding, and a word that is nearly `chunked` is `chunked` to somebody.",
    explains: (facts) =>
      facts.reason.startsWith("sent the unsupported Transfer-Encoding ") &&
      values(facts, "transfer-encoding").some((value) => value.trim().toLowerCase() !== "chunked"),
  },
  {
    name: "a Content-Length over 2^53",
    kind: "we refuse",
    why:
      "Numbers end there in JavaScript; and more than 16 digits are no length but a question of who cuts them off where.",
    explains: (facts) =>
      facts.reason.startsWith("sent the invalid Content-Length ") &&
      has(facts, "content-length", /^[ \t]*\d{16,}[ \t]*$/),
  },
  {
    name: "a chunk size of more than 16 digits",
    kind: "we refuse",
    why: "Leading zeros without end make a number of 64 bits overflow in some readers.",
    explains: ({ reason, text }) =>
      reason === "sent an invalid chunk size" && /\r\n[0-9a-f]{17}/i.test(text),
  },
  {
    name: "a 100 that nobody asked for",
    kind: "we accept",
    why:
      "undici's own rule. RFC 9110 §15.2: a client may ignore an interim response that it did not ask for. It is skipped whole, and has no body.",
    explains: ({ reason, heads }) =>
      reason === "UND_ERR_SOCKET: bad response" &&
      heads.slice(0, -1).some(({ startLine }) => /^HTTP\/1\.[01] 100/.test(startLine)),
  },
  {
    name: "an interim response that ends the connection",
    kind: "we accept",
    why:
      "llhttp takes what follows for an error. The final response is clear all the same, and we do not use that connection again.",
    explains: ({ reason, heads }) =>
      reason.includes("Data after `Connection: close`") &&
      heads.slice(0, -1).some(({ startLine, fields }) =>
        startLine.startsWith("HTTP/1.0") ||
        fields.some(([name, value]) => /connection$/.test(name) && /close/i.test(value))
      ),
  },
  {
    name: "a blank before a chunk extension",
    kind: "we accept",
    why:
      "RFC 9112 §7.1.1 allows it (BWS). Where the line ends, and its size, are the same to both.",
    explains: ({ reason, rest }) =>
      reason.includes("Invalid character in chunk size") && /(^|\r\n)[0-9a-f]+[ \t]+;/i.test(rest),
  },
  {
    name: "a chunk extension out of its grammar",
    kind: "we accept",
    why:
      "Extensions are dropped unread. They may hide no control character, so where their line ends is the same to everybody.",
    explains: ({ reason, rest }) =>
      reason.includes("Invalid character in chunk extensions") &&
      chunkLines(rest).some((line) => line.includes(";") && !EXTENDED.test(line)),
  },
  {
    name: "a Content-Length in the trailer",
    kind: "we accept",
    why:
      "Trailers are dropped unread (RFC 9110 §6.5.1 allows it), and cannot change the framing of what came before them.",
    explains: ({ reason, rest }) =>
      reason.includes("Content-Length can't be present with Transfer-Encoding") &&
      /(^|\r\n)0+(;[^\r\n]*)?\r\n([^\r\n]+\r\n)*content-length:/i.test(rest),
  },
  {
    name: "a Content-Length with a blank behind it",
    kind: "we accept",
    why:
      "llhttp takes it, as RFC 9112 §5 demands; undici then counts the blank as a digit and finds the body too short.",
    explains: (facts) =>
      facts.reason.startsWith("UND_ERR_RES_CONTENT_LENGTH_MISMATCH") &&
      has(facts, "content-length", /^[ \t]*\d+[ \t]+$/),
  },
  {
    name: "a tab behind a field value",
    kind: "we read otherwise",
    why:
      "llhttp drops the blanks before a value and the spaces behind it, but no tab there; RFC 9112 §5 drops both.",
    explains: ({ seen: { ours, theirs } }) =>
      ours.kind === "answer" && theirs.kind === "answer" &&
      JSON.stringify(ours) === JSON.stringify({
          ...theirs,
          headers: theirs.headers.map(([name, value]) => [name, value.replace(/[ \t]+$/, "")]),
        }),
  },
  {
    name: "a tab behind Connection: close",
    kind: "we do not reuse",
    why:
      "A tab around a list member is a blank (RFC 9110 §5.6.1), but not to llhttp, which then misses `close`.",
    explains: (facts) => has(facts, "connection", /close *\t/i),
  },
  {
    name: "a tab behind a framing field",
    kind: "we refuse",
    why:
      "RFC 9112 §5 drops it, but `chunked` with a tab is another coding to llhttp, whose body then has no end.",
    explains: (facts) =>
      facts.reason === "sent a framing field with a tab behind its value" &&
      (has(facts, "content-length", /\t[ \t]*$/) || has(facts, "transfer-encoding", /\t[ \t]*$/)),
  },
  {
    name: "an HTTP/1.0 connection that is kept alive",
    kind: "we do not reuse",
    why:
      "RFC 9112 §9.3 leaves it to the client; a proxy between that does not know the option would hang both.",
    explains: (facts) =>
      facts.heads.at(-1)?.startLine.startsWith("HTTP/1.0") === true &&
      has(facts, "connection", /keep-alive/i),
  },
  {
    name: "an empty line behind a response",
    kind: "we do not reuse",
    why: "llhttp skips it. Bytes that belong to no request make everything after them doubtful.",
    explains: ({ text }) => /(\r|\n)$/.test(text),
  },
  {
    name: "Proxy-Connection: close",
    kind: "we reuse",
    why:
      "No field of HTTP (RFC 9112 §C.2.2); an upstream that closes all the same is noticed like any other that does.",
    explains: (facts) => has(facts, "proxy-connection", /close/i),
  },
  {
    name: "HEAD",
    kind: "we reuse",
    why:
      "undici opens a new connection after each HEAD, in case the server sends a body all the same. We do where the answer declares one, or such bytes are there before the next request.",
    explains: (facts) =>
      facts.seen.speech.method === "HEAD" && !has(facts, "connection", /(^|,)\s*close\s*(,|$)/i),
  },
  {
    name: "Keep-Alive with a short timeout",
    kind: "we reuse",
    why:
      "undici leaves a connection a second before the upstream would. We repeat what a closed connection cannot have carried out.",
    explains: (facts) => has(facts, "keep-alive", /timeout=\s*0*[01](?!\d)/i),
  },
];

/** The lines that could be those of chunks. */
function chunkLines(rest: string): string[] {
  return rest.split("\r\n").filter((line) => /^[0-9a-f]+/i.test(line));
}

/** RFC 9112 §7.1.1, without its blanks. */
const EXTENDED = /^[0-9a-f]+(;[\w!#$%&'*+.^`|~-]+(=([\w!#$%&'*+.^`|~-]+|"([^"\\]|\\.)*"))?)*$/i;
