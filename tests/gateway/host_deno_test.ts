/**
 * Which Deno runs the plugin host of an executable. What the executable brings along is here a program that says the same as Deno when
 * it is asked for its version, and nothing else; `tests/e2e/packaged_test.ts` has the real one.
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { join, toFileUrl } from "@std/path";
import { hostDeno, HostDenoError } from "../../gateway/host_deno.ts";
import type { Log } from "../../gateway/log.ts";
import type { ShippedDeno } from "../../gateway/shipped.ts";
import { scratch } from "../support/conduit.ts";

const VERSION = Deno.version.deno;
const program = (version: string, note = "") => `#!/bin/sh\necho "deno ${version} (test)"${note}\n`;
const OURS = program(VERSION, " # brought along");
const NAME = `deno-${VERSION}-${sha256(OURS).slice(0, 16)}`;

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

type Notes = [Log["debug"], Log["info"], Log["warn"], Log["error"]];

/** A folder with a `conduit`, and a home; `choose` asks for the Deno as that program would. */
async function machine(
  { slim = false, text = OURS }: { readonly slim?: boolean; readonly text?: string } = {},
) {
  const dir = await scratch({ "bin/conduit": "" });
  const path = (name: string) => join(dir.path, name);
  const archive = path("deno.zst");
  await Deno.writeFile(archive, zstdCompressSync(new TextEncoder().encode(text)));
  const shipped: ShippedDeno = {
    version: VERSION,
    sha256: sha256(OURS),
    sizeBytes: OURS.length,
    ...(slim ? {} : { archive: toFileUrl(archive) }),
  };
  const lines: string[] = [];
  const note = (level: string) => (message: string, fields: object = {}) => {
    lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  };
  const [debug, info, warn, error] = ["debug", "info", "warn", "error"].map(note) as Notes;
  const log: Log = { debug, info, warn, error };
  const choose = (env: Readonly<Record<string, string>>, from: ShippedDeno | null = shipped) =>
    hostDeno({
      env: (name) => env[name],
      log,
      executable: path("bin/conduit"),
      shipped: from ?? undefined,
    });
  const put = async (name: string, text: string) => {
    await Deno.mkdir(join(path(name), ".."), { recursive: true, mode: 0o700 });
    await Deno.writeTextFile(path(name), text, { mode: 0o700 });
    return path(name);
  };
  return { dir, path, choose, put, lines, [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose]() };
}

Deno.test("CONDUIT_DENO goes first, then what runs the source", async () => {
  await using it = await machine();
  await it.put("bin/deno", program(VERSION));
  const chosen = await it.put("chosen", program(VERSION));
  assertEquals(await it.choose({ CONDUIT_DENO: chosen }), chosen);
  assertEquals(await it.choose({ CONDUIT_DENO: chosen }, null), chosen);
  assertEquals(await it.choose({ CONDUIT_DENO: "" }, null), it.path("bin/conduit"));
});

Deno.test("an executable takes what lies beside it, then the cache, then what it brings along, then PATH", async () => {
  await using it = await machine();
  const beside = await it.put("bin/deno", program(VERSION));
  const inPath = await it.put("path/deno", program(VERSION));
  const inHome = await it.put(`home/.cache/conduit/${NAME}`, OURS);
  const env = {
    CACHE_DIRECTORY: it.path("cache:/nonexistent"),
    XDG_CACHE_HOME: it.path("xdg"),
    HOME: it.path("home"),
    PATH: `relative:${it.path("empty")}:${it.path("path")}`,
  };
  assertEquals(await it.choose(env), beside);
  await it.put("bin/deno", program("1.0.0"));
  assertEquals(await it.choose(env), inHome, "a copy anywhere is taken before another one is made");
  await Deno.remove(inHome);
  assertEquals(it.lines, []);
  const unpacked = it.path(`cache/${NAME}`);
  assertEquals(await it.choose(env), unpacked);
  assertMatch(
    it.lines.join(),
    /^info Deno is unpacked for the plugin host {"path":"\S+","durationMs":\d+}$/,
  );
  assertEquals(await Deno.readTextFile(unpacked), OURS);
  assertEquals((await Deno.stat(unpacked)).mode! & 0o777, 0o700);
  assertEquals((await Deno.stat(it.path("cache"))).mode! & 0o777, 0o700);
  assertEquals(await it.choose(env), unpacked);
  assertEquals(it.lines.length, 1, "it is unpacked once");

  await using slim = await machine({ slim: true });
  assertEquals(
    await slim.choose(env),
    unpacked,
    "a slim one may use what a whole one has unpacked",
  );
  await Deno.remove(unpacked);
  assertEquals(await slim.choose(env), inPath);
  assertMatch(
    slim.lines.join(),
    /^warn the plugin host runs on the Deno of PATH {"path":"\S+\/path\/deno"}$/,
  );
});

