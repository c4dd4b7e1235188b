import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type Denial,
  deniedHeader,
  deniedStatus,
  isFieldValue,
  isToken,
  permittedHeaders,
} from "../../protocol/mutation_rules.ts";
import type { HeaderOverrides } from "../../protocol/snapshot.ts";

Deno.test("CR, LF, NUL and every other control character make a field value illegal (attack 15)", () => {
  const control = [...Array.from({ length: 32 }, (_, code) => code).filter((c) => c !== 9), 127];
  fc.assert(
    fc.property(fc.string(), fc.constantFrom(...control), fc.string(), (before, code, after) => {
      assert(!isFieldValue(before + String.fromCharCode(code) + after));
    }),
  );
});

Deno.test("field values are visible bytes with spaces and tabs between them", () => {
  for (const legal of ["", "a", "a b\tc", "é", "\x80\xff", '"quoted, list"']) {
    assert(isFieldValue(legal), JSON.stringify(legal));
  }
  for (const illegal of [" a", "a ", "\ta", "a\t", " ", "a\n", "€", "\u2028", "\ud800", "\u0100"]) {
    assert(!isFieldValue(illegal), JSON.stringify(illegal));
  }
});

Deno.test("field names are tokens", () => {
  for (const legal of ["a", "X-Y", "__proto__", "!#$%&'*+-.^_`|~09"]) assert(isToken(legal));
  for (
    const illegal of ["", " a", "a ", "a:", "a\n", "a\r\nb", "é", "a\0", "(a)", 'a"', "\u212a"]
  ) {
    assert(!isToken(illegal), JSON.stringify(illegal));
  }
});

Deno.test("a long hostile value is judged in linear time", () => {
  const startedAt = performance.now();
  isFieldValue(" ".repeat(5_000_000) + "\n");
  isToken("a".repeat(5_000_000) + "\n");
  assert(performance.now() - startedAt < 2000);
});

const BOTH = ["Connection", "keep-alive", "TE", "trailer", "Transfer-Encoding", "upgrade"]
  .concat("proxy-authorization", "Proxy-X", "content-length", "X-Forwarded-For", "forwarded")
  .concat("x_forwarded_for", "x.forwarded.host", "content_length", "transfer_encoding");

Deno.test("a plugin may not set framing, hop-by-hop, host and forwarding fields (attack 16)", () => {
  for (const name of BOTH) {
    for (const side of ["upstream", "response"] as const) {
      assert(deniedHeader(name, side)?.startsWith(`"${name}" `), name);
    }
  }
  assertEquals(deniedHeader("Host", "upstream"), '"Host" follows from the upstream');
  assertEquals(deniedHeader("host", "response"), null);
  for (
    const name of ["x-user", "set-cookie", "content-type", "authorization", "x-forward", "tee"]
  ) {
    assertEquals(deniedHeader(name, "upstream"), null);
  }
});

Deno.test("a plugin may not set what the gateway makes of a request's identity, on the side where it does", () => {
  for (const name of ["X-Request-Id", "x-real-ip", "Traceparent", "tracestate", "x_real.ip"]) {
    assertEquals(deniedHeader(name, "upstream"), `"${name}" is set by the gateway`);
  }
  assertEquals(deniedHeader("x-request-id", "response"), '"x-request-id" is set by the gateway');
  for (const name of ["x-real-ip", "traceparent"]) {
    assertEquals(deniedHeader(name, "response"), null);
  }
});

Deno.test("a plugin may set CORS response fields only where the gateway leaves CORS to others", () => {
  const name = "Access-Control-Allow-Origin";
  assertEquals(deniedHeader(name, "response"), null);
  assertEquals(
    deniedHeader(name, "response", { ownsCors: true }),
    `"${name}" follows from the configuration's "cors"`,
  );
  assertEquals(deniedHeader(name, "upstream", { ownsCors: true }), null);
});

Deno.test("a plugin may answer with 200 to 599 and nothing else", () => {
  for (const legal of [200, 404, 599]) assertEquals(deniedStatus(legal), null);
  for (const illegal of [0, 100, 101, 199, 600, 200.5, -200, NaN, Infinity]) {
    assertEquals(deniedStatus(illegal), `status ${illegal} is not an integer from 200 to 599`);
  }
});

Deno.test("an upstream field whose new value is not legal goes without it and without the client's; a response keeps its own", () => {
  const judged = (side: "upstream" | "response", headers: HeaderOverrides) => {
    const denials: Denial[] = [];
    const kept = permittedHeaders(headers, side, { ownsCors: true, denials });
    return [JSON.parse(JSON.stringify(kept)), denials.length];
  };
  const proposed: HeaderOverrides = {
    "x-user": "日本",
    "x-roles": ["admin", "a\nb"],
    "x-added": { append: ["€"] },
    "x-fine": "1",
    "content-length": "€",
    "Not-Lower": "€",
  };
  assertEquals(judged("upstream", proposed), [
    { "x-user": [], "x-roles": ["admin"], "x-fine": "1" },
    5,
  ]);
  assertEquals(judged("response", proposed), [{ "x-fine": "1" }, 5]);
});
