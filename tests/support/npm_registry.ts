/**
 * An npm registry on a port of its own, for tests of packages that must not depend on the real one. Needs `tar`.
 *
 * @module
 */

import { dirname, join } from "@std/path";

/** One version of a package. */
export interface PublishedPackage {
  readonly name: string;
  readonly version: string;
  readonly files: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
}

interface Version {
  readonly manifest: object;
  tarball: Uint8Array<ArrayBuffer>;
  readonly integrity: string;
}

export class NpmRegistry implements AsyncDisposable {
  /** `METHOD path` of every request. */
  readonly requests: string[] = [];
  readonly #versions = new Map<string, Map<string, Version>>();
  readonly #server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => this.#answer(request),
  );

  /** As `NPM_CONFIG_REGISTRY`. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  async publish({ files, ...manifest }: PublishedPackage): Promise<void> {
    const { name, version } = manifest;
    const tarball = await packed({
      ...files,
      "package.json": JSON.stringify({ type: "module", main: "mod.js", ...manifest }),
    });
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", tarball));
    const versions = this.#versions.get(name) ?? new Map<string, Version>();
    this.#versions.set(name, versions);
    versions.set(version, { manifest, tarball, integrity: `sha512-${digest.toBase64()}` });
  }

  /** From now on other bytes come than were published. */
  async tamper(
    name: string,
    version: string,
    files: Readonly<Record<string, string>>,
  ): Promise<void> {
    const published = this.#versions.get(name)?.get(version);
    if (!published) throw new TypeError(`${name}@${version} has not been published`);
    published.tarball = await packed(files);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  #answer(request: Request): Response {
    const path = decodeURIComponent(new URL(request.url).pathname.slice(1));
    this.requests.push(`${request.method} ${path}`);
    const [, name = path, version] = /^(.+)\/-\/.+@(.+)\.tgz$/.exec(path) ?? [];
    const versions = this.#versions.get(name);
    if (!versions) return new Response("{}", { status: 404 });
    if (version !== undefined) return new Response(versions.get(version)?.tarball ?? null);
    const described = [...versions].map(([version, { manifest, integrity }]) => [version, {
      ...manifest,
      dist: { tarball: `${this.url}${name}/-/${name}@${version}.tgz`, integrity },
    }]);
    return Response.json({
      name,
      "dist-tags": { latest: [...versions.keys()].at(-1) },
      versions: Object.fromEntries(described),
    });
  }
}

async function packed(
  files: Readonly<Record<string, string>>,
): Promise<Uint8Array<ArrayBuffer>> {
  const dir = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      const path = join(dir, "package", name);
      await Deno.mkdir(dirname(path), { recursive: true });
      await Deno.writeTextFile(path, text);
    }
    const { stdout } = await new Deno.Command("tar", {
      args: ["--create", "--gzip", "--directory", dir, "package"],
    }).output();
    return stdout;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