Deno.test("the cache is CACHE_DIRECTORY, XDG_CACHE_HOME or HOME: the first that takes it and runs it, and none below the working directory", async () => {
  await using it = await machine();
  await it.put("file", "");
  const env = {
    CACHE_DIRECTORY: it.path("file"),
    XDG_CACHE_HOME: "relative",
    HOME: it.path("home"),
  };
  assertEquals(await it.choose(env), it.path(`home/.cache/conduit/${NAME}`));
  assertEquals(
    await it.choose({ ...env, XDG_CACHE_HOME: it.path("xdg"), HOME: "" }),
    it.path(`xdg/conduit/${NAME}`),
  );
});

const DAMAGES:
  readonly (readonly [what: string, damage: (path: string) => Promise<unknown>, reason: string])[] =
    [
      [
        "tampered with",
        (path) => Deno.writeTextFile(path, OURS.replace("along", "alone")),
        "has another SHA-256",
      ],
      ["truncated", (path) => Deno.truncate(path, 10), `has 10 bytes and not ${OURS.length}`],
      ["empty", (path) => Deno.truncate(path), `has 0 bytes and not ${OURS.length}`],
      ["not executable", (path) => Deno.chmod(path, 0o600), "is not executable"],
      ["writable for others", (path) => Deno.chmod(path, 0o722), "others may write to it"],
      [
        "a link to another program",
        async (path) => {
          await Deno.remove(path);
          await Deno.symlink("/bin/true", path);
        },
        "is no file",
      ],
    ];
for (const [what, damage, reason] of DAMAGES) {
  Deno.test(`a Deno in the cache that is ${what} is not run: the log says why, and it is replaced`, async () => {
    await using it = await machine();
    const env = { HOME: it.path("home") };
    const path = await it.choose(env);
    await damage(path);
    assertEquals(await it.choose(env), path);
    const { isFile, mode } = await Deno.lstat(path);
    assertEquals({ isFile, mode: mode! & 0o777, text: await Deno.readTextFile(path) }, {
      isFile: true,
      mode: 0o700,
      text: OURS,
    });
    const [, warning = "", again = ""] = it.lines;
    const fields = JSON.stringify({ folder: it.path("home/.cache/conduit"), reason });
    assertEquals(warning, `warn the Deno in the cache is not used ${fields}`);
    assertMatch(again, /Deno is unpacked/);
  });
}

Deno.test("a folder of the cache that others may write to, or that is another user's, is passed over", async () => {
  await using it = await machine();
  for (const name of ["cache", "xdg/conduit"]) await Deno.mkdir(it.path(name), { recursive: true });
  await Deno.chmod(it.path("cache"), 0o777);
  if (Deno.uid() === 0) await Deno.chown(it.path("xdg/conduit"), 4321, 4321);
  else await Deno.chmod(it.path("xdg/conduit"), 0o770);
  const env = {
    CACHE_DIRECTORY: it.path("cache"),
    XDG_CACHE_HOME: it.path("xdg"),
    HOME: it.path("home"),
  };
  assertEquals(await it.choose(env), it.path(`home/.cache/conduit/${NAME}`));
});

Deno.test("a folder of the cache that is a link, as systemd's may be, is judged by what it leads to", async () => {
  await using it = await machine();
  for (const [name, mode] of [["private", 0o700], ["open", 0o777]] as const) {
    await Deno.mkdir(it.path(name));
    await Deno.chmod(it.path(name), mode);
    await Deno.symlink(name, it.path(`to-${name}`));
  }
  const home = { HOME: it.path("home") };
  const inHome = it.path(`home/.cache/conduit/${NAME}`);
  assertEquals(await it.choose({ ...home, CACHE_DIRECTORY: it.path("to-open") }), inHome);
  await Deno.remove(inHome);
  const linked = it.path(`to-private/${NAME}`);
  assertEquals(await it.choose({ ...home, CACHE_DIRECTORY: it.path("to-private") }), linked);
  assertEquals(await Deno.readTextFile(it.path(`private/${NAME}`)), OURS);
});

Deno.test("many starts at the same time leave one whole copy, and nothing beside it", async () => {
  await using it = await machine();
  const env = { HOME: it.path("home") };
  const all = await Promise.all(Array.from({ length: 8 }, () => it.choose(env)));
  assertEquals([...new Set(all)], [it.path(`home/.cache/conduit/${NAME}`)]);
  assertEquals(await Deno.readTextFile(all[0] ?? ""), OURS);
  assertEquals((await Array.fromAsync(Deno.readDir(it.path("home/.cache/conduit")))).length, 1);
});

