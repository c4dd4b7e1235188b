/**
 * What is released, laid out as it is inside an executable, with Deno under the name `conduit` in the place of the executable's own runtime.
 *
 * @module
 */

import { join } from "@std/path";
import { compile } from "../../deploy/compile.ts";
import { ALONE_FLAGS, RELEASE_FLAGS, stage, type Target } from "../../deploy/stage.ts";
import type { Program } from "./gateway.ts";

export interface Packaged extends AsyncDisposable {
  readonly program: Program;
  /** The folder of `main.mjs`. */
  readonly dir: string;
}

/** Fast to make: 3 is the level of zstd that takes half a second. */
const LEVEL = 3;

/** Nothing in it can be written, and no `deno` lies beside the program. */
export async function packaged({ slim = false } = {}): Promise<Packaged> {
  const root = await Deno.makeTempDir({ prefix: "conduit-test-" });
  const dir = join(root, "app");
  const command = join(root, "bin", "conduit");
  await Deno.mkdir(join(root, "bin"));
  await stage(dir, { target: Deno.build.target as Target, slim, level: LEVEL });
  await Deno.copyFile(Deno.execPath(), command);
  await setWritable(root, false);
  return {
    dir,
    program: {
      command,
      args: ["run", ...ALONE_FLAGS, ...RELEASE_FLAGS, join(dir, "main.mjs")],
    },
    async [Symbol.asyncDispose]() {
      await setWritable(root, true);
      await Deno.remove(root, { recursive: true });
    },
  };
}

/**
 * Why there is no executable to be tested, to be shown in a test's name; `undefined` where Deno can make one without the network: with `DENORT_BIN`, or
 * with `denort` in its cache.
 */
export const NO_DENORT = await hasDenort()
  ? undefined
  : ` (SKIPPED: no denort ${Deno.version.deno} on this machine; let DENORT_BIN name one)`;

/** The executable itself. */
export async function executable(): Promise<Packaged> {
  const dir = await Deno.makeTempDir({ prefix: "conduit-test-" });
  const target = Deno.build.target as Target;
  const [command = ""] = await compile({
    targets: [target],
    slim: false,
    traces: false,
    level: LEVEL,
    out: dir,
  });
  return {
    dir,
    program: { command, args: [] },
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

async function hasDenort(): Promise<boolean> {
  const { DENORT_BIN, DENO_DIR, HOME } = Deno.env.toObject();
  const cache = DENO_DIR || `${HOME}/.cache/deno`;
  const archive = `${cache}/dl/release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`;
  // What only stands in for it, such as /bin/true, is small.
  return await Deno.stat(DENORT_BIN || archive).then(({ size }) => size > 10_000_000, () => false);
}

async function setWritable(path: string, isWritable: boolean): Promise<void> {
  const { isDirectory } = await Deno.stat(path);
  await Deno.chmod(path, isWritable ? 0o700 : 0o500);
  if (!isDirectory) return;
  for await (const { name } of Deno.readDir(path)) await setWritable(join(path, name), isWritable);
}
