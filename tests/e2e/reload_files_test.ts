import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { writeFiles } from "../support/conduit.ts";
import { echoUpstream } from "../support/echo_upstream.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";

/** A plugin that adds its text to `x-passed`. */
function plugin(text: string): string {
  return `export default {
    readsBodies: false,
    afterResponse(ctx) { ctx.response.appendHeader("x-passed", ${JSON.stringify(text)}); },
  };`;
}

async function passed(gateway: TestGateway): Promise<string> {
  const response = await gateway.fetch("/x");
  await response.body?.cancel();
  assertEquals(response.status, 200);
  return response.headers.get("x-passed") ?? "";
}

function live(gateway: TestGateway, text: string): Promise<boolean> {
  return gateway.until(async () => await passed(gateway) === text, {
    what: `the response to pass "${text}"`,
  });
}

function reloads(gateway: TestGateway): number {
  return gateway.logs.filter((each) => each.message === "plugins reloaded").length;
}

interface Change {
  readonly name: string;
  readonly change: (dir: string) => Promise<void>;
  /** `x-passed` after it; before it is "one, two". */
  readonly gives: string;
}

const CHANGES: readonly Change[] = [
  {
    name: "a plugin file is deleted",
    change: (dir) => Deno.remove(join(dir, "001-a.ts")),
    gives: "two",
  },
  {
    name: "a plugin file is added, in its place in the order",
    change: (dir) => Deno.writeTextFile(join(dir, "000-zero.js"), plugin("zero")),
    gives: "zero, one, two",
  },
  {
    name: "a plugin file is renamed, which changes the order",
    change: (dir) => Deno.rename(join(dir, "001-a.ts"), join(dir, "003-a.ts")),
    gives: "two, one",
  },
  {
    name: "a plugin file is switched off by an underscore",
    change: (dir) => Deno.rename(join(dir, "001-a.ts"), join(dir, "_001-a.ts")),
    gives: "two",
  },
  {
    name: "an editor saves by rename, over the file",
    change: async (dir) => {
      await Deno.rename(join(dir, "001-a.ts"), join(dir, ".001-a.ts~"));
      await Deno.writeTextFile(join(dir, "4913"), "");
      await Deno.remove(join(dir, "4913"));
      await Deno.writeTextFile(join(dir, "001-a.ts"), plugin("new"));
      await Deno.remove(join(dir, ".001-a.ts~"));
    },
    gives: "new, two",
  },
  {
    name: "a helper in a folder below is changed, which did not exist before",
    change: (dir) =>
      writeFiles(dir, {
        "_lib/deep/text.ts": `export default "helped";`,
        "001-a.ts": `import text from "./_lib/deep/text.ts";\n${plugin("")}`.replace('""', "text"),
      }),
    gives: "helped, two",
  },
  {
    name: "the folder is replaced by another one",
    change: async (dir) => {
      await writeFiles(`${dir}.new`, { "009-z.ts": plugin("replaced") });
      await Deno.rename(dir, `${dir}.old`);
      await Deno.rename(`${dir}.new`, dir);
    },
    gives: "replaced",
  },
  {
    name: "saves follow each other so quickly that none settles; the last one counts",
    change: async (dir) => {
      for (let save = 0; save <= 60; save++) {
        await Deno.writeTextFile(join(dir, "001-a.ts"), plugin(`save ${save}`));
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    gives: "save 60, two",
  },
];

async function twoPlugins(upstream: { readonly url: string }): Promise<TestGateway> {
  const gateway = await testGateway({
    config: { pluginPoolSize: 1, routes: [{ path: "/*", upstream: upstream.url }] },
    plugins: { "001-a.ts": plugin("one"), "002-b.ts": plugin("two") },
  });
  assertEquals(await passed(gateway), "one, two");
  return gateway;
}

for (const { name, change, gives } of CHANGES) {
  Deno.test(`reload: ${name}`, async () => {
    await using upstream = echoUpstream();
    await using gateway = await twoPlugins(upstream);
    await change(join(gateway.dir, "plugins"));
    await live(gateway, gives);
    // And it goes on noticing.
    await gateway.savePlugin("000-last.ts", plugin("last"));
    await live(gateway, `last, ${gives}`);
  });
}

Deno.test("reload: somebody who saves without a pause sees the saves go live meanwhile", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoPlugins(upstream);
  const state = { saves: 0, done: false };
  const saving = (async () => {
    while (!state.done) {
      await gateway.savePlugin("001-a.ts", plugin(`save ${++state.saves}`));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  try {
    await gateway.until(() => reloads(gateway) >= 2, { what: "two reloads" });
  } finally {
    state.done = true;
    await saving;
  }
  await live(gateway, `save ${state.saves}, two`);
});

Deno.test("reload: identical content, a test file, a hidden file and node_modules are no new generation", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoPlugins(upstream);
  for (let count = 0; count < 3; count++) {
    await gateway.savePlugin("001-a.ts", plugin("one"));
    // Time for it to be looked at by itself; too little of it could only hide a mistake.
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await gateway.savePlugin("001-a_test.ts", "broken (");
  await gateway.savePlugin(".hidden.ts", "broken (");
  await writeFiles(join(gateway.dir, "plugins"), { "node_modules/x/001-x.ts": "broken (" });
  // A change that counts, later than all of those: when it is live, they have been seen.
  await gateway.savePlugin("002-b.ts", plugin("seen"));
  await live(gateway, "one, seen");
  await gateway.until(() => reloads(gateway) >= 1, { what: "the log to say so" });
  assertEquals(reloads(gateway), 1);
  await gateway.savePlugin("002-b.ts", plugin("two"));
  await live(gateway, "one, two");
  await gateway.until(() => reloads(gateway) >= 2, { what: "the log to say so again" });
  assertEquals(reloads(gateway), 2, "content that was there before is loaded again");
});

Deno.test("reload: pluginsDir is a link that is re-pointed, and later a link of links as Kubernetes mounts it", async () => {
  await using upstream = echoUpstream();
  const dir = await Deno.makeTempDir({ prefix: "conduit-test-" });
  const repoint = async (link: string, target: string) => {
    await Deno.symlink(target, `${link}.tmp`);
    await Deno.rename(`${link}.tmp`, link);
  };
  try {
    for (const version of ["v1", "v2", "v3"]) {
      await writeFiles(join(dir, version), { "001-a.ts": plugin(version) });
    }
    await Deno.symlink("v1", join(dir, "current"));
    await using gateway = await testGateway({
      config: {
        pluginsDir: join(dir, "current"),
        routes: [{ path: "/*", upstream: upstream.url }],
      },
    });
    assertEquals(await passed(gateway), "v1");
    await repoint(join(dir, "current"), "v2");
    await live(gateway, "v2");
    await Deno.writeTextFile(join(dir, "v2", "001-a.ts"), plugin("v2 changed"));
    await live(gateway, "v2 changed");

    // A ConfigMap volume: the files are links into `..data`, which is the link that moves.
    const volume = join(dir, "volume");
    await Deno.mkdir(volume);
    await Deno.symlink("../v1", join(volume, "..data"));
    await Deno.symlink("..data/001-a.ts", join(volume, "001-a.ts"));
    await repoint(join(dir, "current"), "volume");
    await live(gateway, "v1");
    await repoint(join(volume, "..data"), "../v3");
    await live(gateway, "v3");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("reload: while the folder is away what runs goes on, the log says so once, and its return is noticed", async () => {
  await using upstream = echoUpstream();
  await using gateway = await twoPlugins(upstream);
  const dir = join(gateway.dir, "plugins");
  await Deno.rename(dir, `${dir}.away`);
  const line = await gateway.waitForLog((each) =>
    each.message === "cannot read the plugins folder"
  );
  assert(String(line.error).includes("is not a folder"), String(line.error));
  assertEquals(await passed(gateway), "one, two");
  await Deno.writeTextFile(join(`${dir}.away`, "001-a.ts"), plugin("back"));
  await Deno.rename(`${dir}.away`, dir);
  await live(gateway, "back, two");
  const told = gateway.logs.filter((each) => each.message === "cannot read the plugins folder");
  assertEquals(told.length, 1);
});
