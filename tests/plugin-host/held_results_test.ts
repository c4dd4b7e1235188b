import { assert, assertEquals } from "@std/assert";
import { HeldReader, HeldWriter, newHeldMemory } from "../../plugin-host/held_results.ts";
import { encodeFrame } from "../../protocol/frame.ts";

const result = (plugin: string, message = "") => ({
  type: "result",
  id: 7,
  plugin,
  durationMs: 1,
  action: "reject",
  status: 401,
  message,
});

Deno.test("held results are read in their order, until they are cleared", () => {
  const memory = newHeldMemory();
  const [writer, reader] = [new HeldWriter(memory), new HeldReader(memory)];
  assertEquals(reader.read(), []);
  assert(writer.add(encodeFrame(result("a"))) && writer.add(encodeFrame(result("b"))));
  assertEquals(reader.read().map((each) => each.plugin), ["a", "b"]);
  writer.clear();
  assertEquals([reader.read(), writer.usedBytes], [[], 0]);
});

Deno.test("what there is no room for is not held, and what is held stays whole", () => {
  const memory = newHeldMemory();
  const [writer, reader] = [new HeldWriter(memory), new HeldReader(memory)];
  assert(writer.add(encodeFrame(result("a", "x".repeat(40_000)))));
  assertEquals(writer.add(encodeFrame(result("b", "x".repeat(40_000)))), false);
  assert(writer.add(encodeFrame(result("c"))));
  assertEquals(reader.read().map((each) => each.plugin), ["a", "c"]);
});

Deno.test("memory that is being written gives nothing, and no error", () => {
  const memory = newHeldMemory();
  const writer = new HeldWriter(memory);
  writer.add(encodeFrame(result("a")));
  new Uint8Array(memory).fill(0xff, 10, 30);
  assertEquals(new HeldReader(memory).read(), []);
});