Deno.test("a draft that a killed start left behind is removed, and one that is being written is not", async () => {
  await using it = await machine();
  const left = await it.put(`home/.cache/conduit/${NAME}.a.draft`, "half");
  const current = await it.put(`home/.cache/conduit/${NAME}.b.draft`, "half");
  const anHourAgo = new Date(Date.now() - 3_600_000);
  await Deno.utime(left, anHourAgo, anHourAgo);
  await it.choose({ HOME: it.path("home") });
  await assertRejects(() => Deno.stat(left), Deno.errors.NotFound);
  assert((await Deno.stat(current)).isFile);
});

Deno.test("an executable whose own copy is damaged does not run it", async () => {
  await using it = await machine({ text: OURS.replace("along", "alone") });
  const error = await assertRejects(() => it.choose({ HOME: it.path("home") }), HostDenoError);
  assertMatch(
    (error as Error).message,
    /\/home\/\.cache\/conduit": what this executable brings along is damaged/,
  );
  assertEquals(await Array.fromAsync(Deno.readDir(it.path("home/.cache/conduit"))), []);
});

Deno.test("without a Deno and without a place for one, the error names every folder, its reason and every remedy", async () => {
  await using it = await machine();
  await it.put("file", "");
  const env = { CACHE_DIRECTORY: it.path("file"), HOME: "/proc/nonexistent", PATH: it.path("bin") };
  const error = await assertRejects(() => it.choose(env), HostDenoError) as Error;
  const lines = error.message.split("\n");
  assertEquals(lines.length, 5);
  assertEquals(
    lines[0],
    `there is no Deno ${VERSION} to run the plugin host, and none can be unpacked:`,
  );
  assertMatch(lines[1] ?? "", /^ {2}".*\/file": File exists/);
  assertMatch(lines[2] ?? "", /^ {2}"\/proc\/nonexistent\/\.cache\/conduit": No such file/);
  assertEquals(
    lines.slice(3),
    [
      `let CONDUIT_DENO name one, put one beside "${it.path("bin/conduit")}" as "deno",`,
      "let CACHE_DIRECTORY or XDG_CACHE_HOME name a folder that this user may write to and run programs from, or put one on PATH",
    ],
  );
  const bare = await assertRejects(() => it.choose({}), HostDenoError) as Error;
  assertMatch(bare.message, /none of CACHE_DIRECTORY, XDG_CACHE_HOME and HOME is set/);
  await using slim = await machine({ slim: true });
  const without = await assertRejects(() => slim.choose(env), HostDenoError) as Error;
  assertEquals(
    without.message,
    `there is no Deno ${VERSION} to run the plugin host\n` +
      `let CONDUIT_DENO name one, put one beside "${
        slim.path("bin/conduit")
      }" as "deno", or put one on PATH`,
  );
});

/** A file system on which nothing can be run; `undefined` where this user may not mount one. */
async function noexecMount(): Promise<(AsyncDisposable & { readonly path: string }) | undefined> {
  const path = await Deno.makeTempDir({ prefix: "conduit-test-" });
  const run = async (command: string, ...args: string[]) =>
    await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output()
      .then(({ success }) => success, () => false);
  const isMounted = Deno.uid() === 0 &&
    await run("mount", "-t", "tmpfs", "-o", "noexec,size=1m,mode=0700", "tmpfs", path);
  if (!isMounted) {
    await Deno.remove(path);
    return undefined;
  }
  return {
    path,
    async [Symbol.asyncDispose]() {
      await run("umount", path);
      await Deno.remove(path);
    },
  };
}

const mount = await noexecMount();
Deno.test({
  name: `a cache that is mounted noexec is passed over, also with a whole copy in it${
    mount ? "" : " (ignored: this user may not mount a file system)"
  }`,
  ignore: mount === undefined,
  async fn() {
    if (!mount) return;
    await using folder = mount;
    await using it = await machine();
    const env = { CACHE_DIRECTORY: folder.path, HOME: it.path("home") };
    assertEquals(await it.choose(env), it.path(`home/.cache/conduit/${NAME}`));
    await Deno.copyFile(it.path(`home/.cache/conduit/${NAME}`), join(folder.path, NAME));
    assertEquals(await it.choose(env), it.path(`home/.cache/conduit/${NAME}`));
    assertMatch(
      it.lines.join(""),
      /the Deno in the cache is not used .*programs there cannot be run: /,
    );
    const error = await assertRejects(
      () => it.choose({ CACHE_DIRECTORY: folder.path }),
      HostDenoError,
    ) as Error;
    assertMatch(error.message, /programs there cannot be run: Permission denied/);
  },
});
