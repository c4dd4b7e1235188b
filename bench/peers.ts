/**
 * Other gateways, each configured to do what one of our cases does: pass a request on, or pass it on with four policies that
 * read one field of the request and set one in each direction. They come from Debian, `@fastify/http-proxy` from npm.
 *
 * @module
 */

import { join } from "@std/path";
import type { Subject } from "./cases.ts";
import {
  type Command,
  freePort,
  type Lab,
  nginxArgs,
  nginxConf,
  type Server,
  which,
} from "./lab.ts";

const FASTIFY = { "fastify": "5.12.8", "@fastify/http-proxy": "11.6.3" } as const;

export const PEERS: readonly Subject[] = [
  {
    id: "nginx",
    title: "nginx proxy_pass, 1 worker",
    ours: false,
    policies: 0,
    start: async (lab, upstream) => await startNginx(lab, nginxProxy(upstream)),
  },
  {
    id: "nginx-lua",
    title: "nginx proxy_pass with a Lua policy, 1 worker",
    ours: false,
    policies: 4,
    start: startNginxLua,
  },
  {
    id: "caddy",
    title: "Caddy reverse_proxy",
    ours: false,
    policies: 0,
    start: startCaddy,
  },
  {
    id: "haproxy",
    title: "HAProxy",
    ours: false,
    policies: 0,
    start: startHaproxy,
  },
  {
    id: "fastify",
    title: "@fastify/http-proxy with hooks, Node",
    ours: false,
    policies: 4,
    start: startFastify,
  },
];

/** One line of versions for the record, by program; what is not there is left out. */
export async function versions(): Promise<Record<string, string>> {
  const found: Record<string, string> = { ...FASTIFY };
  const asked = { nginx: "-v", caddy: "version", haproxy: "-v", node: "--version", wrk: "-v" };
  for (const [program, flag] of Object.entries(asked)) {
    const path = await which(program);
    if (path === undefined) continue;
    const [, version] = /(\d+\.\d+[\w.+~-]*)/.exec(await output(path, [flag])) ?? [];
    if (version !== undefined) found[program] = version;
  }
  return found;
}

interface NginxParts {
  /** Inside `http`, with `PORT` where the port belongs. */
  readonly http: string;
  readonly main?: string;
}

async function startNginx(lab: Lab, { http, main }: NginxParts): Promise<Server> {
  const program = await needed("nginx", "apt-get install nginx");
  const port = freePort();
  const text = nginxConf(lab, http.replace("PORT", `${port}`), { main });
  const file = await lab.write(`nginx-${port}.conf`, text);
  return await lab.serve(port, { program, args: nginxArgs(lab, file) });
}

function nginxProxy(upstream: Server, { policy = "" } = {}): NginxParts {
  return {
    http: `
      upstream bench { server ${new URL(upstream.origin).host}; keepalive 128;
                       keepalive_requests 1000000000; }
      server {
        listen 127.0.0.1:PORT;
        location / {
          proxy_pass http://bench; proxy_http_version 1.1; proxy_set_header Connection "";
          ${policy}
        }
      }`,
  };
}

async function startNginxLua(lab: Lab, upstream: Server): Promise<Server> {
  const install = "apt-get install libnginx-mod-http-lua";
  const text = await output(await needed("nginx", "apt-get install nginx"), ["-V"]);
  const folder = /--modules-path=(\S+)/.exec(text)?.[1] ?? "/usr/lib/nginx/modules";
  const modules = ["ndk_http_module.so", "ngx_http_lua_module.so"].map((name) =>
    join(folder, name)
  );
  for (const file of modules) {
    await Deno.stat(file).catch(() => {
      throw new Error(`${file} is not there: ${install}`);
    });
  }
  const each = (line: (number: number) => string) => [1, 2, 3, 4].map(line).join(" ");
  const policy = `
    access_by_lua_block {
      ${each((n) => `ngx.req.set_header("x-policy-${n}", ngx.var.http_x_tenant)`)}
    }
    header_filter_by_lua_block {
      ${each((n) => `ngx.header["x-policy-${n}"] = ngx.var.http_x_tenant`)}
    }`;
  return await startNginx(lab, {
    ...nginxProxy(upstream, { policy }),
    main: modules.map((file) => `load_module ${file};`).join(" "),
  });
}

