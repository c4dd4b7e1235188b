import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { assertDepth, MAX_JSON_DEPTH, MessageError } from "../../protocol/decode.ts";
import {
  decodeFromHost,
  decodeFromIsolate,
  decodeHello,
  decodeToHost,
  decodeToIsolate,
  PROTOCOL_VERSION,
} from "../../protocol/messages.ts";
import { decodeFromService, decodeToService } from "../../protocol/service_messages.ts";
import {
  FROM_HOST,
  FROM_ISOLATE,
  FROM_SERVICE,
  TO_HOST,
  TO_ISOLATE,
  TO_SERVICE,
} from "./golden_messages.ts";

type Values = { [key: string]: unknown };

const DIRECTIONS: readonly {
  readonly name: string;
  readonly decode: (value: object) => object;
  readonly examples: { readonly [type: string]: readonly object[] };
}[] = [
  { name: "host to gateway", decode: decodeFromHost, examples: FROM_HOST },
  { name: "isolate to gateway", decode: decodeFromIsolate, examples: FROM_ISOLATE },
  { name: "host service to gateway", decode: decodeFromService, examples: FROM_SERVICE },
  { name: "gateway to host service", decode: decodeToService, examples: TO_SERVICE },
  { name: "gateway to host", decode: decodeToHost, examples: TO_HOST },
  { name: "gateway to isolate", decode: decodeToIsolate, examples: TO_ISOLATE },
];

const EXAMPLES = DIRECTIONS.flatMap(({ name, decode, examples }) =>
  Object.entries(examples).flatMap(([type, list]) =>
    list.map((example) => ({ direction: name, decode, type, example }))
  )
);

/** Members under which any name may stand (maps), or any JSON at all. */
const OPEN = ["headers", "state", "fields", "started", "user", "value", "args", "files", "init"];

/** Every object of fixed shape in `value`, with its path as errors name it. */
function* shapes(value: unknown, path = "message"): Generator<[path: string, at: Values]> {
  if (Array.isArray(value)) {
    for (const [index, each] of value.entries()) yield* shapes(each, `${path}[${index}]`);
  } else if (typeof value === "object" && value !== null) {
    yield [path, value as Values];
    for (const [key, each] of Object.entries(value)) {
      if (!OPEN.includes(key)) yield* shapes(each, `${path}.${key}`);
    }
  }
}

Deno.test("every message decodes to itself in its own direction and is refused in the others", async (t) => {
  for (const { direction, decode, type, example } of EXAMPLES) {
    await t.step(`${direction}: ${type}`, () => {
      const wire = JSON.parse(JSON.stringify(example));
      assertEquals(JSON.stringify(decode(wire)), JSON.stringify(example));
      for (const other of DIRECTIONS) {
        if (Object.hasOwn(other.examples, type)) other.decode(wire);
        else assertThrows(() => other.decode(wire), MessageError, "message.type is not");
      }
    });
  }
});

Deno.test("a connection starts with hello and nothing else", () => {
  for (const { type, example } of EXAMPLES) {
    if (type === "hello") assertEquals(decodeHello(example).protocol, PROTOCOL_VERSION);
    else assertThrows(() => decodeHello(example), MessageError);
  }
});

Deno.test("an unknown key is refused in every object of fixed shape, with its place", () => {
  for (const { decode, example } of EXAMPLES) {
    for (const key of ["surprise", "__proto__", "constructor", "toString"]) {
      const copy = structuredClone(example);
      for (const [path, at] of shapes(copy)) {
        Object.defineProperty(at, key, { value: 1, enumerable: true, configurable: true });
        assertThrows(() => decode(copy), MessageError, `${path} has an unknown key "${key}"`);
        delete at[key];
      }
      decode(copy);
    }
  }
});

