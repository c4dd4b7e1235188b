/**
 * The frame codec and the strict decoders, beside JSON alone on the same message.
 *
 * @module
 */

import { encodeFrame, FrameDecoder } from "../../protocol/frame.ts";
import { decodeToIsolate } from "../../protocol/messages.ts";
import { HOOK } from "./inputs.ts";

const frame = encodeFrame(HOOK);
const bytes = frame.slice(4);
const object: object = JSON.parse(JSON.stringify(HOOK));
const batch = new Uint8Array(frame.length * 16);
for (let at = 0; at < 16; at++) batch.set(frame, at * frame.length);
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const frames = new FrameDecoder();

Deno.bench("JSON.stringify and encode", { group: "write", baseline: true }, () => {
  encoder.encode(JSON.stringify(HOOK));
});

Deno.bench("encodeFrame", { group: "write" }, () => {
  encodeFrame(HOOK);
});

Deno.bench("decode and JSON.parse", { group: "read", baseline: true }, () => {
  JSON.parse(decoder.decode(bytes));
});

Deno.bench("FrameDecoder, one frame", { group: "read" }, () => {
  frames.push(frame);
});

Deno.bench("FrameDecoder, one frame in two pieces", { group: "read" }, () => {
  frames.push(frame.subarray(0, 100));
  frames.push(frame.subarray(100));
});

Deno.bench("FrameDecoder and decodeToIsolate", { group: "read" }, () => {
  for (const each of frames.push(frame)) decodeToIsolate(each);
});

Deno.bench("FrameDecoder, 16 frames at once", () => {
  frames.push(batch);
});

Deno.bench("decodeToIsolate alone", () => {
  decodeToIsolate(object);
});
