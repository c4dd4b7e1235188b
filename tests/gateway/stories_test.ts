import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import type { HookStep } from "../../gateway/exchange.ts";
import { type KeptStory, Stories } from "../../gateway/observe/stories.ts";
import type { Patch } from "../../protocol/patch.ts";
import { ROOT } from "../support/gateway.ts";

/** A request with one hook that proposed `patch`. */
function story(traceId: string, patch: Patch = {}): KeptStory {
  const result = { type: "result", id: 1, plugin: "001-a", durationMs: 1 } as const;
  const step: HookStep = {
    plugin: "001-a",
    hook: "beforeRequest",
    action: "modify",
    durationMs: 1,
    result: { ...result, action: "modify", patch },
  };
  return {
    traceId,
    endedAt: 0,
    method: "GET",
    path: "/",
    route: "/*",
    clientAddr: "127.0.0.1",
    user: undefined,
    status: 200,
    durationMs: 1,
    sentBytes: 0,
    steps: [step],
    trip: undefined,
    rejectedBy: undefined,
    error: undefined,
    failure: undefined,
    upstreamFailure: undefined,
  };
}

const ids = (stories: readonly KeptStory[]): string[] => stories.map(({ traceId }) => traceId);

Deno.test("stories: the last ones are kept, the latest first, and the oldest go", () => {
  const stories = new Stories({ maxStories: 3 });
  assertEquals(stories.recent(10), []);
  for (const id of ["a", "b", "c", "d"]) stories.keep(story(id), 1);
  assertEquals(ids(stories.recent(10)), ["d", "c", "b"]);
  assertEquals(ids(stories.recent(2)), ["d", "c"]);
  assertEquals([stories.find("a"), ids(stories.find("c"))], [[], ["c"]]);
  stories.keep(story("c"), 1);
  assertEquals(ids(stories.find("c")), ["c", "c"], "a client may choose an id again");
  assertEquals(stories.count, 3);
});

Deno.test("stories: long URLs and large answers make room for themselves, and never more than there is", () => {
  const maxBytes = 100_000;
  const stories = new Stories({ maxStories: 1000, maxBytes });
  for (let at = 0; at < 1000; at++) {
    stories.keep(story(`small-${at}`), 10);
    assert(stories.sizeBytes <= maxBytes);
  }
  const small = stories.count;
  assert(small > 30 && small < 200, `${small}`);
  stories.keep(story("long"), 20_000);
  assert(stories.count < small && stories.sizeBytes <= maxBytes);
  assertEquals(ids(stories.recent(1)), ["long"]);
  stories.keep(story("too long"), 60_000);
  assertEquals([stories.count, stories.sizeBytes], [0, 0]);
});

Deno.test("stories: of an answer that is large, what would be shown is kept", () => {
  const stories = new Stories({ maxStories: 10, maxBytes: 100_000 });
  const headers = Object.fromEntries(
    Array.from({ length: 500 }, (_, at) => [`x-${at}-${"n".repeat(500)}`, "v".repeat(5000)]),
  );
  stories.keep(story("large", { upstream: { headers } }), 10);
  const [step] = stories.find("large")[0]?.steps ?? [];
  assertEquals(step?.result, undefined);
  const fields = Object.entries(step?.fields ?? {});
  assertEquals(fields.length, 41);
  assertEquals(fields.at(-1), ["…", "460 more"]);
  assert(JSON.stringify(fields).length < 20_000);
  assert(stories.sizeBytes < 100_000);
});

/** Fills the memory for stories with what is worst for it, and says what the heap has grown by. */
const FILL = `
  import { Stories } from "./gateway/observe/stories.ts";
  const KINDS = {
    // what clients choose: a path that is a slice of a URL of 60 KB
    urls: () => ({ url: "/".concat("u".repeat(60_000), Math.random()), patch: {} }),
    // what plugins choose: just small enough to be kept as it is, or too large
    small: () => ({ url: "/", patch: { state: { text: "s".repeat(1500) + Math.random() } } }),
    wide: () => ({ url: "/", patch: { state: { list: Array.from({ length: 90 }, () => ({})) } } }),
    bodies: () => ({ url: "/", patch: { response: { body: { encoding: "utf8", data: "b".repeat(100_000) + Math.random() } } } }),
  };
  const kind = KINDS[Deno.args[0]];
  const stories = new Stories();
  const heap = () => { for (let at = 0; at < 4; at++) gc(); return Deno.memoryUsage().heapUsed; };
  const before = heap();
  for (let at = 0; at < 6000; at++) {
    const { url, patch } = JSON.parse(JSON.stringify(kind()));
    const result = { type: "result", id: at, plugin: "001-a", durationMs: 1, action: "modify", patch };
    stories.keep({
      traceId: crypto.randomUUID(), endedAt: 0.5, method: "GET", path: url.slice(1, 40), route: "/*",
      clientAddr: "127.0.0.1", status: 200, durationMs: Math.random(), sentBytes: at, rejectedBy: undefined,
      steps: [{ plugin: "001-a", hook: "beforeRequest", action: "modify", durationMs: 1, result }],
      trip: { attempts: 1, isForward: false, durationMs: 0.5 },
    }, url.length);
  }
  console.log(JSON.stringify([stories.count, heap() - before]));
`;

for (const kind of ["urls", "small", "wide", "bodies"]) {
  Deno.test(`stories: the heap grows by 16 MiB at most, whatever is kept (${kind})`, async () => {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--v8-flags=--expose-gc", "-", kind],
      cwd: ROOT,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(
      new TextEncoder().encode(FILL.replace("./gateway", `file://${join(ROOT, "gateway")}`)),
    );
    await writer.close();
    const [count, grownBytes] = JSON.parse(new TextDecoder().decode((await child.output()).stdout));
    assert(count > 100, `${count} stories`);
    // 2 MiB for what the program itself has compiled and collected meanwhile.
    assert(grownBytes < (16 + 2) * 2 ** 20, `${count} stories take ${grownBytes} bytes`);
  });
}