/** The members that a message may leave out; all others are required. */
const OPTIONAL = [
  "continue.error",
  "continue.error.stack",
  "continue.logs",
  "continue.logs[0].fields",
  "continue.timedOut",
  "files.lastLive",
  "forward.logs",
  "forward.patch",
  "forward.patch.upstream",
  "forward.patch.upstream.headers",
  "hello.isolate",
  "hook.chain",
  "hook.ctx.draft.response.body",
  "hook.ctx.draft.response.status",
  "hook.ctx.draft.upstream.path",
  "hook.ctx.draft.upstream.query",
  "hook.ctx.draft.user",
  "hook.ctx.request.body.base64",
  "hook.ctx.request.body.sizeBytes",
  "hook.ctx.response",
  "hook.ownsCors",
  "hook.traceparent",
  "isolate_lost.unsent",
  "isolate_lost.unsent[0].patch.user",
  "log.fields",
  "log.plugin",
  "log.traceId",
  "modify.logs",
  "modify.patch.response",
  "modify.patch.response.body",
  "modify.patch.response.headers",
  "modify.patch.response.status",
  "modify.patch.state",
  "modify.patch.upstream",
  "modify.patch.upstream.headers",
  "modify.patch.upstream.path",
  "modify.patch.upstream.query",
  "modify.patch.user",
  "pong.unsent",
  "pong.unsent[0].results[0].patch.user",
  "pool.plugins[0].onHookError",
  "pool.plugins[0].onTimeout",
  "pool.plugins[0].readsHeaders",
  "reject.headers",
  "reject.logs",
  "reject.patch",
  "reject.patch.state",
  "reload_failed.blocked",
  "reload_failed.column",
  "reload_failed.line",
  "reload_failed.others",
  "reload_failed.others[0].column",
  "reload_failed.others[0].line",
  "return.error",
  "return.value",
];

Deno.test("a missing key is refused with its place, unless it is one of the optional ones", () => {
  const accepted = new Set<string>();
  for (const { decode, type, example } of EXAMPLES) {
    const name = "action" in example ? String(example.action) : type;
    const copy = structuredClone(example);
    for (const [path, at] of shapes(copy)) {
      for (const [key, value] of Object.entries(at)) {
        delete at[key];
        try {
          decode(copy);
          accepted.add(`${path.replace("message", name)}.${key}`);
        } catch (error) {
          assert(error instanceof MessageError);
          assert(error.message.startsWith(`${path}.${key} is not `), error.message);
        }
        at[key] = value;
      }
    }
  }
  assertEquals([...accepted].sort(), OPTIONAL);
});

Deno.test("a value of a wrong type is refused with its place", () => {
  for (const { decode, example } of EXAMPLES) {
    const copy = structuredClone(example);
    for (const [path, at] of shapes(copy)) {
      for (const [key, value] of Object.entries(at)) {
        if (["user", "value", "args"].includes(key)) continue;
        for (const wrong of [[[]], Number.NaN, undefined]) {
          at[key] = wrong;
          const error = assertThrows(() => decode(copy), MessageError);
          assert(error.message.startsWith(`${path}.${key}`), error.message);
        }
        at[key] = value;
      }
    }
  }
});

Deno.test("wrong values are named one by one", async (t) => {
  const [hook] = TO_ISOLATE.hook;
  const [result] = FROM_ISOLATE.result;
  const [hello] = FROM_HOST.hello;
  assert(hook && result && hello);
  const withHeaders = (headers: unknown) => ({
    ...hook,
    ctx: { ...hook.ctx, request: { ...hook.ctx.request, headers } },
  });
  const withPatch = (patch: unknown) => ({ ...FROM_ISOLATE.result[1], patch });
  const refused: readonly [decode: (value: object) => object, value: object, message: string][] = [
    [decodeFromHost, { ...hello, pid: -1 }, "message.pid is not a count"],
    [decodeFromHost, { ...hello, pid: 1.5 }, "message.pid is not a count"],
    [decodeFromHost, { ...hello, pid: 2 ** 53 }, "message.pid is not a count"],
    [decodeFromHost, { ...hello, role: "gateway" }, 'message.role is not "host" or "isolate"'],
    [decodeFromHost, { type: "__proto__" }, 'message.type is not "hello" or "pool"'],
    [decodeFromHost, { type: "constructor" }, "message.type is not"],
    [decodeFromHost, {}, "message.type is not"],
    [decodeFromHost, [], "message is not an object"],
    [decodeFromIsolate, { ...result, durationMs: null }, "message.durationMs is not a number"],
    [decodeFromIsolate, { ...result, action: "retry" }, 'message.action is not "continue" or'],
    [decodeToIsolate, withHeaders({ a: 1 }), 'message.ctx.request.headers["a"] is not a string'],
    [decodeToIsolate, withHeaders({ a: ["x", 1] }), 'headers["a"][1] is not a string'],
    [decodeToIsolate, withHeaders({ a: { append: ["x"] } }), 'headers["a"] is not a string'],
    [decodeToIsolate, withHeaders([]), "message.ctx.request.headers is not an object"],
    [
      decodeFromIsolate,
      withPatch({ upstream: { headers: { a: { append: "x" } } } }),
      'message.patch.upstream.headers["a"].append is not a list',
    ],
    [
      decodeFromIsolate,
      withPatch({ upstream: { headers: JSON.parse('{"__proto__": 1}') } }),
      'message.patch.upstream.headers["__proto__"] is not a string',
    ],
    [
      decodeFromIsolate,
      withPatch({ response: { body: { encoding: "hex", data: "" } } }),
      'message.patch.response.body.encoding is not "utf8" or "base64"',
    ],
  ];
  for (const [decode, value, message] of refused) {
    await t.step(message, () => void assertThrows(() => decode(value), MessageError, message));
  }
});

