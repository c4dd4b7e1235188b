import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { proposal } from "../../gateway/observe/proposals.ts";
import { startLog } from "../../gateway/log.ts";
import type { HookResult } from "../../protocol/messages.ts";
import type { Patch } from "../../protocol/patch.ts";

const COMMON = { type: "result", id: 1, plugin: "001-a", durationMs: 1 } as const;
const modify = (patch: Patch): HookResult => ({ ...COMMON, action: "modify", patch });

/** The line of the log, without its time and level. */
function shown(result: HookResult): string {
  let text = "";
  const { log, flush } = startLog({
    format: "text",
    level: "debug",
    stacksBelow: true,
    write: (lines) => text += lines,
  });
  log.debug("m", proposal(result));
  flush();
  return text.slice(text.indexOf(" m ") + 3).trimEnd();
}

Deno.test("a proposal shows each change by name, removals as null and additions with a plus", () => {
  assertEquals(
    shown(modify({
      upstream: {
        path: "/other",
        query: null,
        headers: { "x-user": "alice", "x-old": [], "x-back": null, "x-tag": { append: ["a"] } },
      },
      response: { status: 418, headers: { "vary": ["a", "b"] } },
      user: { id: "alice" },
      state: { "auth.checked": true, gone: null },
    })),
    "upstream.path=/other upstream.query=null upstream.headers.x-user=alice " +
      "upstream.headers.x-old=null upstream.headers.x-back=null upstream.headers.x-tag+=a " +
      'response.status=418 response.headers.vary=["a","b"] user={"id":"alice"} ' +
      "state.auth.checked=true state.gone=null",
  );
});

Deno.test("a proposal shows a rejection with its headers, and a forward with its target", () => {
  const { action: _, ...rejected } = modify({});
  assertEquals(
    shown({
      ...rejected,
      action: "reject",
      status: 401,
      message: "missing token",
      headers: { "www-authenticate": "Bearer" },
    }),
    'reject="401 missing token" reject.headers.www-authenticate=Bearer',
  );
  assertEquals(
    shown({ ...COMMON, action: "forward", url: "http://beta.test/x?a=1&access_token=t&b=2" }),
    'forward="http://beta.test/x?a=1&access_token=***&b=2"',
  );
  assertEquals(proposal({ ...COMMON, action: "continue" }), {});
});

Deno.test("a proposal never shows what looks like a secret, wherever it stands", () => {
  const names = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-auth-token",
    "x-api-key",
    "x-client-secret",
    "x-signature",
  ];
  const headers = Object.fromEntries(names.map((name) => [name, "hunter2"]));
  const appended = Object.fromEntries(names.map((name) => [name, { append: ["hunter2"] }]));
  const text = shown(modify({
    upstream: { headers, query: "token=hunter2&api_key=hunter2" },
    response: { headers: appended, body: { encoding: "utf8", data: "hunter2" } },
    user: { id: "u", accessToken: "hunter2", deep: [{ password: "hunter2" }] },
    state: { "session.token": "hunter2", sessionId: "hunter2" },
  }));
  assert(!text.includes("hunter2"), text);
  assert(text.includes("upstream.headers.x-api-key=***") && text.includes('"id":"u"'), text);
});

Deno.test("a proposal shows bodies as their size in bytes, and cuts long values", () => {
  const data = "ä".repeat(3);
  assertEquals(
    shown(modify({ response: { body: { encoding: "utf8", data } } })),
    'response.body="6 bytes"',
  );
  assertEquals(
    shown(modify({ response: { body: { encoding: "base64", data: "AAAA" } } })),
    'response.body="3 bytes"',
  );
  assertEquals(shown(modify({ response: { body: null } })), "response.body=null");
  const long = shown(modify({
    upstream: { path: `/${"x".repeat(1000)}` },
    state: { list: Array.from({ length: 1000 }, () => 1) },
  }));
  assert(long.length < 350 && long.includes("…"), long);
});

Deno.test("proposal law: whatever a plugin proposes is one line of the log", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.constant("a\n2026 ERROR forged\x1b[2J"));
  const headers = fc.dictionary(text, fc.oneof(text, fc.array(text), fc.constant(null)));
  fc.assert(
    fc.property(headers, fc.dictionary(text, fc.jsonValue()), text, (fields, state, url) => {
      const { response, upstream, ...rest } = {
        response: { headers: fields },
        upstream: { path: url },
      };
      assertEquals(rest, {});
      for (
        const result of [
          modify({ upstream, response, state: state as Patch["state"] & object }),
          { ...COMMON, action: "forward", url } as const,
          { ...COMMON, action: "reject", status: 400, message: url, headers: {} } as const,
        ]
      ) assert(!/[\p{Cc}\u2028\u2029]/u.test(shown(result)));
    }),
  );
});
