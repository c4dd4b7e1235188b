import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { makePrivateDir, PrivateDirError } from "../../gateway/private_dir.ts";
import { scratch, writeFiles } from "../support/conduit.ts";
import { ROOT } from "../support/gateway.ts";

type Env = Readonly<Record<string, string>>;

function make(env: Env) {
  return makePrivateDir((name) => env[name]);
}

function names(dir: string): string[] {
  return [...Deno.readDirSync(dir)].map((each) => each.name).sort();
}

Deno.test("the private folder is 0700, has a random name, and is gone after remove", async () => {
  await using dir = await scratch();
  const [a, b] = [await make({ TMPDIR: dir.path }), await make({ TMPDIR: dir.path })];
  assert(a.path !== b.path);
  for (const { path, socketPath } of [a, b]) {
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o700);
    assertEquals(socketPath, join(path, "host.sock"));
  }
  await a.remove();
  await b.remove();
  assertEquals(names(dir.path), []);
});

Deno.test("what removes old files passes over the private folder: it is locked, as tmpfiles.d(5) asks, until it is removed", async () => {
  await using dir = await scratch();
  const made = await make({ TMPDIR: dir.path });
  const tryLock = async () => {
    using folder = await Deno.open(made.path);
    return await folder.tryLock(true);
  };
  assertEquals(await tryLock(), false);
  await made.remove();
  await Deno.mkdir(made.path);
  assertEquals(await tryLock(), true);
});

const PLACES: readonly (readonly [env: Env, parent: string])[] = [
  [{ RUNTIME_DIRECTORY: "{dir}/a:{dir}/b", XDG_RUNTIME_DIR: "{dir}/b", TMPDIR: "{dir}/c" }, "a"],
  [{ RUNTIME_DIRECTORY: "", XDG_RUNTIME_DIR: "{dir}/b", TMPDIR: "{dir}/c" }, "b"],
  [{ XDG_RUNTIME_DIR: "{dir}/b", TMPDIR: "{dir}/c" }, "b"],
  [{ XDG_RUNTIME_DIR: "{dir}/none", TMPDIR: "{dir}/c" }, "c"],
  [{ TMPDIR: "{dir}/c" }, "c"],
];
for (const [env, parent] of PLACES) {
  Deno.test(`with ${JSON.stringify(env)} the private folder is in ${parent}`, async () => {
    await using dir = await scratch({ "a/.keep": "", "b/.keep": "", "c/.keep": "" });
    const filled = Object.entries(env).map(([name, value]) => [
      name,
      value.replaceAll("{dir}", dir.path),
    ]);
    const made = await make(Object.fromEntries(filled));
    assert(made.path.startsWith(join(dir.path, parent, "conduit-")), made.path);
    await made.remove();
  });
}

/** A process that makes a private folder below `parent`, prints its path and stays. */
async function holder(parent: string) {
  const code = `import { makePrivateDir } from "./gateway/private_dir.ts";
    console.log((await makePrivateDir(() => ${JSON.stringify(parent)})).path);
    setInterval(() => {}, 1000);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--ext=ts", "-"],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(code));
  await writer.close();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const path = (await reader.read()).value?.trim() ?? "";
  return {
    path,
    async kill() {
      child.kill("SIGKILL");
      while (!(await reader.read()).done);
      await child.status;
    },
  };
}

Deno.test("a folder that a killed gateway left is removed at the next start, and a living one's is not", async () => {
  await using dir = await scratch();
  const [dead, living] = await Promise.all([holder(dir.path), holder(dir.path)]);
  try {
    await dead.kill();
    assertEquals(names(dir.path).length, 2);
    const made = await make({ TMPDIR: dir.path });
    assertEquals(
      names(dir.path).map((name) => join(dir.path, name)),
      [made.path, living.path].sort(),
    );
    await made.remove();
  } finally {
    await living.kill();
  }
});

Deno.test("many that start at once never take each other's folder for an abandoned one", async () => {
  await using dir = await scratch();
  const made = await Promise.all(Array.from({ length: 40 }, () => make({ TMPDIR: dir.path })));
  assertEquals(
    names(dir.path).map((name) => join(dir.path, name)),
    made.map((it) => it.path).sort(),
  );
  await Promise.all(made.map((each) => each.remove()));
  assertEquals(names(dir.path), []);
});

Deno.test("folders that are not ours are left alone, whatever their names and contents", async () => {
  await using dir = await scratch({
    "conduit-work/lock": "",
    "conduit-0123/notes": "",
    "other/lock": "",
  });
  await Deno.mkdir(join(dir.path, "conduit-abc"));
  await new Deno.Command("mkfifo", { args: [join(dir.path, "conduit-abc", "lock")] }).output();
  if (Deno.uid() === 0) await Deno.chown(join(dir.path, "conduit-abc"), 12345, 12345);
  else await Deno.remove(join(dir.path, "conduit-abc"), { recursive: true });
  const before = names(dir.path);
  const made = await make({ TMPDIR: dir.path });
  await made.remove();
  assertEquals(names(dir.path), before);
});

Deno.test("a place that cannot hold it is refused with its name and what to do", async () => {
  await using dir = await scratch();
  const long = join(dir.path, "x".repeat(100));
  await writeFiles(long, { ".keep": "" });
  for (
    const [parent, why] of [[join(dir.path, "none"), "No such file"], [
      long,
      "bytes too long",
    ]] as const
  ) {
    const error = await assertRejects(() => make({ TMPDIR: parent }), PrivateDirError, why);
    assert(error.message.startsWith(`cannot make a private folder in "${parent}": `));
    assert(error.message.endsWith("; let XDG_RUNTIME_DIR or TMPDIR name another one"));
  }
  assertEquals(names(long), [".keep"]);
});
