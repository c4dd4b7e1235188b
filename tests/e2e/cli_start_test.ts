import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { conduit, configText, scratch, writeFiles } from "../support/conduit.ts";

/** Something that keeps a gateway from starting, and what it must say. `{dir}` and `{port}` stand for the test's own. */
interface Failing {
  readonly name: string;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly plugins?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly commands?: readonly string[];
  /** What stderr holds after `conduit: `; all of it unless `tells` is a list of parts. */
  readonly tells: string | readonly string[];
}

const LONG = "x".repeat(90);
const FAILURES: readonly Failing[] = [
  {
    name: "a bad configuration, with every problem at once",
    config: {
      listen: "nowhere",
      failPolice: "open",
      routes: [{ path: "/a", upstream: "http://a" }, { path: "b", upstream: "htp://x" }],
    },
    commands: ["run", "dev", "check"],
    tells: [
      '"nowhere"',
      "failPolice",
      '"failPolicy"',
      'routes[1].upstream: "htp://x" is not an http or https URL',
      "routes[1].path",
    ],
  },
  {
    name: "a plugin that onLoad refuses",
    plugins: { "001-a.ts": `export default { onLoad() { throw new Error("no tokens"); } };` },
    tells: ["plugins did not load:\n001-a.ts:1:35: onLoad failed: Error: no tokens"],
  },
  {
    name: "a port that is taken",
    config: { listen: "127.0.0.1:{port}" },
    commands: ["run", "dev"],
    tells: "cannot listen on 127.0.0.1:{port}: another process listens there already",
  },
  {
    name: "an admin port that is taken",
    config: { admin: { listen: "127.0.0.1:{port}" } },
    commands: ["run", "dev"],
    tells: "cannot listen on 127.0.0.1:{port}: another process listens there already",
  },
  {
    name: "a Unix socket whose folder is not there",
    config: { listen: "unix:/nonexistent/http.sock" },
    tells: ["cannot listen on unix:/nonexistent/http.sock: No such file or directory"],
  },
  {
    name: "a Unix socket's path with a file on it",
    config: { listen: "unix:conduit.config.json" },
    tells: "cannot listen on unix:{dir}/conduit.config.json: there is a file that is no socket",
  },
  {
    name: "a plugins folder that is not there",
    config: { pluginsDir: "./plugin" },
    commands: ["run", "dev", "check"],
    tells: 'pluginsDir: "{dir}/plugin" is not a folder; create it, or name another one',
  },
  {
    name: "a plugins folder that is a file",
    config: { pluginsDir: "./conduit.config.json" },
    tells:
      'pluginsDir: "{dir}/conduit.config.json" is not a folder; create it, or name another one',
  },
  {
    name: "a plugins folder of 65 MiB",
    files: { "plugins/_data.bin": "x".repeat(65 * 1024 * 1024) },
    tells: 'pluginsDir: "{dir}/plugins" holds more than 2000 files or 67108864 bytes',
  },
  {
    name: "a plugin without a default export",
    plugins: { "001-a.ts": "export const x = 1;" },
    commands: ["run", "check"],
    tells:
      'plugins did not load:\n001-a.ts: has no default export; end it with "export default { … } satisfies Plugin"',
  },
  {
    name: "a hook that is no function",
    plugins: { "001-a.ts": "export default { beforeRequest: 5 };" },
    commands: ["run", "check"],
    tells: 'plugins did not load:\n001-a.ts: "beforeRequest" is a number, not a function',
  },
  {
    name: "a syntax error",
    plugins: { "001-a.ts": "export default {\n  beforeRequest(ctx) { x x }\n};" },
    commands: ["run", "check"],
    tells: ["plugins did not load:\n001-a.ts:2:26: does not load: ", "Expected"],
  },
  {
    name: "a syntax error in a helper",
    plugins: {
      "001-a.ts": `import "./_lib.ts";\nexport default {};`,
      "_lib.ts": "let a = 1;\nlet b = ;",
    },
    tells: ["plugins did not load:\n_lib.ts:2:9: does not load: "],
  },
  {
    name: "a helper that is not there",
    plugins: { "001-a.ts": `import "./_lib.ts";\nexport default {};` },
    tells: ["plugins did not load:\n001-a.ts:1:8: does not load: ", "_lib.ts"],
  },
  {
    name: "several plugins that do not load, with every one of them",
    plugins: {
      "001-a.ts": `import "./_lib.ts";\nexport default {};`,
      "002-b.ts": `import "./_lib.ts";\nexport default {};`,
      "003-c.ts": `export default { onLoad() { throw new Error("no tokens"); } };`,
      "004-d.ts": "export default { onTimeout: 5 };",
      "005-e.ts": "export default {};",
      "_lib.ts": "let b = ;",
      "extra.ts": "export default {};",
    },
    commands: ["run", "check"],
    tells: [
      "plugins did not load:\n_lib.ts:1:9: does not load: ",
      '\n003-c.ts:1:35: onLoad failed: Error: no tokens\n004-d.ts: "onTimeout" is a number, not "continue" or "reject"\nextra.ts: not named like a plugin',
    ],
  },
  {
    name: "a route that names a plugin that is not there",
    config: {
      routes: [{ path: "/*", upstream: "http://127.0.0.1:9", plugins: ["001-a", "009-z"] }],
    },
    plugins: { "001-a.ts": "export default {};" },
    commands: ["run", "check"],
    tells: 'plugins did not load:\nroutes[0].plugins: there is no plugin "009-z" in pluginsDir',
  },
  {
    name: "CONDUIT_DENO that is relative",
    env: { CONDUIT_DENO: "bin/deno" },
    tells: 'CONDUIT_DENO: "bin/deno" is not an absolute path',
  },
  {
    name: "CONDUIT_DENO that is not there",
    env: { CONDUIT_DENO: "/nonexistent/deno" },
    tells: `CONDUIT_DENO: "/nonexistent/deno" is no Deno; Deno ${Deno.version.deno} is needed`,
  },
  {
    name: "CONDUIT_DENO that is a folder",
    env: { CONDUIT_DENO: "/tmp" },
    tells: `CONDUIT_DENO: "/tmp" is no Deno; Deno ${Deno.version.deno} is needed`,
  },
  {
    name: "CONDUIT_DENO that is another program",
    env: { CONDUIT_DENO: "/bin/ls" },
    tells: `CONDUIT_DENO: "/bin/ls" is no Deno; Deno ${Deno.version.deno} is needed`,
  },
  {
    name: "CONDUIT_DENO of another version",
    files: { "other-deno": "#!/bin/sh\necho 'deno 1.2.3 (release)'\n" },
    env: { CONDUIT_DENO: "{dir}/other-deno" },
    commands: ["run", "check"],
    tells: `CONDUIT_DENO: "{dir}/other-deno" is Deno 1.2.3; Deno ${Deno.version.deno} is needed`,
  },
  {
    name: "no place for its private folder",
    env: { XDG_RUNTIME_DIR: "", TMPDIR: "/nonexistent" },
    tells: [
      'cannot make a private folder in "/nonexistent": ',
      "let XDG_RUNTIME_DIR or TMPDIR name",
    ],
  },
  {
    name: "a place for its private folder with a comma in its path",
    files: { "a,b/x": "" },
    env: { XDG_RUNTIME_DIR: "{dir}/a,b" },
    tells: [
      'the plugin host cannot be confined to "unix:{dir}/a,b/conduit-',
      "with a comma; use another",
    ],
  },
  {
    name: "a place for its private folder with too long a path for a socket",
    files: { [`${LONG}/x`]: "" },
    env: { XDG_RUNTIME_DIR: `{dir}/${LONG}` },
    tells: [`cannot make a private folder in "{dir}/${LONG}": a Unix socket there has a path`],
  },
];

