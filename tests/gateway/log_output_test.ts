import { assert, assertEquals } from "@std/assert";
import { LogOutput } from "../../gateway/log_output.ts";

/** A stream that does as the test tells it, and what came of it. */
function output({ isShared = false } = {}) {
  const written: string[] = [];
  const told: { readonly lines: number; readonly reason: string }[] = [];
  const stream = {
    /** How much of a write is taken; throws to fail it. */
    takes: (bytes: Uint8Array): number | Promise<number> => bytes.length,
    async write(bytes: Uint8Array): Promise<number> {
      const length = await stream.takes(bytes);
      written.push(new TextDecoder().decode(bytes.subarray(0, length)));
      return length;
    },
  };
  const log = new LogOutput({ stream, isShared, onBack: (lost) => told.push(lost) });
  return { log, stream, written, told };
}

function fails(): never {
  throw new Error("No space left on device");
}

Deno.test("log output: lines come out in order, also where little is taken at a time", async () => {
  const { log, stream, written } = output();
  stream.takes = (bytes) => Math.min(3, bytes.length);
  for (const line of ["one\n", "two\n", "three\n"]) log.write(line);
  await log.end();
  assertEquals(written.join(""), "one\ntwo\nthree\n");
  assertEquals(log.lostLines, 0);
});

Deno.test("log output: what cannot be written is counted, and told once when writing works again", async () => {
  const { log, stream, written, told } = output();
  stream.takes = fails;
  log.write("a\nb\n");
  await log.end();
  log.write("c\n");
  await log.end();
  assertEquals([written, told, log.lostLines], [[], [], 3]);
  stream.takes = (bytes) => bytes.length;
  log.write("d\n");
  await log.end();
  log.write("e\n");
  await log.end();
  assertEquals(written, ["d\n", "e\n"]);
  assertEquals(told, [{ lines: 3, reason: "No space left on device" }]);
});

Deno.test("log output: a line that broke off does not run into the next one", async () => {
  const { log, stream, written } = output();
  let calls = 0;
  stream.takes = () => ++calls === 1 ? 6 : fails();
  log.write("one\ntwo\nthree\n");
  await log.end();
  stream.takes = (bytes) => bytes.length;
  log.write("four\n");
  await log.end();
  assertEquals(written.join(""), "one\ntw\nfour\n");
  assertEquals(log.lostLines, 2);
});

Deno.test("log output: a reader that stands still holds up nobody, and what waits for it is bounded", async () => {
  const { log, stream, written, told } = output();
  const reads = Promise.withResolvers<void>();
  stream.takes = async (bytes) => {
    await reads.promise;
    return bytes.length;
  };
  const line = "x".repeat(999) + "\n";
  for (let n = 0; n < 5000; n++) log.write(line);
  assert(log.lostLines > 3500 && log.lostLines < 4100, `${log.lostLines} lines were lost`);
  const startedAt = performance.now();
  await log.end();
  assert(performance.now() - startedAt < 10_000, "the end waited for the reader");
  reads.resolve();
  await log.end();
  assertEquals(written.join("").length, (5000 - log.lostLines) * 1000);
  assertEquals(told, [{ lines: log.lostLines, reason: "nobody reads them fast enough" }]);
});

Deno.test("log output: shared with others, each write is whole lines that a pipe takes at once", async () => {
  const { log, written } = output({ isShared: true });
  const lines = Array.from({ length: 100 }, (_, n) => "x".repeat(n * 7 % 900) + "\n");
  log.write(lines.join("") + "y".repeat(5000) + "\n" + "last\n");
  await log.end();
  assertEquals(written.join(""), lines.join("") + "y".repeat(5000) + "\nlast\n");
  for (const each of written) {
    assert(each.endsWith("\n") && (each.length <= 4096 || /^y+\n$/.test(each)), each.slice(-80));
  }
});