Deno.test("__proto__ and constructor as map keys stay data (attack 26)", () => {
  const text = JSON.stringify(FROM_ISOLATE.result[1]).replace(
    '"state":{',
    '"state":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},',
  );
  assertEquals(JSON.stringify(decodeFromIsolate(JSON.parse(text))), text);
  assertEquals(({} as Values).polluted, undefined);
});

function nested(levels: number): unknown {
  return JSON.parse("[".repeat(levels) + "]".repeat(levels));
}

Deno.test(`plugin data nests at most ${MAX_JSON_DEPTH} levels, wherever it stands`, () => {
  assertDepth(nested(MAX_JSON_DEPTH), "x");
  assertThrows(() => assertDepth(nested(MAX_JSON_DEPTH + 1), "x"), MessageError, "x nests deeper");
  const [, modify] = FROM_ISOLATE.result;
  const places: readonly [decode: (value: object) => object, of: (data: unknown) => object][] = [
    [decodeFromIsolate, (user) => ({ ...modify, patch: { user } })],
    [decodeFromIsolate, (x) => ({ ...modify, patch: { state: { x } } })],
    [decodeFromIsolate, (x) => ({ ...FROM_ISOLATE.log[0], fields: { x } })],
    [decodeFromIsolate, (x) => ({ ...FROM_ISOLATE.call[0], args: [x] })],
    [decodeToIsolate, (value) => ({ type: "return", id: 1, value })],
  ];
  for (const [decode, of] of places) {
    decode(of(nested(MAX_JSON_DEPTH)));
    for (const levels of [MAX_JSON_DEPTH + 1, 10_000]) {
      assertThrows(() => decode(of(nested(levels))), MessageError, "nests deeper than 64 levels");
    }
  }
});

function onlyMessageErrors(value: object): void {
  for (const decode of [...DIRECTIONS.map((each) => each.decode), decodeHello]) {
    try {
      decode(value);
    } catch (error) {
      assert(error instanceof MessageError, `the decoder threw ${error}`);
    }
  }
}

Deno.test("fuzzed JSON gives nothing but MessageError", () => {
  const key = fc.oneof(
    fc.constantFrom("type", "id", "action", "ctx", "patch", "__proto__", "constructor", "toString"),
    fc.string(),
  );
  const types = EXAMPLES.map((each) => each.type);
  const leaf = fc.oneof(fc.constantFrom(...types, "modify", "reject"), fc.jsonValue());
  const object = fc.array(fc.tuple(key, leaf), { maxLength: 8 }).map(Object.fromEntries);
  fc.assert(fc.property(object, (value) => onlyMessageErrors(value)), { numRuns: 5000 });
});

Deno.test("examples with one value replaced give nothing but MessageError", () => {
  const spots = EXAMPLES.flatMap(({ example }) =>
    [...everyKey(example)].map((keys) => ({ example, keys }))
  );
  fc.assert(
    fc.property(fc.constantFrom(...spots), fc.jsonValue(), ({ example, keys }, wrong) => {
      const copy: Values = structuredClone(example) as Values;
      let at = copy;
      for (const key of keys.slice(0, -1)) at = at[key] as Values;
      at[keys.at(-1) ?? ""] = wrong;
      onlyMessageErrors(copy);
    }),
    { numRuns: 5000 },
  );
});

function* everyKey(value: unknown, above: readonly string[] = []): Generator<readonly string[]> {
  if (typeof value !== "object" || value === null) return;
  for (const [key, each] of Object.entries(value)) {
    yield [...above, key];
    yield* everyKey(each, [...above, key]);
  }
}