for (const { commands = ["run"], ...failing } of FAILURES) {
  for (const command of commands) {
    Deno.test(`conduit ${command} does not start with ${failing.name}: exit 1, on stderr, without a stack`, async () => {
      await using dir = await scratch();
      using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const fill = (text: string) =>
        text.replaceAll("{dir}", dir.path).replaceAll("{port}", String(taken.addr.port));
      await Deno.mkdir(join(dir.path, "plugins"));
      await Deno.mkdir(join(dir.path, "run"));
      await writeFiles(dir.path, {
        "conduit.config.json": fill(configText(failing.config)),
        ...Object.fromEntries(
          Object.entries(failing.plugins ?? {}).map(([name, text]) => [`plugins/${name}`, text]),
        ),
        ...failing.files,
      });
      const { code, stderr, stdout } = await conduit([command], {
        cwd: dir.path,
        env: {
          XDG_RUNTIME_DIR: join(dir.path, "run"),
          ...Object.fromEntries(
            Object.entries(failing.env ?? {}).map(([name, value]) => [name, fill(value)]),
          ),
        },
      });
      assertEquals(code, 1, stderr);
      if (typeof failing.tells === "string") {
        assertEquals(stderr, `conduit: ${fill(failing.tells)}\n`);
      } else for (const part of failing.tells) assertStringIncludes(stderr, fill(part));
      assert(stderr.startsWith("conduit: "));
      assert(!/\.ts:\d+:\d+\)|file:\/\/\/.*main\.ts|\n {4}at .*[( ]ext:/.test(stderr), stderr);
      assert(!/ (listening|ready) /.test(stdout), stdout);
      assertEquals([...Deno.readDirSync(join(dir.path, "run"))], [], "its private folder is gone");
    });
  }
}
