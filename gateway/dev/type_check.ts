/**
 * The types of the plugins, checked beside serving: `deno check` runs as a process of its own over the files that their
 * author edits, once these have gone live. What it finds is shown, and stops nothing.
 *
 * @module
 */

import { basename, join, toFileUrl } from "@std/path";
import { errorText } from "../errors.ts";
import type { Log } from "../log.ts";
import type { PluginFiles } from "../plugin_files.ts";
import { linkPackages, namedPackages } from "../plugin_packages.ts";
import { denoEnvironment } from "../sandbox.ts";

export interface TypeCheckNeeds {
  readonly deno: string;
  readonly pluginsDir: string;
  /** Where the check may keep its own files. */
  readonly dir: string;
  readonly env: (name: string) => string | undefined;
  /** What `conduit/plugin` and `conduit/testing` stand for. */
  readonly modules: Readonly<Record<string, string>>;
  readonly log: Log;
  /** Prints a block of lines from the author's own files. */
  readonly print: (block: string) => void;
}

/** As Conduit's own `deno.json` has them. */
const STRICT = { strict: true, noUncheckedIndexedAccess: true, noImplicitOverride: true };
/** What is a plugin; helpers are checked with the plugins that import them. */
const PLUGIN = /^\d{3}-[^/]*\.m?ts$/;

export class TypeCheck {
  readonly #needs: TypeCheckNeeds;
  #running = new AbortController();
  #last: Promise<void> = Promise.resolve();
  /** The state that was checked last. */
  #checked = "";
  /** The errors that were shown last. */
  #shown = "";

  constructor(needs: TypeCheckNeeds) {
    this.#needs = needs;
  }

  /** Checks this state of the files, which is what lies on disk; a check of an older one is ended. */
  check(files: PluginFiles): void {
    if (files.hash === this.#checked) return;
    this.stop();
    const { signal } = this.#running = new AbortController();
    this.#last = this.#last.then(() => this.#check(files, signal)).catch((error) => {
      if (!signal.aborted) this.#cannot(errorText(error));
    });
  }

  /** Ends what runs: the files have changed, or the gateway ends. */
  stop(): void {
    this.#running.abort();
  }

  async #check({ files, path, hash }: PluginFiles, signal: AbortSignal): Promise<void> {
    const plugins = Object.keys(files).filter((name) => PLUGIN.test(name));
    if (signal.aborted) return;
    if (plugins.length === 0) return this.#tell(true, "");
    const { deno, pluginsDir, dir, modules } = this.#needs;
    const packages = await namedPackages(path, this.#needs.env);
    const denoDir = join(dir, `types-${packages ? basename(packages.dir) : "only"}`);
    if (packages) await linkPackages(packages, denoDir);
    const config = join(dir, "types.json");
    await Deno.writeTextFile(
      config,
      JSON.stringify({
        imports: { ...packages?.imports, ...modules },
        nodeModulesDir: "none",
        compilerOptions: STRICT,
      }),
    );
    const { success, stderr } = await new Deno.Command(deno, {
      args: [
        "check",
        "--quiet",
        "--cached-only",
        "--no-remote",
        ...(packages
          ? [`--lock=${packages.dir}/deno.lock`, "--frozen"]
          : ["--no-lock", "--no-npm"]),
        `--config=${config}`,
        ...plugins.map((name) => join(pluginsDir, name)),
      ],
      clearEnv: true,
      env: denoEnvironment(denoDir),
      stdin: "null",
      stdout: "null",
      signal,
    }).output();
    if (signal.aborted) return;
    this.#checked = hash;
    this.#tell(success, new TextDecoder().decode(stderr));
  }

  /** Each set of errors once, and once that there are none any more. */
  #tell(isWell: boolean, output: string): void {
    const { log, pluginsDir, modules, print } = this.#needs;
    const errors = isWell ? "" : typeErrors(output, { pluginsDir, modules });
    if (!isWell && errors === "") return this.#cannot(output);
    if (errors === this.#shown) return;
    this.#shown = errors;
    if (errors === "") return log.info("the types of the plugins are well again");
    log.warn("the plugins have type errors", { count: errors.split("\n\n").length });
    print(errors);
  }

  #cannot(reason: string): void {
    this.#needs.log.warn("the types of the plugins cannot be checked", {
      reason: reason.trim().split("\n", 1)[0],
    });
  }
}

/** Deno's errors of the checker, a paragraph each, with places as the author knows them and without what it says around them. */
export function typeErrors(
  output: string,
  { pluginsDir, modules }: Pick<TypeCheckNeeds, "pluginsDir" | "modules">,
): string {
  const paragraphs: string[] = [];
  for (const paragraph of output.trim().split(/\n{2,}/)) {
    if (/^TS\d+ \[/.test(paragraph)) paragraphs.push(paragraph);
    // What belongs to the error before it: where something is declared.
    else if (/^ /.test(paragraph)) paragraphs.push(`${paragraphs.pop() ?? ""}\n${paragraph}`);
  }
  const names = Object.entries({ ...modules, "": `${toFileUrl(pluginsDir).href}/` });
  return names.reduce((text, [name, url]) => text.replaceAll(url, name), paragraphs.join("\n\n"));
}
