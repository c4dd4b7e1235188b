import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { copyPlugins, PluginsDirError, pruneCompiled } from "../../gateway/plugin_files.ts";
import { scratch, writeFiles } from "../support/conduit.ts";

const FILES = { "plugins/001-a.ts": "a", "plugins/_lib/deep/b.ts": "b", "copies/.keep": "" };

async function copied(dir: string, to = "copies") {
  return await copyPlugins(join(dir, "plugins"), join(dir, to));
}

function names(dir: string): string[] {
  return [...Deno.readDirSync(dir)].map((each) => each.name).sort();
}

Deno.test("a copy has every file of the folder, folders below included, with its SHA-256", async () => {
  await using dir = await scratch(FILES);
  const { path, dirUrl, files, hash } = await copied(dir.path);
  assertEquals(await Deno.readTextFile(join(path, "001-a.ts")), "a");
  assertEquals(await Deno.readTextFile(join(path, "_lib/deep/b.ts")), "b");
  assertEquals(files, {
    "001-a.ts": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    "_lib/deep/b.ts": "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
  });
  assertEquals(dirUrl, `file://${path}/`);
  assert(path.endsWith(hash));
});

Deno.test("tests, hidden files, node_modules, dangling links and what is neither file nor folder stay out", async () => {
  await using dir = await scratch({
    ...FILES,
    "plugins/001-a_test.ts": "",
    "plugins/001-a.test.ts": "",
    "plugins/.secret": "",
    "plugins/.git/config": "",
    "plugins/node_modules/x/index.js": "",
  });
  await Deno.symlink("nowhere", join(dir.path, "plugins/_dangling.ts"));
  using _socket = Deno.listen({ transport: "unix", path: join(dir.path, "plugins/x.sock") });
  assertEquals(Object.keys((await copied(dir.path)).files), ["001-a.ts", "_lib/deep/b.ts"]);
});

Deno.test("links are followed, once for each ring", async () => {
  await using dir = await scratch({ ...FILES, "elsewhere/c.ts": "c" });
  await Deno.symlink("../elsewhere/c.ts", join(dir.path, "plugins/c.ts"));
  await Deno.symlink("../elsewhere", join(dir.path, "plugins/d"));
  await Deno.symlink(".", join(dir.path, "plugins/ring"));
  await Deno.symlink("..", join(dir.path, "plugins/_lib/ring"));
  assertEquals(Object.keys((await copied(dir.path)).files), [
    "001-a.ts",
    "_lib/deep/b.ts",
    "c.ts",
    "d/c.ts",
  ]);
});

Deno.test("the hash tells contents and names apart, and nothing else", async () => {
  await using dir = await scratch(FILES);
  const first = await copied(dir.path);
  await Deno.writeTextFile(join(dir.path, "plugins/001-a.ts"), "a");
  assertEquals(await copied(dir.path), first);
  const hashes = new Set([first.hash]);
  for (
    const change of [
      () => Deno.writeTextFile(join(dir.path, "plugins/001-a.ts"), "A"),
      () => Deno.rename(join(dir.path, "plugins/001-a.ts"), join(dir.path, "plugins/002-a.ts")),
      () => Deno.remove(join(dir.path, "plugins/002-a.ts")),
    ]
  ) {
    await change();
    hashes.add((await copied(dir.path)).hash);
  }
  assertEquals(hashes.size, 4);
  assertEquals(names(join(dir.path, "copies")), [".keep", ...hashes].sort());
});

Deno.test("a copy that cannot be written leaves nothing behind", async () => {
  await using dir = await scratch(FILES);
  const { hash, path } = await copied(dir.path);
  await Deno.remove(path, { recursive: true });
  // A link to nowhere is not there for a look, and cannot be renamed over.
  await Deno.symlink("nowhere/at/all", path);
  const reasons: string[] = [];
  for (let times = 0; times < 2; times++) {
    const error = await assertRejects(() => copied(dir.path), PluginsDirError, "cannot be copied");
    reasons.push(error.message);
  }
  assertEquals(reasons[0], reasons[1], "the log has one reason once");
  assertEquals(names(join(dir.path, "copies")), [".keep", hash]);
});

