import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join, toFileUrl } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
const PARTS = ["protocol", "gateway", "plugin-host"] as const;

/** What each part may import of the others. Beside `main.ts`, which may import all. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  gateway: ["protocol"],
  "plugin-host": ["protocol"],
};

interface Import {
  /** Relative to the root: `gateway/path.ts`. */
  readonly from: string;
  readonly to: string;
  readonly dynamic: boolean;
}

async function scripts(dir: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) found.push(...await scripts(join(dir, name)));
    else if (/\.[mc]?[jt]sx?$/.test(name)) found.push(join(dir, name));
  }
  return found.sort();
}

async function sources(root: string): Promise<string[]> {
  const found = (await Promise.all(PARTS.map((part) => scripts(join(root, part))))).flat();
  try {
    await Deno.stat(join(root, "main.ts"));
    found.push(join(root, "main.ts"));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found;
}

/** Every import between files under `root`, as Deno's own parser sees it: static, dynamic, of types, re-exports. */
async function imports(root: string): Promise<Import[]> {
  const dir = await Deno.makeTempDir();
  try {
    const entry = join(dir, "all.ts");
    const lines = (await sources(root)).map((file) => `import "${toFileUrl(file)}";`);
    await Deno.writeTextFile(entry, lines.join("\n"));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--no-lock", "--config", join(ROOT, "deno.json"), entry],
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    return relativeImports(JSON.parse(new TextDecoder().decode(stdout)), toFileUrl(root).href);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

interface ModuleGraph {
  readonly modules: readonly {
    readonly specifier: string;
    readonly error?: string;
    readonly dependencies?: readonly {
      readonly code?: { readonly specifier?: string };
      readonly type?: { readonly specifier?: string };
      readonly isDynamic?: boolean;
    }[];
  }[];
}

function relativeImports(graph: ModuleGraph, rootUrl: string): Import[] {
  const base = rootUrl.replace(/\/?$/, "/");
  const found: Import[] = [];
  for (const { specifier: from, error, dependencies = [] } of graph.modules) {
    if (!from.startsWith(base)) continue;
    assertEquals(error, undefined);
    for (const { code, type, isDynamic = false } of dependencies) {
      const targets = new Set([code?.specifier, type?.specifier]);
      for (const to of targets) {
        if (!to?.startsWith(base)) continue;
        found.push({
          from: from.slice(base.length),
          to: to.slice(base.length),
          dynamic: isDynamic,
        });
      }
    }
  }
  return found;
}

function partOf(file: string): string {
  return file.includes("/") ? file.slice(0, file.indexOf("/")) : file;
}

/** Everything under `root` that breaks the layering in MAINTAINERS.md, a sentence each. */
async function violations(root: string): Promise<string[]> {
  const found: string[] = [];
  for (const { from, to } of await imports(root)) {
    const [importer, imported] = [partOf(from), partOf(to)];
    const allowed = MAY_IMPORT[importer];
    if (importer === imported || allowed === undefined || allowed.includes(imported)) continue;
    found.push(`${from} imports ${to}`);
  }
  for (const file of await sources(root)) {
    const name = file.slice(root.replace(/\/?$/, "/").length);
    const text = await Deno.readTextFile(file);
    if (partOf(name) === "protocol" && /\bDeno\b/.test(text)) found.push(`${name} names Deno`);
    for (const other of PARTS) {
      // Paths that no parser resolves: `import.meta.resolve("../gateway/x.ts")`, `new URL("../gateway/x.ts", …)`.
      const allowed = [partOf(name), ...MAY_IMPORT[partOf(name)] ?? PARTS];
      if (!allowed.includes(other) && new RegExp(`["'\`][^"'\`\\n]*\\.\\./${other}/`).test(text)) {
        found.push(`${name} names a path in ${other}/`);
      }
    }
  }
  return [...new Set(found)].sort();
}

/** The cycles of static imports inside one part, each as `a -> b -> a`. A type import counts: it couples as well. */
async function cycles(root: string): Promise<string[]> {
  const edges = new Map<string, string[]>();
  for (const { from, to, dynamic } of await imports(root)) {
    if (partOf(from) !== partOf(to) || dynamic) continue;
    edges.set(from, [...edges.get(from) ?? [], to]);
  }
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, above: readonly string[]): void => {
    const at = above.indexOf(file);
    if (at >= 0) return void found.push([...above.slice(at), file].join(" -> "));
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...above, file]);
    done.add(file);
  };
  for (const file of [...edges.keys()].sort()) visit(file, []);
  return found;
}

