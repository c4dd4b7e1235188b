/**
 * The Dockerfile and the compose file, as far as they go without a Docker engine: read, held to what they speak of, and their steps done by
 * hand in a folder.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname, join, resolve } from "@std/path";
import { parse } from "@std/yaml";
import { ALONE_FLAGS, RELEASE_FLAGS } from "../deploy/stage.ts";
import { COMPOSE_CONFIG_FILE, composeConfig } from "../examples/three-services/compose.ts";
import { PORTS } from "../examples/three-services/example.ts";
import { loadConfig } from "../gateway/config.ts";
import { conduit, scratch } from "./support/conduit.ts";
import { type Program, testGateway } from "./support/gateway.ts";
import { PATIENT } from "./support/patient.ts";
import { readDoc, ROOT } from "./support/prose.ts";

interface Instruction {
  readonly name: string;
  readonly rest: string;
}

/** The instructions of the Dockerfile by stage, lines joined and comments left out. */
async function stages(): Promise<readonly [build: Instruction[], final: Instruction[]]> {
  const text = await readDoc("Dockerfile");
  const lines = text.replaceAll(/^#.*\n/gm, "").replaceAll(/\\\n/g, " ").split("\n");
  const found: Instruction[][] = [];
  for (const line of lines.filter((each) => each.trim() !== "")) {
    const [, name = "", rest = ""] = /^(\S+) +(.*)$/.exec(line) ?? [];
    if (name === "FROM") found.push([]);
    found.at(-1)?.push({ name, rest });
  }
  const [build = [], final = [], ...others] = found;
  assertEquals(others, []);
  return [build, final];
}

const restsOf = (stage: readonly Instruction[], wanted: string) =>
  stage.filter(({ name }) => name === wanted).map(({ rest }) => rest);

/** The words of an instruction in exec form, whatever options stand before them. */
const words = (rest = ""): string[] => JSON.parse(rest.slice(rest.indexOf("[")));

Deno.test("the image is built in stages and runs without a shell, not as root", async () => {
  const [build, final] = await stages();
  assertMatch(restsOf(final, "FROM").join(), /^gcr\.io\/distroless\/.*:nonroot$/);
  assertEquals(restsOf(final, "USER"), ["nonroot"]);
  assertEquals(restsOf(final, "RUN"), []);
  const flags = ["run", ...ALONE_FLAGS, ...RELEASE_FLAGS, "/opt/app/main.mjs"];
  const [entry = [], health = [], command = []] = ["ENTRYPOINT", "HEALTHCHECK", "CMD"]
    .map((name) => words(restsOf(final, name)[0]));
  // The wrapper of npm would not pass SIGTERM on.
  assertEquals(entry, ["/usr/local/bin/deno", ...flags]);
  assertEquals(health, [...entry, "healthcheck"]);
  assertEquals(command, ["run"]);
  assert(restsOf(build, "RUN").some((rest) => rest.includes("linux-*-glibc/deno")));
  assert(restsOf(build, "RUN").some((rest) => rest.includes("--frozen")));
});

Deno.test("the image gets every source folder, and Deno in the version of this run", async () => {
  const [build, final] = await stages();
  const copied = restsOf(build, "COPY").flatMap((rest) => rest.split(" ").slice(0, -1));
  const ignore = await readDoc(".dockerignore");
  const kept = ignore.split("\n").filter((line) => line.startsWith("!")).map((line) =>
    line.slice(1)
  );
  assertEquals(copied.toSorted(), kept.toSorted());
  for (const path of copied) await Deno.stat(join(ROOT, path));
  const version = Deno.version.deno;
  assert(restsOf(build, "RUN").some((rest) => rest.includes(`deno@${version}`)));
  assert((await readDoc(".ci/run")).includes(`deno@${version} task test`));
  // What the final stage takes from the first one is made there.
  const made = restsOf(build, "RUN").join();
  for (const rest of restsOf(final, "COPY")) {
    const [, path = ""] = /--from=build .*?(\/\S+) \S+$/.exec(rest) ?? [];
    assertStringIncludes(made, path);
  }
});

Deno.test("the image's own steps, done by hand, make a gateway that serves, is healthy, and ends with SIGTERM", async () => {
  const [build, final] = await stages();
  await using root = await scratch();
  await Deno.mkdir(join(root.path, "bin"));
  await Deno.symlink(Deno.execPath(), join(root.path, "bin/deno"));
  const inside = (text: string) => text.replaceAll("/opt/", `${root.path}/opt/`);
  let cwd = root.path;
  for (const { name, rest } of build) {
    if (name === "WORKDIR") {
      cwd = inside(rest);
      await Deno.mkdir(cwd, { recursive: true });
    } else if (name === "COPY") {
      const paths = rest.split(" ");
      const target = resolve(cwd, paths.pop() ?? "");
      for (const path of paths) {
        const to = rest.endsWith("./") ? join(target, path) : target;
        await run(["mkdir", "-p", dirname(to)], { cwd: ROOT });
        await run(["cp", "-r", path, to], { cwd: ROOT });
      }
    } else if (name === "RUN" && !rest.includes("npm install")) { // which is the network's affair
      await run(["sh", "-ec", inside(rest)], { cwd, path: join(root.path, "bin") });
    }
  }
  const [entry = [], health = []] = ["ENTRYPOINT", "HEALTHCHECK"].map((name) =>
    words(inside(restsOf(final, name)[0] ?? ""))
  );
  const program: Program = { command: Deno.execPath(), args: entry.slice(1) };
  await using gateway = await testGateway({
    program,
    clearEnv: true,
    env: { CACHE_DIRECTORY: inside("/opt/cache"), HOME: "/proc/nonexistent" },
    config: {
      ...PATIENT,
      admin: { listen: "unix:./admin.sock" },
      routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }],
    },
    plugins: { "001-no.ts": `export default { beforeRequest(ctx) { ctx.reject(418, "no"); } };` },
  });
  assertEquals((await gateway.fetch("/x")).status, 418);
  const asks = { command: Deno.execPath(), args: health.slice(1, -1) };
  const ask = () => conduit(health.slice(-1), { program: asks, cwd: gateway.dir });
  assertEquals(await ask(), { code: 0, stdout: "", stderr: "" });
  gateway.signal("SIGTERM");
  assertEquals((await gateway.status).code, 0, gateway.stderr);
  assertEquals((await ask()).code, 1);
});

