import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join } from "@std/path";
import { ERROR_STATUS } from "../gateway/errors.ts";
import { Metrics } from "../gateway/observe/metrics.ts";
import { ParentMetrics } from "../gateway/processes/parent_metrics.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { PROTOCOL_VERSION } from "../protocol/messages.ts";
import { deniedHeader, type HeaderSide } from "../protocol/mutation_rules.ts";
import {
  FROM_HOST,
  FROM_ISOLATE,
  FROM_SERVICE,
  TO_HOST,
  TO_ISOLATE,
  TO_SERVICE,
} from "./protocol/golden_messages.ts";
import { GENERATED_DOCS, generatedDoc } from "./support/generated_docs.ts";
import {
  codeBlocks,
  deno,
  docFiles,
  filesBelow,
  interfacesOf,
  markdownTable,
  readDoc,
  ROOT,
  section,
  tableRows,
  testNames,
} from "./support/prose.ts";

async function sources(...folders: string[]): Promise<string> {
  const files = (await Promise.all(folders.map(filesBelow))).flat();
  return (await Promise.all(["main.ts", ...files].map(readDoc))).join("\n");
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(join(ROOT, path)).then(() => true, () => false);
}

const sorted = (items: Iterable<string>): string[] => [...new Set(items)].sort();

/** Without what differs from record to record. */
const template = (text: string): string => text.replaceAll(/\$\{[^}]*\}/g, "…");

for (const path of GENERATED_DOCS) {
  Deno.test(`${path} is what deno run -A tests/support/generated_docs.ts writes`, async () => {
    const [told, written] = [await readDoc(path), await generatedDoc(path)];
    const lines = (text: string, other: string) =>
      text.split("\n").filter((line) => !other.split("\n").includes(line));
    assertEquals(
      { missing: lines(written, told), outdated: lines(told, written) },
      { missing: [], outdated: [] },
    );
    assertEquals(told.length, written.length, "lines are in another order");
  });
}

Deno.test("errors.md has every code with its status, and no other", async () => {
  const told = tableRows(await readDoc("docs/errors.md")).map(([code, status]) => [code, status]);
  const known = Object.entries(ERROR_STATUS).map(([code, status]) => [code, String(status)]);
  assertEquals(told, [...known, ["rejected", "set by the plugin"]]);
});

