/**
 * `deno task compile`: one executable for each target, with the plugin host and the Deno that runs it inside, and `SHA256SUMS`.
 * `deno compile` takes `denort` of the target from Deno's own site, from its cache, or from `DENORT_BIN`.
 *
 * @module
 */

import { join } from "@std/path";
import project from "../deno.json" with { type: "json" };
import { EMBEDDED } from "../gateway/shipped.ts";
import { ALONE_FLAGS, deno, RELEASE_FLAGS, sha256, stage, type Target, TARGETS } from "./stage.ts";

const USAGE =
  `usage: deno task compile [--target TARGET]... [--slim] [--traces] [--level N] [--out DIR]

  --target TARGET  ${Object.keys(TARGETS).join(", ")}, or "all"; default: this machine's
  --slim           without the Deno CLI: conduit-slim
  --traces         exports traces, always: Deno reads OTEL_DENO here, and not where the executable runs
  --level N        of zstd, 1 to 19, default 19
  --out DIR        default: dist
`;

export interface CompileOptions {
  readonly targets: readonly Target[];
  readonly slim: boolean;
  readonly traces: boolean;
  readonly level: number;
  readonly out: string;
}

/** The name of an executable for `target`. */
export function executableName(target: Target, { slim = false, traces = false } = {}): string {
  return `conduit${slim ? "-slim" : ""}${traces ? "-traces" : ""}-${project.version}-${target}`;
}

/** What Deno writes into an executable: the one's traces are on, the other's are off, whatever the environment says here. */
function tracing(traces: boolean): Record<string, string> {
  return { OTEL_DENO: `${traces}`, OTEL_DENO_CONSOLE: "ignore", OTEL_DENO_METRICS: "false" };
}

/**
 * @param tell gets what `deno compile` says: the list of the embedded files
 * @returns the paths of the executables
 */
export async function compile(
  { targets, slim, traces, level, out }: CompileOptions,
  tell: (text: string) => void = () => {},
): Promise<string[]> {
  await Deno.mkdir(out, { recursive: true });
  const made: string[] = [];
  for (const target of targets) {
    const dir = await Deno.makeTempDir({ prefix: "conduit-stage-" });
    try {
      await stage(dir, { target, slim, level });
      const path = join(await Deno.realPath(out), executableName(target, { slim, traces }));
      const { stderr } = await deno([
        "compile",
        `--target=${target}`,
        ...ALONE_FLAGS,
        ...RELEASE_FLAGS,
        // It would lie below a name that everybody knows in the folder for temporary files, where others may put one first.
        "--no-code-cache",
        `--include=${join(dir, EMBEDDED)}`,
        `--output=${path}`,
        join(dir, "main.mjs"),
      ], tracing(traces));
      tell(stderr);
      made.push(path);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  }
  await writeSums(out);
  return made;
}

/** Of all executables that lie in the folder, as `sha256sum --check` takes it. */
async function writeSums(out: string): Promise<void> {
  const names: string[] = [];
  for await (const { name, isFile } of Deno.readDir(out)) {
    if (isFile && name.startsWith("conduit-")) names.push(name);
  }
  const lines = await Promise.all(
    names.sort().map(async (name) => `${sha256(await Deno.readFile(join(out, name)))}  ${name}\n`),
  );
  await Deno.writeTextFile(join(out, "SHA256SUMS"), lines.join(""));
}

function parse(args: readonly string[]): CompileOptions | undefined {
  const targets = new Set<Target>();
  let [slim, traces, level, out] = [false, false, 19, "dist"];
  for (let at = 0; at < args.length; at++) {
    const [flag = "", attached] = (args[at] as string).split(/=(.*)/s, 2);
    if (flag === "--slim") slim = true;
    else if (flag === "--traces") traces = true;
    else {
      const value = attached ?? args[++at];
      if (value === undefined) return undefined;
      if (flag === "--out") out = value;
      else if (flag === "--level" && /^1?[1-9]$|^10$/.test(value)) level = Number(value);
      else if (flag === "--target" && value === "all") {
        for (const name of Object.keys(TARGETS)) targets.add(name as Target);
      } else if (flag === "--target" && Object.hasOwn(TARGETS, value)) targets.add(value as Target);
      else return undefined;
    }
  }
  if (targets.size === 0) targets.add(Deno.build.target as Target);
  return { targets: [...targets], slim, traces, level, out };
}

if (import.meta.main) {
  const options = parse(Deno.args);
  if (!options) {
    console.error(USAGE);
    Deno.exit(2);
  }
  try {
    const made = await compile(options, (text) => console.error(text));
    console.log(made.join("\n"));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