async function startCaddy(lab: Lab, upstream: Server): Promise<Server> {
  const program = await needed("caddy", "apt-get install caddy");
  const port = freePort();
  const file = await lab.write(
    `Caddyfile-${port}`,
    `{
  admin off
  auto_https off
  log {
    level WARN
  }
}
http://127.0.0.1:${port} {
  bind 127.0.0.1
  reverse_proxy ${new URL(upstream.origin).host}
}
`,
  );
  return await lab.serve(port, {
    program,
    args: ["run", "--config", file, "--adapter", "caddyfile"],
    env: { XDG_DATA_HOME: lab.dir, XDG_CONFIG_HOME: lab.dir },
  });
}

async function startHaproxy(lab: Lab, upstream: Server): Promise<Server> {
  const program = await needed("haproxy", "apt-get install haproxy");
  const port = freePort();
  const file = await lab.write(
    `haproxy-${port}.cfg`,
    `global
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend bench
  bind 127.0.0.1:${port}
  default_backend bench
backend bench
  http-reuse always
  server bench ${new URL(upstream.origin).host}
`,
  );
  return await lab.serve(port, { program, args: ["-db", "-f", file] });
}

async function startFastify(lab: Lab, upstream: Server): Promise<Server> {
  const node = await needed("node", "apt-get install nodejs npm");
  const folder = await installFastify();
  const port = freePort();
  const file = join(folder, "server.mjs");
  await Deno.writeTextFile(file, FASTIFY_SERVER);
  const command: Command = {
    program: node,
    args: [file, `${port}`, upstream.origin],
    env: { NODE_ENV: "production" },
  };
  return await lab.serve(port, command);
}

/** The folder that the packages are installed in, which later runs find again. */
async function installFastify(): Promise<string> {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? join(Deno.env.get("HOME") ?? "/tmp", ".cache");
  const folder = join(cache, "conduit-bench", Object.values(FASTIFY).join("_"));
  const packages = Object.entries(FASTIFY).map(([name, version]) => `${name}@${version}`);
  const installed = join(folder, "installed");
  if (await Deno.stat(installed).catch(() => undefined)) return folder;
  const program = await needed("npm", "apt-get install npm");
  await Deno.mkdir(folder, { recursive: true });
  const { success, stderr } = await new Deno.Command(program, {
    args: [
      "install",
      ...["--prefix", folder, "--no-audit", "--no-fund", "--fetch-retries=0"],
      ...packages,
    ],
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) {
    const said = /^npm (?:error|ERR!) (?!code|syscall|errno)(.+)$/m
      .exec(new TextDecoder().decode(stderr))?.[1];
    throw new Error(`npm could not install ${packages.join(" and ")}: ${said}`);
  }
  await Deno.writeTextFile(installed, "");
  return folder;
}

/** Four plugins, as one writes them for Fastify: two hooks each. */
const FASTIFY_SERVER = `import Fastify from "fastify";
import proxy from "@fastify/http-proxy";

const [port, upstream] = process.argv.slice(2);
const app = Fastify({ logger: false });
for (const number of [1, 2, 3, 4]) {
  app.addHook("preHandler", async (request) => {
    request.raw.headers["x-policy-" + number] = request.headers["x-tenant"];
  });
  app.addHook("onSend", async (request, reply) => {
    reply.header("x-policy-" + number, request.headers["x-tenant"]);
  });
}
app.register(proxy, { upstream });
await app.listen({ host: "127.0.0.1", port: Number(port) });
`;

async function needed(program: string, install: string): Promise<string> {
  const path = await which(program);
  if (path === undefined) throw new Error(`${program} is not there: ${install}`);
  return path;
}

async function output(program: string, args: string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(program, { args }).output();
  const decoder = new TextDecoder();
  return decoder.decode(stdout) + decoder.decode(stderr);
}
