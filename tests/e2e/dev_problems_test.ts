import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { adminPage } from "../support/admin_pages.ts";
import { ask, logOf } from "../support/failure.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";

/** What its log says, line by line. */
const printed = (gateway: TestGateway): string =>
  gateway.logs.map((line) => line.message).join("\n");

const count = (text: string, part: string): number => text.split(part).length - 1;

const GOOD = "export default { beforeRequest() {} };\n";

/** Plugins that do not load, and what `conduit dev` prints of them below the record. */
const BROKEN = [
  {
    what: "a syntax error",
    source: "// one\n// two\nexport default {\n  beforeRequest(ctx) { x x }\n};\n// six\n",
    block: `    001-a.ts:4:26: does not load: TypeError: SyntaxError: Expected ';', '}' or <eof>
    2 | // two
    3 | export default {
    4 |   beforeRequest(ctx) { x x }
      |                          ^
    5 | };`,
  },
  {
    what: "an onLoad that throws",
    source: `interface Options {
  token: string;
}

export default {
  onLoad() {
    throw new RangeError("no tokens\\ntoday");
  },
};
`,
    block: `    001-a.ts:7:11: onLoad failed: RangeError: no tokens
    today
    5 | export default {
    6 |   onLoad() {
    7 |     throw new RangeError("no tokens\\ntoday");
      |           ^
    8 |   },`,
  },
  {
    what: "no default export",
    source: "export const x = 1;\n",
    block:
      `    001-a.ts: has no default export; end it with "export default { … } satisfies Plugin"`,
  },
] as const;

for (const { what, source, block } of BROKEN) {
  Deno.test(`dev: ${what} is printed once, with file, line and a code frame; at the start and when it is saved`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await testGateway({
      command: "dev",
      config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
      plugins: { "001-a.ts": source },
    });
    assertStringIncludes(printed(gateway), `ERROR plugins did not load\n${block}\n`);
    const { status, headers } = await ask(gateway, "/");
    assertEquals(
      [status, headers.get("x-conduit-route"), headers.get("x-conduit-plugins")],
      [503, "/*", "-"],
    );
    await gateway.savePlugin("001-a.ts", GOOD);
    const good = await gateway.waitForLog((line) => / plugins reloaded /.test(line.message));
    await gateway.savePlugin("001-a.ts", source);
    await gateway.waitForLog((line) => /did not load; what runs goes on/.test(line.message), {
      from: gateway.logs.indexOf(good),
    });
    const last = block.split("\n").at(-1);
    await gateway.until(() => count(printed(gateway), `\n${last}`) === 2, { what: "the block" });
    assertStringIncludes(
      printed(gateway),
      `ERROR plugins did not load; what runs goes on\n${block}`,
    );
    assertEquals((await ask(gateway, "/")).status, 200);
    assertEquals(count(printed(gateway), block), 2, printed(gateway));
  });
}

Deno.test("dev: each of several plugins that do not load is printed with its lines, and stands in /plugins", async () => {
  await using gateway = await testGateway({
    command: "dev",
    config: { ...PATIENT, routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
    plugins: { "001-a.ts": BROKEN[0].source, "002-a.ts": BROKEN[1].source },
  });
  const second = BROKEN[1].block.replace("001-a.ts", "002-a.ts");
  assertStringIncludes(
    printed(gateway),
    `ERROR plugins did not load\n${BROKEN[0].block}\n${second}\n`,
  );
  const { loadError } = await adminPage(gateway, "/plugins");
  assertEquals([loadError.file, loadError.line, loadError.column], ["001-a.ts", 4, 26]);
  assertEquals(loadError.others, [{
    file: "002-a.ts",
    line: 7,
    column: 11,
    message: "onLoad failed: RangeError: no tokens\ntoday",
  }]);
});

Deno.test("run: why plugins do not load stays one record on one line", async () => {
  await using upstream = echoUpstream();
  for (const format of ["json", "text"]) {
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        log: { format, level: "debug" },
        routes: [{ path: "/*", upstream: upstream.url }],
      },
      plugins: { "001-a.ts": GOOD },
    });
    const before = gateway.logs.length;
    await gateway.savePlugin("001-a.ts", BROKEN[1].source);
    const record = await gateway.waitForLog((line) => /did not load/.test(line.message));
    assertStringIncludes(JSON.stringify(record), "001-a.ts:7:11: onLoad failed");
    assertEquals((await ask(gateway, "/")).status, 200);
    assertEquals(
      gateway.logs.slice(before).filter((line) => /^ |^today/.test(line.message)),
      [],
    );
  }
});

/** Its hook throws in a helper. Types, an enum and an interface lie before the place, and are gone when it runs. */
const THROWS = {
  "001-a.ts": `import type { GatewayContext, Plugin } from "conduit/plugin";
import { check } from "./_check.ts";

interface Session {
  id: string;
}

enum Kind { User, Admin }

export default {
  beforeRequest(ctx: GatewayContext) {
    check<Session>(ctx.request.headers["x-who"] ?? "", Kind.Admin as number);
  },
} satisfies Plugin;
`,
  "_check.ts": `type Any<T> = {
  value: T;
};

export function check<T>(who: string, kind: number): Any<T> {
  throw new RangeError(\`\${kind}: who is \${who}\`);
}
`,
};

Deno.test("a stack shows the author's files with the lines and columns of the TypeScript source, and no other frame", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: THROWS,
  });
  const answer = await ask(gateway, "/", { headers: { "x-who": "bob" } });
  const { error } = await logOf(gateway, answer, "hook failed; treating as reject");
  assertEquals(error, {
    name: "RangeError",
    message: "1: who is bob",
    stack: "RangeError: 1: who is bob\n    at check (_check.ts:6:9)\n" +
      "    at Object.beforeRequest (001-a.ts:12:5)",
  });
});

Deno.test("dev: the stack of a hook's error stands below its record, and nothing of a client can begin a line", async () => {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    command: "dev",
    config: {
      ...PATIENT,
      onHookError: "continue",
      routes: [{ path: "/*", upstream: upstream.url }],
    },
    plugins: THROWS,
  });
  const hostile = "x\u0085\u009b2J 2026-01-01T00:00:00.000Z ERROR forged";
  const answer = await ask(gateway, "/", { headers: { "x-who": hostile } });
  assertEquals(answer.status, 200);
  const last = await gateway.waitForLog((line) => /at Object.beforeRequest/.test(line.message));
  const at = gateway.logs.indexOf(last);
  const [record = "", ...frames] = gateway.logs.slice(at - 2, at + 1).map((line) => line.message);
  assertMatch(record, /^\S+Z ERROR \[trace:\S+\] hook failed; treating as continue plugin=001-a /);
  assertStringIncludes(record, 'error="RangeError: 1: who is x\\u0085\\u009b2J 2026');
  assertEquals(frames, [
    "    at check (_check.ts:6:9)",
    "    at Object.beforeRequest (001-a.ts:12:5)",
  ]);
  for (const { message } of gateway.logs) {
    assert(/^(?:\d{4}-\d\d-\d\dT\S+Z (?:DEBUG|INFO |WARN |ERROR) | {4})/.test(message), message);
    assert(!/\p{Cc}/u.test(message), JSON.stringify(message));
  }
});