/** A small tree that keeps the rules, with `planted` on top. */
async function withTree<T>(
  planted: Readonly<Record<string, string>>,
  use: (root: string) => Promise<T>,
): Promise<T> {
  const root = await Deno.makeTempDir();
  const files: Record<string, string> = {
    "protocol/frame.ts": "export type Frame = Uint8Array; export const limit = 1;",
    "gateway/a.ts": 'import { limit } from "../protocol/frame.ts"; export const a = limit;',
    "gateway/upstream/b.ts": 'import { a } from "../a.ts"; export const b = a;',
    "plugin-host/c.ts": 'import type { Frame } from "../protocol/frame.ts"; export type C = Frame;',
    "main.ts": 'import "./gateway/a.ts"; import "./plugin-host/c.ts";',
    ...planted,
  };
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.mkdir(join(root, name, ".."), { recursive: true });
      await Deno.writeTextFile(join(root, name), text);
    }
    return await use(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("protocol, gateway and plugin-host keep apart; only main.ts sees both sides", async () => {
  const seen = await imports(ROOT);
  // The check must have read something: each part is there, and imports of both kinds were found.
  assert(seen.some(({ from, to }) => partOf(from) === "gateway" && partOf(to) === "gateway"));
  assert(seen.some(({ from, to }) => partOf(from) === "plugin-host" && partOf(to) === "protocol"));
  assertEquals(await violations(ROOT), []);
});

Deno.test("a tree that keeps the rules has no violation", async () => {
  assertEquals(await withTree({}, violations), []);
  assertEquals(await withTree({}, cycles), []);
});

const PLANTED: readonly [file: string, text: string, violation: string][] = [
  ["gateway/x.ts", 'import "../plugin-host/c.ts";', "gateway/x.ts imports plugin-host/c.ts"],
  [
    "gateway/x.ts",
    'import type { C } from "../plugin-host/c.ts"; export type X = C;',
    "gateway/x.ts imports plugin-host/c.ts",
  ],
  [
    "gateway/x.ts",
    'export type { C } from "../plugin-host/c.ts";',
    "gateway/x.ts imports plugin-host/c.ts",
  ],
  ["gateway/x.ts", 'export * from "../plugin-host/c.ts";', "gateway/x.ts imports plugin-host/c.ts"],
  ["gateway/x.ts", 'await import("../plugin-host/c.ts");', "gateway/x.ts imports plugin-host/c.ts"],
  [
    "gateway/x.ts",
    'export type X = import("../plugin-host/c.ts").C;',
    "gateway/x.ts imports plugin-host/c.ts",
  ],
  [
    "gateway/x.ts",
    'console.log(import.meta.resolve("../plugin-host/c.ts"));',
    "gateway/x.ts names a path in plugin-host/",
  ],
  ["gateway/x.ts", 'import "../main.ts";', "gateway/x.ts imports main.ts"],
  ["plugin-host/x/y.ts", 'import "../../gateway/a.ts";', "plugin-host/x/y.ts imports gateway/a.ts"],
  [
    "plugin-host/x.ts",
    'new Worker(new URL("../gateway/a.ts", import.meta.url), { type: "module" });',
    "plugin-host/x.ts names a path in gateway/",
  ],
  ["protocol/x.ts", 'import "../gateway/a.ts";', "protocol/x.ts imports gateway/a.ts"],
  [
    "protocol/x.ts",
    'import type { C } from "../plugin-host/c.ts";',
    "protocol/x.ts imports plugin-host/c.ts",
  ],
  ["protocol/x.ts", "export const pid = Deno.pid;", "protocol/x.ts names Deno"],
  ["protocol/x.ts", 'export const d = globalThis["Deno"];', "protocol/x.ts names Deno"],
];

for (const [file, text, violation] of PLANTED) {
  Deno.test(`the boundary check bites: ${file} with ${text}`, async () => {
    const found = await withTree({ [file]: text }, violations);
    assert(found.includes(violation), `found ${JSON.stringify(found)}`);
    assert(found.every((each) => each.startsWith(file)), `found ${JSON.stringify(found)}`);
  });
}

Deno.test("there are no import cycles within a part", async () => {
  assertEquals(await cycles(ROOT), []);
});

Deno.test("the cycle check bites", async () => {
  const planted = {
    "gateway/x.ts": 'import "./y.ts"; import "../protocol/frame.ts";',
    "gateway/y.ts": 'export type { Z } from "./deep/z.ts";',
    "gateway/deep/z.ts": 'import type * as x from "../x.ts"; export type Z = typeof x;',
    "plugin-host/self.ts": 'import "./self.ts";',
  };
  assertEquals(await withTree(planted, cycles), [
    "gateway/deep/z.ts -> gateway/x.ts -> gateway/y.ts -> gateway/deep/z.ts",
    "plugin-host/self.ts -> plugin-host/self.ts",
  ]);
});