async function run(
  [command = "", ...args]: readonly string[],
  { cwd, path }: { readonly cwd: string; readonly path?: string },
): Promise<void> {
  const env: Record<string, string> = path ? { PATH: `${path}:${Deno.env.get("PATH")}` } : {};
  const { success, stderr } = await new Deno.Command(command, { args, cwd, env }).output();
  assert(success, new TextDecoder().decode(stderr));
}

interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

interface ComposeService {
  readonly image?: string;
  readonly build?: string | { readonly context: string; readonly target?: string };
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: unknown;
  readonly stop_grace_period?: string;
}

const COMPOSE_FILE = "examples/three-services/compose.yaml";
const compose = parse(await readDoc(COMPOSE_FILE)) as Compose;
const composeDir = join(ROOT, dirname(COMPOSE_FILE));

Deno.test("the compose file names images, stages, files, volumes and services that are there", async () => {
  const dockerfile = await readDoc("Dockerfile");
  for (const [name, service] of Object.entries(compose.services)) {
    const { image, build, volumes = [], depends_on = {} } = service;
    assert((image === undefined) !== (build === undefined), name);
    if (build !== undefined) {
      const { context, target } = typeof build === "string" ? { context: build } : build;
      assertEquals(resolve(composeDir, context), resolve(ROOT));
      if (target) assertMatch(dockerfile, RegExp(`^FROM \\S+ AS ${target}$`, "m"));
    }
    for (const volume of volumes) {
      const [source = "", target = ""] = volume.split(":");
      assert(target.startsWith("/"), volume);
      if (source.startsWith(".")) await Deno.stat(join(composeDir, source));
      else assert(source in compose.volumes, volume);
    }
    for (const [other, { condition }] of Object.entries(depends_on)) {
      const needed = compose.services[other];
      assert(needed, `${name} depends on ${other}`);
      if (condition === "service_healthy") assert(needed.healthcheck, other);
    }
  }
});

Deno.test("compose.config.json is the example's configuration with the names and the Redis of the compose file", async () => {
  assertEquals(
    JSON.parse(await Deno.readTextFile(COMPOSE_CONFIG_FILE)),
    JSON.parse(await composeConfig()),
    "write it anew: deno run -A examples/three-services/compose.ts",
  );
  const { gateway, packages } = compose.services;
  const config = await loadConfig(COMPOSE_CONFIG_FILE, {
    env: (name) => gateway?.environment?.[name], // whatever it or a plugin asks for is given
  });
  for (const name of config.pluginEnv) assert(gateway?.environment?.[name], name);
  assertEquals(packages?.environment, gateway?.environment);
  assertEquals(packages?.volumes, gateway?.volumes);
  assert(config.listen.kind === "tcp");
  assertEquals(gateway?.ports, [`${config.listen.port}:${config.listen.port}`]);
  assert(Number.parseInt(gateway?.stop_grace_period ?? "") * 1000 > config.shutdownGraceMs);
  const { cache } = config.services;
  assert(cache.driver === "redis");
  assert(new URL(cache.url).hostname in compose.services);
  const origins = config.routes.flatMap(({ upstreams }) => upstreams);
  const forwards = config.forward.allowedHosts.map(({ host, port }) => ({ hostname: host, port }));
  assert(origins.length > 3 && forwards.length === 1);
  for (const { hostname, port } of [...origins, ...forwards]) {
    const command = compose.services[hostname]?.command ?? [];
    const name = command.at(-1) as keyof typeof PORTS;
    assertEquals({ hostname, port }, { hostname: `${name}-service`, port: PORTS[name] });
    assert(command.includes("examples/three-services/serve.ts"));
  }
  // Where the image looks for it, and where the file looks for its plugins.
  const mounted = gateway?.volumes?.map((volume) => volume.split(":").slice(0, 2).join(":"));
  assert(mounted?.includes("./compose.config.json:/etc/conduit/conduit.config.json"));
  assert(mounted?.includes("./plugins:/etc/conduit/plugins"));
  const [, final] = await stages();
  assertEquals(restsOf(final, "WORKDIR"), ["/etc/conduit"]);
});

Deno.test("each service of the compose file starts by its command, answers, and ends with SIGTERM", async () => {
  for (const [name, { command = [], environment = {} }] of Object.entries(compose.services)) {
    if (command[0] !== "deno") continue;
    const child = new Deno.Command(Deno.execPath(), {
      args: command.slice(1),
      cwd: ROOT,
      env: { ...environment, EXAMPLE_PORT: "0" },
      stdin: "null",
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value = "" } = await reader.read();
    const port = /listens on port (\d+)/.exec(value)?.[1];
    const response = await fetch(`http://127.0.0.1:${port}/nothing`);
    const { error } = await response.json();
    assertStringIncludes(error, name === "beta-service" ? "chat-service-beta" : name);
    child.kill("SIGTERM");
    await reader.cancel();
    assertEquals((await child.status).code, 0, name);
  }
});
