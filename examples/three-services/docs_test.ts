import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import { loadConfig } from "../../gateway/config.ts";
import { Router } from "../../gateway/router.ts";
import { canonicalPath, PathError } from "../../protocol/path.ts";
import { codeBlocks, readDoc, ROOT, section, tableRows } from "../../tests/support/prose.ts";
import { CONFIG_FILE } from "./example.ts";
import vectors from "./hmac_vectors.json" with { type: "json" };
import { credentialFor } from "./plugins/_public_paths.ts";

const PAGE = "docs/migrating.md";
const README = "examples/three-services/README.md";
const NO_ENV = { env: () => undefined };

/** The one block of migrating.md with this name. */
async function block(language: string, name: string): Promise<string> {
  const blocks = codeBlocks(await readDoc(PAGE), language).filter(({ info }) => info === name);
  assertEquals(blocks.length, 1, name);
  return blocks[0]?.text ?? "";
}

Deno.test("migrating.md says what the ladder and these files make of each path", async () => {
  const { routes } = await loadConfig(CONFIG_FILE, NO_ENV);
  const router = new Router(routes);
  const services = new Map([[2001, "user-service"], [2002, "admin-service"], [
    2003,
    "chat-service",
  ]]);
  const now = (sent: string): string => {
    try {
      const { path, hasEncodedSlash } = canonicalPath(sent);
      if (hasEncodedSlash) return "400";
      const match = router.match({ path, method: "GET", host: "gateway.test" });
      if (match.kind !== "route") return "404";
      const { upstreams, plugins } = match.route;
      const needs = plugins.length === 0 ? "nothing" : credentialFor(path);
      return `${services.get(upstreams[0]?.port ?? 0)}, ${needs}`;
    } catch (error) {
      if (error instanceof PathError) return "400";
      throw error;
    }
  };
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, await block("ts", "ladder"));
    const { decide } = await import(toFileUrl(file).href) as { decide(path: string): string };
    const rows = tableRows(section(await readDoc(PAGE), "The ladder"));
    assert(rows.length > 10);
    const told = rows.map(([sent, ladder, files]) => [sent, ladder, files]);
    assertEquals(told, rows.map(([sent = ""]) => [sent, decide(sent), now(sent)]));
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("migrating.md shows the routes and the public paths of the example", async () => {
  const { routes } = JSON.parse(await Deno.readTextFile(CONFIG_FILE)) as {
    routes: readonly { path: string; upstream: string }[];
  };
  assertEquals(
    JSON.parse(await block("json", "routes")),
    routes.map(({ path, upstream }) => ({ path, upstream })),
  );
  const file = await readDoc("examples/three-services/plugins/_public_paths.ts");
  assertStringIncludes(file, await block("ts", "public-paths"));
});

for (const name of ["side-by-side", "one-moved"]) {
  Deno.test(`the configuration "${name}" in migrating.md is one, and differs only in what is moved`, async () => {
    const dir = await Deno.makeTempDir();
    try {
      const file = join(dir, "conduit.config.json");
      await Deno.writeTextFile(file, await block("json", name));
      const { routes } = await loadConfig(file, NO_ENV);
      assertEquals([routes[0]?.path, routes[0]?.plugins], ["/*", []]);
      assertEquals(routes[1]?.plugins, name === "one-moved" ? "all" : undefined);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

Deno.test("migrating.md and the example's README.md have no code that no test looks at", async () => {
  const named = codeBlocks(await readDoc(PAGE), "ts").concat(
    codeBlocks(await readDoc(PAGE), "json"),
  );
  assertEquals(named.map(({ info }) => info), [
    "ladder",
    "public-paths",
    "routes",
    "side-by-side",
    "one-moved",
  ]);
  assertEquals((await readDoc(PAGE)).match(/^```\w/gm)?.length, named.length);
  const [commands] = codeBlocks(await readDoc(README), "sh");
  assertEquals(commands?.text, "deno task dev\ndeno run -A examples/three-services/client.ts\n");
  assertEquals((await readDoc(README)).match(/^```\w/gm)?.length, 1 + vectors.length);
});

Deno.test("the example's README.md shows the HMAC vectors, and names files that are there", async () => {
  const text = await readDoc(README);
  const shown = codeBlocks(text, "text").map(({ text }) =>
    Object.fromEntries(
      [...text.matchAll(/^(\w+) +(.*)$/gm)].map(([, name, value]) => [name, value]),
    )
  );
  const expected = vectors.map(({ secret, body, stringToSign, signature }) => ({
    secret,
    body: JSON.stringify(body),
    signed: JSON.stringify(stringToSign),
    signature,
  }));
  assertEquals(shown, expected);
  const table = tableRows(text.slice(0, text.indexOf("## Sessions")));
  const files = table.flatMap(([names = ""]) => names.replaceAll("`", "").split(", "));
  assert(files.length > 10);
  for (const file of files) {
    const folder = file === "deno.lock" ? "plugins/" : "";
    assert((await Deno.stat(join(ROOT, "examples/three-services", folder + file))).isFile, file);
  }
});
