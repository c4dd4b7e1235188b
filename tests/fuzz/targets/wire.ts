/**
 * The plugin socket: frames, messages, patches and calls, as a peer may send them that is broken or hostile.
 *
 * @module
 */

import { decodeCacheCall } from "../../../protocol/cache_call.ts";
import { assertDepth, MessageError } from "../../../protocol/decode.ts";
import { encodeFrame, FrameDecoder, FrameError } from "../../../protocol/frame.ts";
import { overlay } from "../../../protocol/headers.ts";
import {
  decodeFromHost,
  decodeFromIsolate,
  decodeHello,
  decodeToHost,
  decodeToIsolate,
} from "../../../protocol/messages.ts";
import { isToken, permittedPatch } from "../../../protocol/mutation_rules.ts";
import { apply, diff, jsonEqual } from "../../../protocol/patch.ts";
import type { Draft, Json } from "../../../protocol/snapshot.ts";
import { FROM_HOST, FROM_ISOLATE, TO_HOST, TO_ISOLATE } from "../../protocol/golden_messages.ts";
import { template } from "../fuzzer.ts";
import { type FuzzTarget, law, pieces, utf8 } from "../target.ts";

/** Small, so that mutations come near it. */
const MAX_FRAME_BYTES = 96;
const GOLDEN = [FROM_HOST, FROM_ISOLATE, TO_HOST, TO_ISOLATE].flatMap((direction) =>
  Object.values<readonly object[]>(direction).flat()
);

interface Decoded {
  readonly objects: readonly object[];
  readonly heldBytes: number;
  readonly error?: FrameError;
}

function decodeFrames(chunks: readonly Uint8Array[]): Decoded {
  const decoder = new FrameDecoder(MAX_FRAME_BYTES);
  const objects: object[] = [];
  try {
    for (const chunk of chunks) {
      objects.push(...decoder.push(chunk));
      law(decoder.bufferedBytes < MAX_FRAME_BYTES + 4, "more than a frame is held");
    }
  } catch (error) {
    if (error instanceof FrameError) return { objects, heldBytes: decoder.bufferedBytes, error };
    throw error;
  }
  return { objects, heldBytes: decoder.bufferedBytes };
}

/** The frames of `input`, read in the simplest way there is; `undefined` where one of them is wrong. */
function simpleFrames(input: Uint8Array): string[] | undefined {
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  const frames: string[] = [];
  for (let at = 0; at + 4 <= input.length;) {
    const length = view.getUint32(at);
    if (length === 0 || length > MAX_FRAME_BYTES) return undefined;
    if (at + 4 + length > input.length) break;
    try {
      const value = JSON.parse(utf8(input.subarray(at + 4, at + 4 + length)));
      if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
      frames.push(JSON.stringify(value));
    } catch {
      return undefined;
    }
    at += 4 + length;
  }
  return frames;
}

const frame: FuzzTarget = {
  name: "frame",
  dictionary: [
    "\0\0\0\x02{}",
    "\0\0\0\x00",
    "\0\0\0\x60",
    "\0\0\0\x61",
    "\xff\xff\xff\xff",
    '{"a":',
    "[",
    "\ufeff",
  ],
  errors: [FrameError],
  run(input) {
    const whole = decodeFrames([input]);
    const split = decodeFrames(pieces(input));
    law(
      (whole.error === undefined) === (split.error === undefined),
      "pieces decide about an error",
    );
    const simple = simpleFrames(input);
    law((whole.error === undefined) === (simple !== undefined), "a reference decides otherwise");
    if (whole.error) throw whole.error;
    law(
      JSON.stringify(simple) === JSON.stringify(whole.objects.map((each) => JSON.stringify(each))),
      "a reference reads other objects",
    );
    law(JSON.stringify(whole) === JSON.stringify(split), "pieces decide about the objects");
    for (const object of whole.objects) {
      const [again] = new FrameDecoder().push(encodeFrame(object));
      law(JSON.stringify(again) === JSON.stringify(object), "encoding changes an object");
    }
    return `${Math.min(whole.objects.length, 8)} frames, ${whole.heldBytes > 0 ? "more" : "all"}`;
  },
};

const DECODERS = {
  fromHost: decodeFromHost,
  fromIsolate: decodeFromIsolate,
  toHost: decodeToHost,
  toIsolate: decodeToIsolate,
  hello: decodeHello,
};

function jsonObject(input: Uint8Array): object {
  const value: unknown = JSON.parse(utf8(input));
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new SyntaxError("not an object");
  }
  return value;
}

const messages: FuzzTarget = {
  name: "messages",
  isJson: true,
  dictionary: [
    "hello",
    "hook",
    "result",
    "call",
    "return",
    "log",
    "pong",
    "pool",
    "isolate_lost",
    "modify",
    "reject",
    "forward",
    "*",
    "headers",
    "append",
    "patch",
    "chain",
    "draft",
  ],
  errors: [SyntaxError],
  seeds: () => GOLDEN.map((message) => JSON.stringify(message)),
  run(input) {
    const value = jsonObject(input);
    const before = JSON.stringify(value);
    const answers: string[] = [];
    const taken: string[] = [];
    for (const [name, decode] of Object.entries(DECODERS)) {
      try {
        const message = decode(value);
        law(JSON.stringify(message) === before, `${name} changes what it decodes`);
        law(decode(JSON.parse(before)) !== undefined, `${name} takes a message but once`);
        assertDepth(message, "message");
        taken.push(name);
      } catch (error) {
        if (!(error instanceof MessageError)) throw error;
        answers.push(template(error.message));
      }
    }
    law(JSON.stringify(value) === before, "decoding changes a value");
    const directions = new Set(taken.map((name) => name.startsWith("to")));
    law(directions.size < 2, `a message goes both ways: ${taken.join()}`);
    return `${taken.join()} ${Object.keys(value).sort().join().slice(0, 80)} ${
      answers.join(" | ")
    }`;
  },
};

