import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { encodeFrame, FrameDecoder, FrameError } from "../../protocol/frame.ts";
import { decodeFromIsolate } from "../../protocol/messages.ts";
import { MessageError } from "../../protocol/decode.ts";
import { mayBeMisread } from "../support/misread_keys.ts";

const HEADER_BYTES = 4;
const utf8 = new TextEncoder();

/** A frame with this payload and the length that it claims to have. */
function rawFrame(payload: Uint8Array | string, length?: number): Uint8Array {
  const bytes = typeof payload === "string" ? utf8.encode(payload) : payload;
  const frame = new Uint8Array(HEADER_BYTES + bytes.length);
  new DataView(frame.buffer).setUint32(0, length ?? bytes.length);
  frame.set(bytes, HEADER_BYTES);
  return frame;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Mulberry32: the same bytes on every run for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

Deno.test("frames survive any segmentation, in order and in content", () => {
  const message = fc.dictionary(
    fc.string({ unit: "binary", maxLength: 5 }),
    fc.jsonValue({ maxDepth: 2 }),
    { maxKeys: 4 },
  ).filter((each) => !mayBeMisread(JSON.stringify(each)));
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 6 }),
      fc.array(fc.nat({ max: 40 }), { maxLength: 30 }),
      (messages, cuts) => {
        const wire = joined(messages.map((each) => encodeFrame(each)));
        const decoder = new FrameDecoder();
        const received: object[] = [];
        let at = 0;
        for (const cut of [...cuts, wire.length]) {
          const chunk = wire.slice(at, at + cut);
          received.push(...decoder.push(chunk));
          chunk.fill(0xff); // the decoder must not have kept it
          at += cut;
        }
        assertEquals(JSON.stringify(received), JSON.stringify(messages));
        assertEquals(decoder.bufferedBytes, 0);
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("a frame is a big-endian length and UTF-8 JSON", () => {
  assertEquals(
    [...encodeFrame({ a: "é\ud800" })],
    [0, 0, 0, 16, ...utf8.encode('{"a":"é\\ud800"}')],
  );
});

/** Feeds `bytes` in random segments; checks that only `FrameError`s come out and memory is bounded. */
function feed(
  bytes: Uint8Array,
  options: { next: (below: number) => number; maxFrameBytes: number },
): { objects: number; errors: number } {
  const { next, maxFrameBytes } = options;
  const count = { objects: 0, errors: 0 };
  let decoder = new FrameDecoder(maxFrameBytes);
  for (let at = 0; at < bytes.length;) {
    const length = 1 + next(300);
    try {
      for (const each of decoder.push(bytes.subarray(at, at + length))) {
        assert(typeof each === "object" && each !== null && !Array.isArray(each));
        count.objects++;
      }
    } catch (error) {
      assert(error instanceof FrameError, `the decoder threw ${error}`);
      count.errors++;
      decoder = new FrameDecoder(maxFrameBytes);
    }
    assert(decoder.bufferedBytes < HEADER_BYTES + maxFrameBytes);
    at += length;
  }
  return count;
}

for (const seed of [1, 2, 3]) {
  Deno.test(`1,000,000 fuzzed bytes give nothing but FrameError (attack 27, seed ${seed})`, () => {
    const next = random(seed);
    const bytes = Uint8Array.from({ length: 1_000_000 }, () => next(256));
    const { errors } = feed(bytes, { next, maxFrameBytes: 1 << 20 });
    assert(errors > 500, `${errors} errors`);
    // Plausible lengths, so that the payload is reached as well.
    for (let at = 0; at < bytes.length; at += 20) bytes.set([0, 0, 0, 1 + next(30)], at);
    assert(feed(bytes, { next, maxFrameBytes: 1024 }).errors > 1000);
  });

  Deno.test(`1,000,000 bytes of mutated frames give nothing but FrameError (attack 27, seed ${seed})`, () => {
    const next = random(seed);
    let [size, objects, errors] = [0, 0, 0];
    while (size < 1_000_000) {
      const bytes = joined(
        Array.from(
          { length: 1 + next(8) },
          () => encodeFrame({ id: next(1000), text: "é✓".repeat(next(30)), list: [[], {}, null] }),
        ),
      );
      if (next(3) > 0) bytes[next(bytes.length)] = next(256);
      if (next(10) === 0) bytes.copyWithin(next(bytes.length), next(bytes.length));
      const count = feed(bytes, { next, maxFrameBytes: 4096 });
      objects += count.objects;
      errors += count.errors;
      size += bytes.length;
    }
    assert(objects > 1000 && errors > 1000, `${objects} objects, ${errors} errors`);
  });
}

const REFUSED: readonly [what: string, bytes: Uint8Array, message: string][] = [
  ["a zero length", rawFrame(""), "a frame has length 0"],
  [
    "a length over the limit",
    rawFrame("{}", 1025),
    "a frame of 1025 bytes is over the limit of 1024",
  ],
  ["a length of 4 GiB - 1", rawFrame("{}", 0xffffffff), "a frame of 4294967295 bytes is over"],
  ["bad UTF-8", rawFrame(new Uint8Array([0x7b, 0xff, 0x7d])), "a frame is not UTF-8 JSON"],
  ["an overlong UTF-8 form", rawFrame(new Uint8Array([0x22, 0xc0, 0xaf, 0x22])), "not UTF-8 JSON"],
  ["a byte order mark", rawFrame("\ufeff{}"), "a frame is not UTF-8 JSON"],
  ["broken JSON", rawFrame('{"a":'), "a frame is not UTF-8 JSON"],
  ["two values in one frame", rawFrame("{}{}"), "a frame is not UTF-8 JSON"],
  ["a list", rawFrame("[]"), "a frame is not a JSON object"],
  ["null", rawFrame("null"), "a frame is not a JSON object"],
  ["a string", rawFrame('"x"'), "a frame is not a JSON object"],
  ["a number", rawFrame("1"), "a frame is not a JSON object"],
];

for (const [what, bytes, message] of REFUSED) {
  Deno.test(`the frame decoder refuses ${what}, and stays broken (attack 27)`, () => {
    const decoder = new FrameDecoder(1024);
    const error = assertThrows(() => decoder.push(bytes), FrameError, message);
    assertEquals(decoder.bufferedBytes, 0);
    assertStrictEquals(assertThrows(() => decoder.push(encodeFrame({})), FrameError), error);
  });
}

Deno.test("a length over the limit is refused before any of its payload is there", () => {
  const decoder = new FrameDecoder(1024);
  assertEquals(decoder.push(new Uint8Array([0, 0, 4])), []);
  assertThrows(() => decoder.push(new Uint8Array([1])), FrameError, "over the limit");
});

Deno.test("a frame of exactly the limit passes both ways, one byte more does not", () => {
  const fits = { a: "x".repeat(100 - '{"a":""}'.length) };
  assertEquals(new FrameDecoder(100).push(encodeFrame(fits, 100)), [fits]);
  assertThrows(
    () => encodeFrame({ a: fits.a + "x" }, 100),
    FrameError,
    "101 bytes is over the limit",
  );
  // The limit counts bytes, not characters.
  assertThrows(() => encodeFrame({ a: "é".repeat(50) }, 100), FrameError, "108 bytes");
});

Deno.test("a truncated frame is held back, never more of it than came", () => {
  const frame = encodeFrame({ a: "x".repeat(1000) });
  const decoder = new FrameDecoder();
  for (let at = 0; at < frame.length - 1; at++) {
    assertEquals(decoder.push(frame.subarray(at, at + 1)), []);
    assertEquals(decoder.bufferedBytes, at + 1);
  }
  assertEquals(decoder.push(frame.subarray(-1)).length, 1);
  assertEquals(decoder.bufferedBytes, 0);
});

Deno.test("a frame that comes byte by byte costs time in proportion to its length", () => {
  const perByteUs = (length: number): number => {
    const frame = encodeFrame({ a: "x".repeat(length) });
    const decoder = new FrameDecoder();
    const startedAt = performance.now();
    for (let at = 0; at < frame.length; at++) decoder.push(frame.subarray(at, at + 1));
    return (performance.now() - startedAt) * 1000 / length;
  };
  perByteUs(16_384);
  const [short, long] = [perByteUs(16_384), perByteUs(16_384 * 32)];
  // Quadratic time would make it 32 times dearer.
  assert(long < short * 8 + 1, `${short} µs a byte in a short frame, ${long} µs in a long one`);
});

Deno.test("10,000 levels of nesting end in a typed error, not in a stack overflow (attack 27)", () => {
  const deep = '{"x":'.repeat(10_000) + "1" + "}".repeat(10_000);
  const [message] = new FrameDecoder().push(rawFrame(deep));
  assert(message);
  assertThrows(() => decodeFromIsolate(message), MessageError);
  const log = `{"type":"log","level":"info","message":"","fields":{"x":${deep}}}`;
  const [nested] = new FrameDecoder().push(rawFrame(log));
  assert(nested);
  assertThrows(() => decodeFromIsolate(nested), MessageError, "nests deeper than 64 levels");
  assertThrows(() => new FrameDecoder().push(rawFrame("[".repeat(1_000_000))), FrameError);
});
