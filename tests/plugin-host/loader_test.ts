import { assert, assertEquals, assertRejects } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import {
  type LoadedPlugin,
  LoadError,
  type LoadNeeds,
  loadPlugins,
  pluginFiles,
} from "../../plugin-host/loader.ts";
import type { Log, Services } from "../../plugin-host/mod.ts";

const ignore = () => {};
const LOG: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
const NEEDS: LoadNeeds = {
  config: {},
  env: {},
  services: Object.freeze({}) as Services,
  log: () => LOG,
};

/** A plugins folder of its own, whose name needs escaping in a URL. */
async function withPlugins<T>(
  files: Readonly<Record<string, string>>,
  use: (dir: URL) => Promise<T>,
): Promise<T> {
  const path = await Deno.makeTempDir({ suffix: " plugins #1%" });
  try {
    for (const [name, source] of Object.entries(files)) {
      await Deno.writeTextFile(join(path, name), source);
    }
    return await use(toFileUrl(path + "/"));
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

async function load(
  files: Readonly<Record<string, string>>,
  needs: Partial<LoadNeeds> = {},
): Promise<LoadedPlugin[]> {
  return await withPlugins(
    files,
    async (dir) => await loadPlugins(dir, await pluginFiles(dir), { ...NEEDS, ...needs }),
  );
}

async function failure(
  files: Readonly<Record<string, string>>,
): Promise<{ file: string; message: string; line?: number; column?: number }> {
  const { file, message, line, column } = await assertRejects(() => load(files), LoadError);
  return {
    file,
    message,
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
  };
}

const NOOP = "export default {};";

Deno.test("what a plugin throws in its load is cut, and a hundred files are told of at most: it goes into one frame", async () => {
  const source = `throw new Error("x".repeat(100_000));`;
  const files = Array.from({ length: 101 }, (_, at) => [`${100 + at}-a.ts`, source]);
  const error = await assertRejects(() => load(Object.fromEntries(files)), LoadError);
  assertEquals(error.others.map((each) => each.file), files.slice(1, 100).map(([file]) => file));
  for (const { message } of [error, ...error.others]) {
    assert(message.startsWith("does not load: Error: xxx") && message.length < 5000, message);
  }
});

Deno.test("plugins load in file-name order, by code unit, whatever their endings", async () => {
  const loaded = await load({
    "010-b.ts": NOOP,
    "002-z.js": NOOP,
    "002-Z.mjs": NOOP,
    "001-x.mts": NOOP,
    "100-a.ts": NOOP,
  });
  assertEquals(loaded.map((each) => each.manifest.file), [
    "001-x.mts",
    "002-Z.mjs",
    "002-z.js",
    "010-b.ts",
    "100-a.ts",
  ]);
  assertEquals(loaded[0]?.manifest.name, "001-x");
});

Deno.test("helpers, tests, declarations, hidden files, folders and other files are no plugins", async () => {
  const broken = "this is { not a module";
  const files = {
    "001-a.ts": NOOP,
    "_lib.ts": broken,
    ".hidden.ts": broken,
    "001-a_test.ts": broken,
    "001-a.test.ts": broken,
    "types.d.ts": broken,
    "deno.json": "{}",
    "README.md": "",
    "002-b.txt": broken,
  };
  await withPlugins(files, async (dir) => {
    await Deno.mkdir(new URL("003-folder.ts", dir));
    assertEquals(await pluginFiles(dir), ["001-a.ts"]);
  });
  assertEquals(await load({}), []);
});

for (
  const name of ["auth.ts", "1-auth.ts", "0001-auth.ts", "001_auth.ts", "001-.ts", "001-a b.js"]
) {
  Deno.test(`a script named "${name}" is refused, not skipped in silence`, async () => {
    assertEquals(await failure({ [name]: NOOP }), {
      file: name,
      message:
        'not named like a plugin ("001-name.ts"); rename it, or start its name with "_" to keep it as a helper',
    });
  });
}

Deno.test("the manifest says which hooks and flags a plugin has", async () => {
  const [all, none] = await load({
    "001-all.ts": `export default {
      onTimeout: "reject", onHookError: "continue", readsBodies: false,
      readsHeaders: ["Cookie", "cookie", "x-a"],
      afterResponse() {}, beforeRequest() {}, onLoad() {}, onError() {},
    };`,
    "002-none.ts": "export default { afterResponse: undefined };",
  });
  assertEquals(all?.manifest, {
    name: "001-all",
    file: "001-all.ts",
    hooks: ["beforeRequest", "afterResponse"],
    readsBodies: false,
    readsHeaders: ["cookie", "x-a"],
    onTimeout: "reject",
    onHookError: "continue",
  });
  assertEquals(none?.manifest, {
    name: "002-none",
    file: "002-none.ts",
    hooks: [],
    readsBodies: true,
  });
});

const NO_DEFAULT = 'has no default export; end it with "export default { … } satisfies Plugin"';
const noObject = (kind: string) =>
  `its default export is ${kind}, not an object with hooks; write "export default { … } satisfies Plugin"`;
const SHAPES: readonly [source: string, message: string][] = [
  ["export const beforeRequest = 1;", NO_DEFAULT],
  ["", NO_DEFAULT],
  ["export default undefined;", NO_DEFAULT],
  ["export default null;", noObject("null")],
  ["export default [];", noObject("an object")],
  ["export default function beforeRequest() {}", noObject("a function")],
  ["export default class {}", noObject("a function")],
  [
    "export default { beforeRequests() {} };",
    '"beforeRequests" is not a member of a plugin; there are onLoad, beforeRequest, afterResponse, onError, onTimeout, onHookError, readsBodies, readsHeaders',
  ],
  [
    "export default new class { beforeRequests() {} }();",
    '"beforeRequests" is not a member of a plugin; there are onLoad, beforeRequest, afterResponse, onError, onTimeout, onHookError, readsBodies, readsHeaders',
  ],
  ["export default { beforeRequest: 1 };", '"beforeRequest" is a number, not a function'],
  ["export default { afterResponse: {} };", '"afterResponse" is an object, not a function'],
  ["export default { onLoad: null };", '"onLoad" is null, not a function'],
  ['export default { onError: "x" };', '"onError" is "x", not a function'],
  ["export default { onTimeout: true };", '"onTimeout" is a boolean, not "continue" or "reject"'],
  [
    'export default { onHookError: "retry" };',
    '"onHookError" is "retry", not "continue" or "reject"',
  ],
  ['export default { readsBodies: "no" };', '"readsBodies" is "no", not true or false'],
  [
    'export default { readsHeaders: "cookie" };',
    '"readsHeaders" is "cookie", not a list of header names',
  ],
  [
    'export default { readsHeaders: ["cookie", "a b"] };',
    '"readsHeaders[1]" is "a b", not a header name',
  ],
];

for (const [source, message] of SHAPES) {
  Deno.test(`a plugin whose source is ${JSON.stringify(source)} is refused with a clear message`, async () => {
    assertEquals(await failure({ "001-ok.ts": NOOP, "002-bad.ts": source }), {
      file: "002-bad.ts",
      message,
    });
  });
}

Deno.test("a plugin whose getters or traps throw is refused by its name, with the line", async () => {
  const hostile = [
    `\nexport default { get beforeRequest() { throw new Error("no"); } };`,
    `\nexport default new Proxy({}, { ownKeys() { throw new Error("no"); } });`,
  ];
  for (const source of hostile) {
    const { file, line, message } = await failure({ "001-ok.ts": NOOP, "002-bad.ts": source });
    assertEquals([file, line, message], ["002-bad.ts", 2, "does not load: Error: no"]);
  }
});

Deno.test("a syntax error names file, line and column, and no path of this machine", async () => {
  const { message, ...place } = await failure({
    "001-bad.ts": "const a = 1;\nexport default { beforeRequest( };\n",
  });
  assertEquals(place, { file: "001-bad.ts", line: 2, column: 33 });
  assert(message.startsWith("does not load: "), message);
  assert(message.includes("SyntaxError: Unexpected token"), message);
  assert(!message.includes("file://") && !message.includes("plugins #1"), message);
});

Deno.test("a syntax error in a helper names the helper", async () => {
  const { message, ...place } = await failure({
    "001-a.ts": 'import "./_lib.ts";\nexport default {};',
    "_lib.ts": "\n\nlet let = 1;",
  });
  assertEquals(place.file, "_lib.ts", message);
  assertEquals(place.line, 3);
});

Deno.test("an import that is not there names the plugin and the line", async () => {
  const { message, ...place } = await failure({
    "001-a.ts": '\nimport { x } from "./_gone.ts";\nexport default { x };',
  });
  assertEquals(place, { file: "001-a.ts", line: 2, column: 19 });
  assert(message.includes('Module not found "_gone.ts"'), message);
});

Deno.test("an error at the top level of a plugin names its line", async () => {
  assertEquals(
    await failure({ "001-a.ts": '\n\nthrow new RangeError("boom");\nexport default {};' }),
    {
      file: "001-a.ts",
      line: 3,
      column: 7,
      message: "does not load: RangeError: boom",
    },
  );
  for (
    const [thrown, message] of [['"text"', "text"], [
      "Object.create(null)",
      "a value that cannot be shown",
    ], ["{ status: 401 }", '{"status":401}']]
  ) {
    assertEquals(await failure({ "001-a.ts": `throw ${thrown}; export default {};` }), {
      file: "001-a.ts",
      message: `does not load: Error: ${message}`,
    });
  }
});

Deno.test("a helper is imported and shared by the plugins that use it", async () => {
  const use =
    'import { count } from "./_lib.ts"; export default { onLoad() { count.n++; }, readsBodies: count.n > 0 };';
  const loaded = await load({
    "001-a.ts": use,
    "002-b.ts": use,
    "_lib.ts": "export const count = { n: 0 };",
  });
  assertEquals(loaded.map((each) => each.manifest.readsBodies), [false, true]);
});

Deno.test("two files with one plugin name are refused", async () => {
  assertEquals(await failure({ "001-a.js": NOOP, "001-a.ts": NOOP }), {
    file: "001-a.ts",
    message: 'has the same plugin name as "001-a.js"; rename one of them',
  });
});

Deno.test("onLoad gets its own config, env, services and log, and is awaited", async () => {
  const logs: [string, string][] = [];
  const config = { "001-a": { list: [1] }, constructor: "not mine" } as const;
  const source = `export default {
    async onLoad({ config, env, services, log }) {
      await Promise.resolve();
      log.info(JSON.stringify([config, env, typeof services]));
      if (config.list) config.list.push(2);
    },
  };`;
  await load({ "001-a.ts": source, "002-b.ts": source }, {
    config,
    env: { SECRET: "s" },
    log: (plugin) => ({ ...LOG, info: (message) => logs.push([plugin, message]) }),
  });
  assertEquals(logs, [
    ["001-a", '[{"list":[1]},{"SECRET":"s"},"object"]'],
    ["002-b", '[{},{"SECRET":"s"},"object"]'],
  ]);
  assertEquals(config["001-a"].list as unknown, [1]);
});

Deno.test("onLoad that throws or rejects names its line, and what is wrong with later plugins is told too", async () => {
  const files = {
    "001-a.ts": "export default { onLoad() { throw new Error('x'); } };",
    "002-b.js": NOOP,
    "002-b.ts": NOOP,
    "003-c.ts": "export default { onLoad() { throw new Error('y'); } };",
  };
  const { file, others } = await assertRejects(() => load(files), LoadError);
  assertEquals([file, ...others.map((each) => `${each.file}: ${each.message}`)], [
    "001-a.ts",
    '002-b.ts: has the same plugin name as "002-b.js"; rename one of them',
    "003-c.ts: onLoad failed: Error: y",
  ]);

  assertEquals(
    await failure({
      "001-a.ts": 'export default {\n  onLoad() {\n    throw new TypeError("no secret");\n  },\n};',
    }),
    { file: "001-a.ts", line: 3, column: 11, message: "onLoad failed: TypeError: no secret" },
  );
  assertEquals(
    await failure({
      "001-a.ts": "export default { onLoad: () => Promise.reject(new Error('x')) };",
    }),
    { file: "001-a.ts", line: 1, column: 47, message: "onLoad failed: Error: x" },
  );
});
