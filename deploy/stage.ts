/**
 * Lays out in a folder what an executable consists of: `main.mjs`, and beside it `embedded/` with all that it reads. `deno compile` puts that
 * folder into a program, and tests run it as it lies there.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { dirname, fromFileUrl, join } from "@std/path";
import { HEAP_FLAG } from "../gateway/sandbox.ts";
import { EMBEDDED, MANIFEST, type Manifest } from "../gateway/shipped.ts";
import { ownSources } from "../plugin-host/author_files.ts";
import { HOST_BUNDLES, packagedName } from "../plugin-host/program_files.ts";

const ROOT = fromFileUrl(new URL("../", import.meta.url));
const ARCHIVE = "deno.zst";

/** What `deno compile` calls them, and the npm package that has the Deno CLI for each. */
export const TARGETS = {
  "x86_64-unknown-linux-gnu": "@deno/linux-x64-glibc",
  "aarch64-unknown-linux-gnu": "@deno/linux-arm64-glibc",
  "x86_64-apple-darwin": "@deno/darwin-x64",
  "aarch64-apple-darwin": "@deno/darwin-arm64",
} as const;

export type Target = keyof typeof TARGETS;

/**
 * What the gateway may do: all that its user may. It cannot know which files and hosts a configuration will name, and Deno opens `/proc` to
 * nobody that anything is denied. The plugin host is the one that is confined.
 */
export const RELEASE_FLAGS = [
  "--allow-all",
  "--no-prompt",
  "--unstable-net",
  "--unstable-no-legacy-abort",
  HEAP_FLAG,
] as const;

/** Everything is in the bundle: nothing is looked up, neither on the disk nor in a registry. */
export const ALONE_FLAGS = [
  "--no-config",
  "--no-lock",
  "--no-npm",
  "--no-remote",
  "--cached-only",
] as const;

export interface StageOptions {
  readonly target: Target;
  /** Without the Deno CLI itself, only with its hash. */
  readonly slim?: boolean;
  /** Of zstd, 1 to 19: 3 takes half a second and leaves 40 MB, 19 takes a minute and leaves 32. */
  readonly level?: number;
}

/** Fills `dir`, which is empty. */
export async function stage(dir: string, { target, slim, level }: StageOptions): Promise<void> {
  const embedded = join(dir, EMBEDDED);
  await Deno.mkdir(embedded, { recursive: true });
  const bundles = { [join(dir, "main.mjs")]: "main.ts" } as Record<string, string>;
  for (const [name, entry] of Object.entries(HOST_BUNDLES)) bundles[join(embedded, name)] = entry;
  for (const [output, entry] of Object.entries(bundles)) {
    await deno(["bundle", "--quiet", "--frozen", "--output", output, entry]);
  }
  for (const [name, text] of await ownSources((path) => Deno.readTextFile(join(ROOT, path)))) {
    const file = join(embedded, packagedName(name));
    await Deno.mkdir(dirname(file), { recursive: true });
    await Deno.writeTextFile(file, text);
  }
  const program = await Deno.readFile(await denoFor(target));
  const manifest: Manifest = {
    deno: {
      version: Deno.version.deno,
      sha256: sha256(program),
      sizeBytes: program.length,
      ...(slim ? {} : { archive: ARCHIVE }),
    },
  };
  if (!slim) {
    const params = { [constants.ZSTD_c_compressionLevel]: level ?? 19 };
    await Deno.writeFile(join(embedded, ARCHIVE), zstdCompressSync(program, { params }));
  }
  await Deno.writeTextFile(join(embedded, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** The Deno CLI for a target, in the version of this run: this one itself, or from npm. */
async function denoFor(target: Target): Promise<string> {
  if (target === Deno.build.target) return Deno.execPath();
  const [name, version] = [TARGETS[target], Deno.version.deno];
  await deno(["cache", "--quiet", "--no-config", "--no-lock", `npm:${name}@${version}`]);
  const { npmCache } = JSON.parse((await deno(["info", "--no-config", "--json"])).stdout);
  return join(npmCache, "registry.npmjs.org", name, version, "deno");
}

/** Runs this Deno in the project's folder. @throws {Error} with what it said */
export async function deno(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    env: { NO_COLOR: "1", ...env },
    cwd: ROOT,
    stdin: "null",
  }).output();
  const [stdout, stderr] = [output.stdout, output.stderr].map((it) => new TextDecoder().decode(it));
  if (!output.success) throw new Error(`deno ${args.join(" ")}\n${stderr}`);
  return { stdout: stdout ?? "", stderr: stderr ?? "" };
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

if (import.meta.main) {
  const [dir] = Deno.args;
  if (dir === undefined) throw new Error("usage: deno run -A deploy/stage.ts DIR");
  await stage(dir, { target: Deno.build.target as Target, slim: true });
}