/** What `docs/operations.md` says of the log: `level message`, with what the runbook has of it. */
async function toldMessages(): Promise<ReadonlyMap<string, string>> {
  const page = await readDoc("docs/operations.md");
  const infos = tableRows(section(page, "What the log can say"))
    .map(([message]) => [`info ${message}`, ""] as const);
  const entries = section(page, "Runbook").split(/^#### /m).slice(1).map((entry) => {
    const [, level, message] = /^(warn|error) `([^`\n]+)`\n/.exec(entry) ?? [];
    return [`${level} ${message}`, entry] as const;
  });
  const told = new Map([...infos, ...entries]);
  assertEquals(told.size, infos.length + entries.length, "a message is told twice");
  return told;
}

async function gatewayMessages(): Promise<string[]> {
  const code = await sources("gateway");
  const direct = [...code.matchAll(/log\.(info|warn|error)\(\s*(["`])(.+?)\2/g)]
    .map(([, level, , message = ""]) => `${level} ${template(message)}`);
  const failures = [...code.matchAll(/#logError\(\s*"(.+?)"/g)].map(([, text]) => `error ${text}`);
  assert(direct.length > 20 && failures.length > 1, "the messages in the code were not found");
  return [...direct, ...failures];
}

/** What the plugin host itself says on behalf of plugins. */
async function hostMessages(): Promise<string[]> {
  const code = (await sources("plugin-host")).replace("${MAX_LOGS_PER_HOOK}", "200");
  const makes =
    /(?:logRecord\(\s*"(\w+)",\s*|\.log\.(\w+)\(\s*|level: "(\w+)",\s*message: )(["`])(.+?)\4/g;
  return [...code.matchAll(makes)].flatMap(([, ...groups]) => {
    const level = groups.slice(0, 3).find(Boolean);
    // Which of two a message is, is decided in its first words.
    const choice = /^\$\{.* \? "(.+)" : "(.+)"\}(.*)$/.exec(groups[4] ?? "");
    const texts = choice ? [`${choice[1]}${choice[3]}`, `${choice[2]}${choice[3]}`] : [groups[4]];
    return texts.map((text) => `${level} ${text}`);
  });
}

Deno.test("operations.md explains every message of the log, and no other", async () => {
  const made = [...await gatewayMessages(), ...await hostMessages()];
  assertEquals(sorted((await toldMessages()).keys()), sorted(made));
});

Deno.test("the runbook says of every warning and error what it means, what to look at and what to do", async () => {
  const lacking = [...await toldMessages()].filter(([message, entry]) =>
    !message.startsWith("info ") &&
    !["Means", "Look at", "Do"].every((word) =>
      RegExp(`^- \\*\\*${word}\\*\\*: .{5,}`, "m").test(entry)
    )
  );
  assertEquals(lacking.map(([message]) => message), []);
});

Deno.test("operations.md quotes messages of the log as they are", async () => {
  const known = await toldMessages();
  const failures = section(await readDoc("docs/operations.md"), "When something fails");
  const quoted = [...failures.matchAll(/\b(info|warn|error) `([^`]+)`/g)]
    .map(([, level, message]) => `${level} ${message}`);
  assert(quoted.length > 10);
  assertEquals(quoted.filter((each) => !known.has(each)), []);
});

Deno.test("operations.md has every metric with its type and labels, and no other", async () => {
  const version = "0";
  const registries = [new Metrics({ version }).registry, new ParentMetrics(() => []).registry];
  const known = registries.flatMap((registry) =>
    (registry.getMetricsAsArray() as unknown as readonly {
      readonly name: string;
      readonly type: string;
      readonly labelNames: readonly string[];
    }[]).map(({ name, type, labelNames }) => `${name} ${type} ${labelNames.join(", ")}`)
  );
  assert(known.length > 25);
  const rows = tableRows(section(await readDoc("docs/operations.md"), "Metrics"));
  assertEquals(
    sorted(rows.map((row) => row.slice(0, 3).join(" ").replaceAll("`", ""))),
    sorted(known),
  );
});

Deno.test("operations.md has every fixed time of the code, and no other", async () => {
  const code = await sources("gateway", "plugin-host");
  const fixed = [...code.matchAll(/const ([A-Z_]+_MS) = ([\d_]+);/g)]
    .map(([, name, value = ""]) => `${name} ${value.replaceAll("_", "")}`)
    .filter((each) => !each.startsWith("MAX_DELAY_MS")); // no choice of ours: the longest timer
  const text = section(await readDoc("docs/operations.md"), "Times that are not configuration");
  assertEquals(sorted(tableRows(text).map((row) => `${row[0]} ${row[1]}`)), sorted(fixed));
});

Deno.test("operations.md has a row for every failure that a test is named after, and the other way round", async () => {
  const sources = await Promise.all((await filesBelow("tests/e2e")).map(readDoc));
  const tests = sources.flatMap(testNames).map((name) => name.toLowerCase());
  const [table = ""] = section(await readDoc("docs/operations.md"), "When something fails")
    .split("Not failures");
  const rows = tableRows(table).map(([event = ""]) => event.replaceAll("`", "").toLowerCase());
  // Up to where a name is filled in by a table of the test.
  const names = tests.flatMap((name) => /^failure: ([^;$]+)/.exec(name)?.[1] ?? []);
  const isTold = (name: string) => rows.some((row) => name.startsWith(row) || row.startsWith(name));
  const isTested = (row: string) =>
    tests.some((name) => name.includes(row)) || names.some((name) => row.startsWith(name));
  assertEquals(rows.filter((row) => !isTested(row)), [], "there is no test");
  assertEquals(names.filter((name) => !isTold(name)), [], "there is no row");
});

Deno.test("operations.md names every command, exit code and variable that conduit help names", async () => {
  const help = await deno("run", "-A", "main.ts", "help");
  const doc = await readDoc("docs/operations.md");
  const commands = [...help.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name]) => name ?? "");
  assert(commands.length > 3);
  const told = [...doc.matchAll(/^\| `conduit (\w+)`/gm)].map(([, name]) => name ?? "");
  assertEquals(sorted(told), sorted(commands));
  for (const [name] of help.matchAll(/\bCONDUIT_\w+/g)) assert(doc.includes(name), name);
  for (const [, code] of help.matchAll(/\b(\d+) (?=[a-z])/g)) {
    assertMatch(doc, RegExp(`\\| ${code} `));
  }
});

Deno.test("protocol.md shows every message as encodeFrame writes it", async () => {
  const doc = await readDoc("docs/protocol.md");
  const hex = (message: object) => encodeFrame(message).toHex();
  const directions = {
    "from-host": FROM_HOST,
    "from-isolate": FROM_ISOLATE,
    "from-service": FROM_SERVICE,
    "to-service": TO_SERVICE,
    "to-host": TO_HOST,
    "to-isolate": TO_ISOLATE,
  };
  for (const [direction, golden] of Object.entries(directions)) {
    const told = codeBlocks(doc, "json").filter(({ info }) => info === direction)
      .map(({ text }) => hex(JSON.parse(text)));
    const written = Object.values<readonly object[]>(golden).flat().map(hex);
    assertEquals(told.toSorted(), written.toSorted(), direction);
  }
  const [frame] = codeBlocks(doc, "hex");
  const [ping = {}] = TO_HOST.ping;
  assertEquals(frame?.text.replaceAll(/\s/g, ""), hex(ping));
  assertMatch(doc, RegExp(`^Protocol version: ${PROTOCOL_VERSION}\\.`, "m"));
});

Deno.test("protocol.md shows the lines on the host's stdin with exactly their keys", async () => {
  const blocks = codeBlocks(await readDoc("docs/protocol.md"), "json");
  const [init, load] = blocks.filter(({ info }) => info === "stdin").map(({ text }) =>
    JSON.parse(text)
  );
  const interfaces = await interfacesOf("protocol/host_stdin.ts");
  assertEquals(Object.keys(init).sort(), interfaces.HostInit);
  assertEquals(Object.keys(load), interfaces.LoadCommand);
});

Deno.test("plugins.md names every member that plugins meet, and no other", async () => {
  const types = await interfacesOf("plugin-host/mod.ts");
  const prefixes: Readonly<Record<string, string>> = {
    Plugin: "",
    PluginInit: "init.",
    GatewayContext: "ctx.",
    GatewayRequest: "ctx.request.",
    ResponseBuilder: "ctx.response.",
    UpstreamBuilder: "ctx.upstream.",
    Log: "ctx.log.",
    HttpService: "ctx.services.http.",
    CacheService: "ctx.services.cache.",
  };
  const members = Object.entries(prefixes).flatMap(([type, prefix]) =>
    (types[type] ?? []).map((member) => prefix + member)
  );
  assert(members.length > 50);
  const page = await readDoc("docs/plugins.md");
  const tables = tableRows(page.replace(section(page, "Testing"), "")).map(([name = ""]) => name);
  const told = tables.filter((name) => /^[\w.]+(\(.*\))?$/.test(name)).map((name) =>
    name.replace(/\(.*/, "")
  );
  assertEquals(sorted(told.filter((name) => !["means", "log"].includes(name))), sorted(members));
});

Deno.test("plugins.md names every option and every result of conduit/testing, and no other", async () => {
  const types = {
    ...await interfacesOf("plugin-host/testing/exchange.ts"),
    ...await interfacesOf("plugin-host/testing.ts"),
  };
  const rows = tableRows(section(await readDoc("docs/plugins.md"), "Testing"));
  const functions = rows.map(([name = ""]) => /^(\w+)\(/.exec(name)?.[1]).filter(Boolean);
  const source = await readDoc("plugin-host/testing.ts");
  assertEquals(
    functions,
    [...source.matchAll(/^export (?:async )?function (\w+)/gm)].map(([, name]) => name),
  );
  const told = rows.map(([name = ""]) => name).filter((name) => /^\w+$/.test(name));
  assertEquals(
    told.toSorted(),
    [
      ...types.TestRequest ?? [],
      ...types.TestContextOptions ?? [],
      ...types.HookOutcome ?? [],
    ].toSorted(),
  );
});

Deno.test("plugins.md says which fields a plugin may not set", async () => {
  const rows = tableRows(section(await readDoc("docs/plugins.md"), "What may not be set"));
  for (const [fields = "", upstream = "", response = ""] of rows) {
    for (const name of fields.replaceAll("`", "").split(", ")) {
      const denied = (side: HeaderSide) => deniedHeader(name, side, { ownsCors: true }) !== null;
      assertEquals(denied("upstream"), upstream.startsWith("denied"), name);
      assertEquals(denied("response"), response.startsWith("denied"), name);
    }
  }
});

Deno.test("MAINTAINERS.md names tests that exist, numbered from 1", async () => {
  const rows = tableRows(section(await readDoc("MAINTAINERS.md"), "Invariants"));
  assertEquals(rows.map(([number]) => Number(number)), rows.map((_, index) => index + 1));
  await assertTested(rows.map(([, , file = "", name = ""]) => ({ file, name })));
});

Deno.test("SECURITY.md names tests that exist, for every claim", async () => {
  const rows = tableRows(
    section(await readDoc("SECURITY.md"), "What holds, and the test that holds it"),
  );
  assert(rows.length > 20);
  await assertTested(rows.map(([, file = "", name = ""]) => ({ file, name })));
});

async function assertTested(
  tests: readonly { readonly file: string; readonly name: string }[],
): Promise<void> {
  const missing: string[] = [];
  for (const { file, name } of tests) {
    const names = await exists(file) ? testNames(await readDoc(file)) : [];
    if (!names.some((each) => each.includes(name))) missing.push(`${file}: ${name}`);
  }
  assertEquals(missing, []);
}

Deno.test("MAINTAINERS.md gives a reason for every dependency", async () => {
  const { imports } = JSON.parse(await readDoc("deno.json")) as { imports: Record<string, string> };
  const packages = Object.values(imports).map((target) => /^npm:(@?[^@]+)@/.exec(target)?.[1]);
  const told = tableRows(section(await readDoc("MAINTAINERS.md"), "Dependencies"));
  const names = packages.filter((name): name is string => name !== undefined);
  assertEquals(sorted(told.map(([name = ""]) => name)), sorted(names));
});

Deno.test("every file and page that a document names is there", async () => {
  const missing: string[] = [];
  for (const doc of await docFiles()) {
    const text = await readDoc(doc);
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)]
      .map(([, target = ""]) => join(dirname(doc), target));
    const paths = [...text.matchAll(
      /`((?:gateway|plugin-host|protocol|plugins|tests|examples|docs|types)\/[\w./-]*)`/g,
    )].map(([, path = ""]) => path);
    for (const path of [...links, ...paths]) {
      if (!await exists(path)) missing.push(`${doc}: ${path}`);
    }
  }
  assertEquals(missing, []);
});

Deno.test("the readers of the documents see what they should", () => {
  const table = markdownTable(["A", "B"], [["`a|b`", "1"], ["c", "`d` or e"]]);
  assertEquals(tableRows(`\n${table}\n`), [["a|b", "1"], ["c", "`d` or e"]]);
  assertEquals(section("# A\n\nx\n\n## B\n\ny\n\n# C\n", "B"), "\ny\n\n");
  assertEquals(
    testNames('Deno.test("a", f);\nattackTest(\n  `b ${c}`,\n  f);\nname: "d"; // "e"\nf("g")'),
    ["a", "b ${c}", "d"],
  );
  assertEquals(codeBlocks("```ts one\nlet a;\n```\n", "ts"), [
    { language: "ts", info: "one", text: "let a;\n" },
  ]);
});
