import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { keptInputs, quoted } from "./corpus.ts";
import { fuzz } from "./fuzzer.ts";
import { bytesOf, type FuzzTarget, latin1, law, utf8 } from "./target.ts";
import { TARGETS } from "./targets.ts";

/** For each target. More is for `deno task fuzz`. */
const SECONDS = Number(Deno.env.get("CONDUIT_FUZZ_SECONDS") ?? 10);

async function fuzzProcess(...args: string[]): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", fromFileUrl(new URL("main.ts", import.meta.url)), ...args],
    env: { NO_COLOR: "1" },
  }).output();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

Deno.test(`fuzz: only typed errors come out of any target, no law breaks, nothing hangs or grows (${SECONDS} s each)`, async () => {
  const { code, text } = await fuzzProcess("--seconds", `${SECONDS}`);
  assertEquals(code, 0, text);
  for (const { name } of TARGETS) assertMatch(text, RegExp(`^${name}: [1-9]\\d* inputs`, "m"));
});

Deno.test("fuzz: every target has a corpus, which gives it more than one sort of answer", async () => {
  for (const target of TARGETS) {
    const kept = await keptInputs(target);
    assert(kept.length > 8, target.name);
    const { answers, finding } = await fuzz(target, { kept, seed: 1, goOn: () => false });
    assertEquals(finding, undefined);
    assert(answers > 4, `${target.name}: ${answers}`);
  }
});

/** A product with a fault, as a fuzzer must find it. */
const FAULTS: Readonly<Record<string, Pick<FuzzTarget, "run"> & Partial<FuzzTarget>>> = {
  "an error of another type, behind two tokens": {
    dictionary: ["alpha", "beta"],
    run(input) {
      const text = latin1(input);
      if (!text.startsWith("alpha")) return "other";
      if (!text.includes("beta")) return "alpha";
      return (undefined as unknown as string).length.toString();
    },
  },
  "a length that is believed": {
    run(input) {
      if (input.length < 4) return "short";
      const length = new DataView(input.buffer, input.byteOffset).getUint32(0);
      return new Uint8Array(new ArrayBuffer(64), 0, length > 64 ? length : 0).length.toString();
    },
  },
  "a key that means something to the language": {
    isJson: true,
    run(input) {
      const copy: Record<string, unknown> = {};
      const value = JSON.parse(utf8(input));
      for (const [key, each] of Object.entries(value)) copy[key] = each;
      law(Object.getPrototypeOf(copy) === Object.prototype, "the prototype is changed");
      return `${Object.keys(copy).length}`;
    },
    errors: [SyntaxError],
  },
  "a recursion without a bound": {
    isJson: true,
    run(input) {
      const depth = (value: unknown, at = 0): number => {
        law(at < 900, "too deep");
        return typeof value === "object" && value !== null
          ? Math.max(at, ...Object.values(value).map((each) => depth(each, at + 1)))
          : at;
      };
      return `${Math.min(depth(JSON.parse(utf8(input))), 20)}`;
    },
    errors: [SyntaxError, TypeError],
  },
};

for (const [what, fault] of Object.entries(FAULTS)) {
  Deno.test(`fuzz finds ${what}, makes the input small and finds the same again with the same seed`, async () => {
    const target: FuzzTarget = { name: "planted", dictionary: [], errors: [], ...fault };
    const kept = [bytesOf(`{"a":{"b":1}}`)];
    const run = () => fuzz(target, { kept, seed: 42, goOn: (runs) => runs < 200_000 });
    const { finding, runs } = await run();
    assert(finding, "it was not found");
    assert(finding.input.length < 10_000);
    const again = await run();
    assertEquals(again.runs, runs);
    assertEquals(again.finding && quoted(again.finding.input), quoted(finding.input));
  });
}
