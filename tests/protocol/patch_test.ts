import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { apply, diff, isEmpty, jsonEqual, type Patch } from "../../protocol/patch.ts";
import {
  type Draft,
  type DraftBody,
  EMPTY_DRAFT,
  type HeaderChange,
  type Json,
} from "../../protocol/snapshot.ts";

/** Few names, so that two drafts often share one; among them those that mean something to the language. */
const name = fc.oneof(
  fc.constantFrom("__proto__", "constructor", "prototype", "", "toString", "a", "b", "0", "10"),
  fc.string({ maxLength: 3 }).filter((each) => !each.endsWith('"')), // tests/support/misread_keys.ts
);

function map<T>(value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> {
  return fc.array(fc.tuple(name, value), { maxLength: 6 }).map((entries) => {
    const record: Record<string, T> = Object.create(null);
    for (const [key, each] of entries) record[key] = each;
    return record;
  });
}

const { json } = fc.letrec<{ json: Json }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<Json>(null, true, false, 0, "", "x"),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.string({ maxLength: 4, unit: "binary" }),
    fc.array(tie("json"), { maxLength: 3 }),
    map(tie("json")),
  ),
}));

const value = json.filter((each) => each !== null);
const text = fc.string({ maxLength: 4 });
const header: fc.Arbitrary<HeaderChange> = fc.oneof(
  text,
  fc.array(text, { maxLength: 3 }),
  fc.array(text, { maxLength: 3 }).map((append) => ({ append })),
);
const body: fc.Arbitrary<DraftBody> = fc.record({
  encoding: fc.constantFrom("utf8", "base64"),
  data: text,
});

/** Drafts in normal form: no `null` stands where it would mean absent. */
const draft: fc.Arbitrary<Draft> = fc.record({
  upstream: fc.record({ path: text, query: text, headers: map(header) }, {
    requiredKeys: ["headers"],
  }),
  response: fc.record({ status: fc.integer({ min: 200, max: 599 }), headers: map(header), body }, {
    requiredKeys: ["headers"],
  }),
  user: value,
  state: map(value),
}, { requiredKeys: ["upstream", "response", "state"] });

/** Two drafts of which the second is often the first with some entries taken from elsewhere. */
const pair: fc.Arbitrary<readonly [Draft, Draft]> = fc.oneof(
  fc.tuple(draft, draft),
  fc.tuple(draft, draft).map(([base, other]): [Draft, Draft] => [base, {
    upstream: { ...base.upstream, headers: merged(base.upstream.headers, other.upstream.headers) },
    response: { ...other.response, headers: base.response.headers },
    ...(base.user === undefined ? {} : { user: base.user }),
    state: merged(base.state, other.state),
  }]),
);

function merged<T>(a: { readonly [key: string]: T }, b: { readonly [key: string]: T }) {
  return Object.assign(Object.create(null), a, b) as Record<string, T>;
}

/** One text for equal JSON values, by own keys in sorted order: equality that owes nothing to `jsonEqual`. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const record = value as Record<string, unknown>;
  const keys = Object.keys(record).filter((key) => record[key] !== undefined).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(record[key])}`).join()}}`;
}

function deepFrozen<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    Object.values(value).forEach(deepFrozen);
    Object.freeze(value);
  }
  return value;
}

/** What arrives at the other end of the socket. */
function sent<T>(value: T): T {
  return JSON.parse(JSON.stringify(value));
}

const runs = { numRuns: 1000 };

Deno.test("patch law 1: apply(base, diff(base, next)) equals next, also when all of it was sent", () => {
  fc.assert(
    fc.property(pair, ([base, next]) => {
      assertEquals(canonical(apply(base, diff(base, next))), canonical(next));
      const patch = sent(diff(sent(base), sent(next)));
      assertEquals(canonical(apply(sent(base), patch)), canonical(next));
    }),
    runs,
  );
});

Deno.test("patch law 2: diff(x, x) is empty, also for a copy of x", () => {
  fc.assert(
    fc.property(draft, (x) => {
      assert(isEmpty(diff(x, x)));
      assert(isEmpty(diff(x, sent(x))));
      assertEquals(canonical(apply(x, {})), canonical(x));
    }),
    runs,
  );
});

Deno.test("patch law 3: diff and apply leave deeply frozen inputs as they were", () => {
  fc.assert(
    fc.property(pair, ([base, next]) => {
      const before = [canonical(base), canonical(next)];
      const patch = deepFrozen(diff(deepFrozen(base), deepFrozen(next)));
      const text = JSON.stringify(patch);
      assertEquals(canonical(apply(base, patch)), canonical(next));
      assertEquals([canonical(base), canonical(next)], before);
      assertEquals(JSON.stringify(patch), text);
    }),
    runs,
  );
});

Deno.test("patch law 4: a null entry deletes, and a null in a draft means absent", () => {
  fc.assert(
    fc.property(draft, map(value), fc.array(name, { maxLength: 3 }), (x, extra, nulls) => {
      const gone = Object.fromEntries(Object.keys(x.state).map((key) => [key, null]));
      // `fromEntries` makes own keys of any name, `__proto__` too.
      assertEquals(Object.keys(apply(x, { state: gone }).state), []);

      const state = merged<Json>(x.state, extra);
      const withNulls = merged<Json>(state, Object.fromEntries(nulls.map((key) => [key, null])));
      const without = Object.fromEntries(
        Object.entries(withNulls).filter(([, each]) => each !== null),
      );
      assert(isEmpty(diff({ ...x, state: withNulls }, { ...x, state: without })));
      assert(isEmpty(diff({ ...x, state: without }, { ...x, state: withNulls })));
      assertEquals(
        canonical(apply(x, diff(x, { ...x, state: withNulls })).state),
        canonical(without),
      );
    }),
    runs,
  );
  assertEquals(diff({ ...EMPTY_DRAFT, user: "u" }, EMPTY_DRAFT), { user: null });
  assertEquals(apply({ ...EMPTY_DRAFT, user: "u" }, { user: null }).user, undefined);
  assert(isEmpty(diff({ ...EMPTY_DRAFT, user: null }, EMPTY_DRAFT)));
});