const REFUSED:
  readonly (readonly [what: string, says: string, prepare: (dir: string) => unknown])[] = [
    ["that is not there", "is not a folder; create it", () => {}],
    ["that is a file", "is not a folder; create it", (dir) => Deno.writeTextFile(dir, "")],
    ["with too many files", "holds more than 2000 files", async (dir) => {
      await Deno.mkdir(dir);
      await Promise.all(
        Array.from(
          { length: 2001 },
          (_, index) => Deno.writeTextFile(join(dir, `_${index}.ts`), ""),
        ),
      );
    }],
    ["with a link to nothing for a plugin", 'holds "001-a.ts", which is no file', async (dir) => {
      await Deno.mkdir(dir);
      await Deno.symlink("nowhere", join(dir, "001-a.ts"));
    }],
    ["with a link to itself for a plugin", 'holds "001-a.ts", which is no file', async (dir) => {
      await Deno.mkdir(dir);
      await Deno.symlink("001-a.ts", join(dir, "001-a.ts"));
    }],
    ["with a FIFO for a plugin", 'holds "001-a.ts", which is no file', async (dir) => {
      await Deno.mkdir(dir);
      await new Deno.Command("mkfifo", { args: [join(dir, "001-a.ts")] }).output();
    }],
    ["with a plugin whose name is not Unicode", 'holds "001-\ufffd.ts", which', async (dir) => {
      await Deno.mkdir(dir);
      const script = `: > "$0"/001-$(printf '\\377').ts`;
      const { success } = await new Deno.Command("sh", { args: ["-c", script, dir] }).output();
      assert(success);
    }],
    ["with a plugin in Latin-1", 'holds "001-a.ts", which is not UTF-8 text', async (dir) => {
      await Deno.mkdir(dir);
      await Deno.writeFile(join(dir, "001-a.ts"), new Uint8Array([0x22, 0xe4, 0x22]));
    }],
    ["with a plugin in UTF-16", 'holds "001-a.ts", which is not UTF-8 text', async (dir) => {
      await Deno.mkdir(dir);
      await Deno.writeFile(join(dir, "001-a.ts"), new Uint8Array([0xff, 0xfe, 0x41, 0]));
    }],
    // Sparse: its size is what counts, and it is not read for that.
    ["with too much in it", "67108864 bytes", async (dir) => {
      await Deno.mkdir(dir);
      using file = await Deno.create(join(dir, "_big"));
      await file.truncate(2 ** 40);
    }],
  ];
for (const [what, says, prepare] of REFUSED) {
  Deno.test(`a plugins folder ${what} is refused by its name`, async () => {
    await using dir = await scratch({ "copies/.keep": "" });
    await prepare(join(dir.path, "plugins"));
    const error = await assertRejects(() => copied(dir.path), PluginsDirError, says);
    assert(error.message.startsWith(`pluginsDir: "${dir.path}/plugins" `), error.message);
    assertEquals(names(join(dir.path, "copies")), [".keep"]);
  });
}

Deno.test("files that come and go while the folder is read are no error, and the folder is not said to be gone", async () => {
  await using dir = await scratch(FILES);
  const state = { done: false, renames: 0 };
  const churning = (async () => {
    const at = (name: string) => join(dir.path, "plugins", name);
    for (; !state.done; state.renames++) {
      await Deno.writeTextFile(at(`${state.renames}.tmp`), "x");
      await Deno.rename(at(`${state.renames}.tmp`), at("_data"));
      await Deno.remove(at("_lib"), { recursive: true });
      await writeFiles(dir.path, FILES);
    }
  })();
  try {
    for (let reads = 0; reads < 200; reads++) {
      const { files } = await copied(dir.path);
      assert("001-a.ts" in files);
    }
  } finally {
    state.done = true;
    await churning;
  }
  assert(state.renames > 10, "nothing changed meanwhile");
});

Deno.test("what was compiled of a copy goes with the copy", async () => {
  await using dir = await scratch(FILES);
  const { path, hash } = await copied(dir.path);
  const [root, denoDir] = [join(dir.path, "copies"), join(dir.path, "deno")];
  await pruneCompiled(denoDir, root); // nothing has been compiled yet
  const compiled = join(denoDir, "gen/file", root);
  await writeFiles(compiled, { [`${hash}/001-a.ts.js`]: "", "gone/001-a.ts.js": "" });
  await pruneCompiled(denoDir, root);
  assertEquals(names(compiled), [hash]);
  await Deno.remove(path, { recursive: true });
  await pruneCompiled(denoDir, root);
  assertEquals(names(compiled), []);
});