/** `draft` and `patch` as each end of the socket lets them in. */
function decodedPatch(input: Uint8Array) {
  const { draft, patch } = jsonObject(input) as { readonly draft?: Json; readonly patch?: Json };
  const [hook] = TO_ISOLATE.hook;
  const frame = { ...hook, ctx: { ...hook?.ctx, draft } };
  const message = decodeToIsolate(JSON.parse(JSON.stringify(frame)));
  const result = decodeFromIsolate(
    JSON.parse(
      JSON.stringify({
        type: "result",
        id: 1,
        plugin: "a",
        durationMs: 1,
        action: "modify",
        patch,
      }),
    ),
  );
  if (message.type !== "hook" || result.type !== "result" || result.action !== "modify") {
    throw new SyntaxError("no hook or no patch");
  }
  return { draft: message.ctx.draft, patch: result.patch };
}

const EMPTY = `{"upstream":{"headers":{}},"response":{"headers":{}},"state":{}}`;
const patch: FuzzTarget = {
  name: "patch",
  isJson: true,
  dictionary: [
    "upstream",
    "response",
    "headers",
    "append",
    "state",
    "user",
    "status",
    "body",
    "path",
    "query",
    "content-length",
    "Connection",
    "x_request_id",
    "set-cookie",
    "/a/../b",
    "%2e%2e",
    "a\r\nb",
    "utf8",
    "base64",
  ],
  errors: [SyntaxError, MessageError],
  seeds: () =>
    FROM_ISOLATE.result.flatMap((each) =>
      "patch" in each ? [`{"draft":${EMPTY},"patch":${JSON.stringify(each.patch)}}`] : []
    ),
  run(input) {
    const { draft, patch } = decodedPatch(input);
    const before = JSON.stringify([draft, patch]);
    const judge = { ownsCors: true, denials: [] };
    const allowed = permittedPatch(patch, judge);
    const next = apply(draft, allowed);
    law(JSON.stringify([draft, patch]) === before, "apply changes its inputs");
    law(jsonEqual(apply(next, allowed), next), "applying a patch again changes something");
    law(
      jsonEqual(sparse(apply(draft, diff(draft, next))), sparse(next)),
      "apply and diff disagree",
    );
    const again = { ownsCors: true, denials: [] };
    law(jsonEqual(permittedPatch(allowed, again), allowed), "judging again changes something");
    law(again.denials.length === 0, "what was allowed is denied");
    for (const headers of [allowed.upstream?.headers, allowed.response?.headers]) {
      for (const [name, change] of Object.entries(headers ?? {})) {
        law(isToken(name), `the name ${JSON.stringify(name)} is let through`);
        for (const value of valuesOf(change)) law(isPlain(value), `a value is let through`);
      }
    }
    const status = allowed.response?.status ?? 200;
    law(Number.isInteger(status) && status >= 200 && status <= 599, `status ${status}`);
    overlay({ "x-a": "1", "set-cookie": ["a", "b"] }, next.upstream.headers);
    const denied = judge.denials.map(({ reason }: { readonly reason: string }) => template(reason));
    return `${Object.keys(allowed).join()} ${[...new Set(denied)].sort().join()}`;
  },
};

/** Not by the rule of the product. */
function isPlain(value: string): boolean {
  const codes = Array.from(value, (char) => char.charCodeAt(0));
  return codes.every((code) => code === 9 || (code >= 32 && code !== 127 && code <= 255)) &&
    !/^[ \t]|[ \t]$/.test(value);
}

function valuesOf(change: unknown): string[] {
  if (typeof change === "string") return [change];
  if (Array.isArray(change)) return change;
  return change === null ? [] : (change as { readonly append: string[] }).append;
}

/** Without members that are `null`: in a draft they mean the same as none. */
function sparse({ user, state, ...rest }: Draft): unknown {
  const kept = Object.entries(state).filter(([, value]) => value !== null);
  return { ...rest, user: user ?? null, state: Object.fromEntries(kept) };
}

/** What the language itself says where the code slipped. */
const SLIP = /undefined|is not a function|Cannot |not iterable|Invalid|call stack/;

const cacheCall: FuzzTarget = {
  name: "cache_call",
  isJson: true,
  dictionary: ["get", "set", "delete", "increment", "expire", "ttlSeconds", "onlyIfAbsent", "key"],
  errors: [SyntaxError],
  run(input) {
    const value: unknown = JSON.parse(utf8(input));
    if (!Array.isArray(value)) throw new SyntaxError("not a list");
    const [method, ...args] = value;
    try {
      const call = decodeCacheCall(String(method), args);
      law(call.key !== "" && call.key.length <= 1024 && call.key.isWellFormed(), "a bad key");
      const ttlMs = "ttlMs" in call ? call.ttlMs : undefined;
      law(ttlMs === undefined || (Number.isSafeInteger(ttlMs) && ttlMs >= 1), "a bad time to live");
      if (call.method === "set") JSON.parse(call.json);
      return `${call.method} ${ttlMs === undefined ? "" : "for a time"}`;
    } catch (error) {
      const isTyped = error instanceof TypeError || error instanceof RangeError;
      if (!isTyped || SLIP.test(error.message.replaceAll(/"(?:[^"\\]|\\.)*"/g, ""))) throw error;
      return template(error.message);
    }
  },
};

export const WIRE_TARGETS: readonly FuzzTarget[] = [frame, messages, patch, cacheCall];