Deno.test("patch law 4: omitted is unchanged, present overwrites", () => {
  const base: Draft = {
    upstream: { path: "/p", query: "q", headers: { a: "1", b: "2" } },
    response: {
      status: 200,
      headers: { "set-cookie": ["a"] },
      body: { encoding: "utf8", data: "x" },
    },
    user: { id: 1 },
    state: { k: { nested: [1] } },
  };
  const patch: Patch = {
    upstream: { query: null, headers: { b: "3" } },
    response: { status: 503, body: null },
    state: { l: 0 },
  };
  assertEquals(
    canonical(apply(base, patch)),
    canonical({
      upstream: { path: "/p", headers: { a: "1", b: "3" } },
      response: { status: 503, headers: { "set-cookie": ["a"] } },
      user: { id: 1 },
      state: { k: { nested: [1] }, l: 0 },
    }),
  );
  assertEquals(canonical(diff(base, apply(base, patch))), canonical(patch));
});

Deno.test("patch law 5: __proto__, constructor and prototype are inert in every map (attack 26)", () => {
  const hostile: Patch = JSON.parse(`{
    "upstream": {"headers": {"__proto__": "u", "constructor": ["c"], "prototype": {"append": ["p"]}}},
    "response": {"headers": {"__proto__": ["r"]}},
    "state": {"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}
  }`);
  const next = apply(EMPTY_DRAFT, hostile);
  assertEquals(Object.keys(next.upstream.headers), ["__proto__", "constructor", "prototype"]);
  assertEquals(Object.keys(next.response.headers), ["__proto__"]);
  assertEquals(Object.keys(next.state), ["__proto__", "constructor"]);
  const { upstream, state } = diff(EMPTY_DRAFT, next);
  const maps = [next.upstream.headers, next.response.headers, next.state];
  for (const each of [...maps, upstream?.headers, state]) {
    assertEquals(Object.getPrototypeOf(each), null);
    assertEquals((each as Record<string, unknown> | undefined)?.polluted, undefined);
  }
  assertEquals(({} as Record<string, unknown>).polluted, undefined);
  assertEquals(JSON.stringify(diff(EMPTY_DRAFT, next)), JSON.stringify(hostile));
  assertEquals(
    JSON.stringify(diff(next, EMPTY_DRAFT)),
    JSON.stringify({
      upstream: { headers: { ["__proto__"]: null, constructor: null, prototype: null } },
      response: { headers: { ["__proto__"]: null } },
      state: { ["__proto__"]: null, constructor: null },
    }),
  );
});

/** `x` with a hundred times as much in every section that both sides share. */
function grown(x: Draft): Draft {
  const padding = <T>(value: T) =>
    Object.fromEntries(Array.from({ length: 600 }, (_, n) => [`padding-${n}`, value]));
  return {
    upstream: {
      ...x.upstream,
      headers: merged<HeaderChange>(padding("v".repeat(50)), x.upstream.headers),
    },
    response: {
      ...x.response,
      headers: merged<HeaderChange>(padding(["v", "w"]), x.response.headers),
    },
    ...(x.user === undefined ? {} : { user: x.user }),
    state: merged<Json>(padding({ nested: ["v".repeat(50)] }), x.state),
  };
}

Deno.test("patch law 6: what was not changed does not add one byte to a patch", () => {
  fc.assert(
    fc.property(pair, ([base, next]) => {
      assertEquals(
        JSON.stringify(diff(grown(base), grown(next))),
        JSON.stringify(diff(base, next)),
      );
    }),
    { numRuns: 100 },
  );
});

Deno.test("patch law 6: a patch holds exactly the entries that differ", () => {
  fc.assert(
    fc.property(pair, ([base, next]) => {
      const patch = diff(base, next);
      const sections: [from: object, to: object, patch: object | undefined][] = [
        [base.upstream.headers, next.upstream.headers, patch.upstream?.headers],
        [base.response.headers, next.response.headers, patch.response?.headers],
        [base.state, next.state, patch.state],
      ];
      for (const [from, to, section] of sections) {
        const a = new Map(Object.entries(from));
        const b = new Map(Object.entries(to));
        const differing = [...new Set([...a.keys(), ...b.keys()])]
          .filter((key) => canonical(a.get(key)) !== canonical(b.get(key)));
        assertEquals(Object.keys(section ?? {}).sort(), differing.sort());
        assert(section === undefined || differing.length > 0, "an empty section is left out");
      }
    }),
    runs,
  );
});

Deno.test("jsonEqual says what canonical texts say", () => {
  fc.assert(
    fc.property(json, json, (a, b) => {
      assertEquals(jsonEqual(a, b), canonical(a) === canonical(b));
      assert(jsonEqual(a, sent(a)));
    }),
    runs,
  );
  assert(!jsonEqual([], {}));
  assert(!jsonEqual(JSON.parse('{"__proto__": {}}'), { a: {} }));
  assert(!jsonEqual({ a: undefined }, {}));
  assert(jsonEqual(0, -0));
});
