/** `conduit schema`: what it prints is JSON Schema, knows every key, and takes what the gateway takes. */
import { assert, assertEquals } from "@std/assert";
import { Ajv2020 } from "ajv";
import { join } from "@std/path";
import { ConfigError, loadConfig } from "../../gateway/config.ts";
import { conduit, configText, scratch } from "../support/conduit.ts";
import { codeBlocks, readDoc, tableRows } from "../support/prose.ts";

const printed = conduit(["schema"]);

async function accepts(text: string): Promise<boolean> {
  const validate = new Ajv2020({ allErrors: true }).compile(JSON.parse((await printed).stdout));
  return validate(JSON.parse(text));
}

/** Whether the gateway takes it; what depends on this machine apart. */
async function starts(text: string): Promise<boolean> {
  await using dir = await scratch({ "conduit.config.json": text });
  return await loadConfig(join(dir.path, "conduit.config.json"), { env: () => "debug" }).then(
    () => true,
    (error) => {
      assert(error instanceof ConfigError);
      return false;
    },
  );
}

Deno.test("conduit schema prints JSON Schema of draft 2020-12 and nothing else", async () => {
  const { code, stdout, stderr } = await printed;
  assertEquals([code, stderr], [0, ""]);
  const schema = JSON.parse(stdout);
  assertEquals(schema.$schema, "https://json-schema.org/draft/2020-12/schema");
  assert(new Ajv2020().validateSchema(schema));
});

/** Every key below a schema as `docs/configuration.md` writes it: `routes[].path`. */
function keysOf(schema: Schema, prefix = ""): string[] {
  const { properties = {}, items, anyOf = [], oneOf = [] } = schema;
  return [
    ...Object.entries(properties).flatMap(([name, below]) => [
      prefix + name,
      ...keysOf(below, `${prefix}${name}.`),
    ]),
    ...(items ? keysOf(items, `${prefix.slice(0, -1)}[].`) : []),
    ...[...anyOf, ...oneOf].flatMap((form) => keysOf(form, prefix)),
  ];
}

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
}

Deno.test("conduit schema has every key of docs/configuration.md, and no other", async () => {
  const [gateway = "", route = ""] = (await readDoc("docs/configuration.md"))
    .split("<!-- generated: ").slice(1).map((part) => part.slice(0, part.indexOf("<!-- end -->")));
  const keys = (table: string) => tableRows(table).map(([key = ""]) => key);
  const told = [...keys(gateway), "routes", ...keys(route).map((key) => `routes[].${key}`)];
  const known = keysOf(JSON.parse((await printed).stdout));
  assertEquals([...new Set(known)].sort(), [...new Set(told)].sort());
});

Deno.test("conduit schema takes the configurations of the examples and the documents", async () => {
  const texts = [
    await readDoc("examples/init/conduit.config.json"),
    await readDoc("examples/three-services/conduit.config.json"),
    await readDoc("examples/three-services/compose.config.json"),
  ];
  for (
    const doc of ["README.md", "docs/configuration.md", "docs/plugins.md", "docs/migrating.md"]
  ) {
    const blocks = codeBlocks(await readDoc(doc), "json");
    texts.push(
      ...blocks.filter(({ text, info }) => /"routes"/.test(text) && info !== "mistakes")
        .map(({ text }) => text),
    );
  }
  assert(texts.length >= 4);
  for (const text of texts) assert(await accepts(text), text);
});

const CASES: readonly (readonly [changes: Readonly<Record<string, unknown>>, isWell: boolean])[] = [
  [{ $schema: "./conduit.schema.json" }, true],
  [{ log: { level: "${LEVEL}" } }, true],
  [{ log: { level: "$LEVEL" } }, false],
  [{ processes: "auto" }, true],
  [{ processes: "all" }, false],
  [{ cors: "passthrough" }, true],
  [{ cors: { allowedOrigin: [] } }, false],
  [{ hookTimeout: 50 }, false],
  [{ hookTimeoutMs: 0 }, false],
  [{ admin: false }, true],
  [{ admin: true }, false],
  [{ services: { cache: { driver: "redis", url: "redis://127.0.0.1:1" } } }, true],
  [{ services: { cache: { driver: "redis" } } }, false],
  [{ services: { cache: { driver: "disk" } } }, false],
  [{ routes: [] }, false],
  [{ routes: [{ path: "/*" }] }, false],
  [{ routes: [{ path: "/*", upstream: ["http://a", "http://b"], plugins: false }] }, true],
];
for (const [changes, isWell] of CASES) {
  const what = JSON.stringify(changes);
  Deno.test(`conduit schema and the gateway ${isWell ? "take" : "refuse"} ${what}`, async () => {
    const text = configText(changes);
    assertEquals({ schema: await accepts(text), gateway: await starts(text) }, {
      schema: isWell,
      gateway: isWell,
    });
  });
}
