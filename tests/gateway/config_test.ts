import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "@std/path";
import fc from "fast-check";
import * as z from "zod";
import { type Config, ConfigError, loadConfig } from "../../gateway/config.ts";
import { configSchema } from "../../gateway/config_schema.ts";
import { parseJsonText } from "../../gateway/json_text.ts";
import { withoutComments } from "../support/json_comments.ts";
import { mayBeMisread } from "../support/misread_keys.ts";

type Env = Readonly<Record<string, string>>;

const ROUTE = { path: "/x/*", upstream: "http://x" };

async function load(text: string | Uint8Array, env: Env = {}): Promise<Config> {
  const dir = await Deno.makeTempDir();
  try {
    const file = join(dir, "c.json");
    await Deno.writeFile(file, typeof text === "string" ? new TextEncoder().encode(text) : text);
    return await loadConfig(file, { env: (name) => env[name] });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Loads the minimal configuration with `settings` laid over it. */
function loadWith(settings: unknown, env: Env = {}): Promise<Config> {
  return load(JSON.stringify({ routes: [ROUTE], ...settings as object }), env);
}

/** The problems, one a line; the temporary directory is left out of them. */
async function problems(loading: Promise<Config>): Promise<string> {
  const { message } = await assertRejects(() => loading, ConfigError);
  return message.replaceAll(/\/[^ :]*\/(?=c\.json)/g, "");
}

const route = (settings: object) => ({ routes: [{ ...ROUTE, ...settings }] });

const DESIGN_EXAMPLE = {
  "$schema": "./schema.json",
  "listen": ":8080",
  "processes": 1,
  "pluginsDir": "./plugins",
  "pluginPoolSize": 4,
  "pluginEnv": ["SESSION_SECRET"],
  "pluginNet": [],
  "pluginConfig": { "001-auth": {} },
  "hookTimeoutMs": 100,
  "hardCeilingMs": 200,
  "hookDispatch": "per-hook",
  "failPolicy": "closed",
  "onHookTimeout": "continue",
  "onHookError": "reject",
  "bodies": { "inlineLimitBytes": 65536, "maxRequestBytes": 10485760 },
  "timeouts": { "connectMs": 5000, "responseHeaderMs": 30000, "idleMs": 60000 },
  "maxInFlight": 10000,
  "trustedProxies": [],
  "stripInboundHeaders": ["x-gateway-*"],
  "cors": {
    "allowedOrigins": ["https://app.example.com"],
    "allowedMethods": ["GET"],
    "allowedHeaders": [],
    "exposedHeaders": [],
    "allowCredentials": false,
    "maxAgeSeconds": 600,
  },
  "forward": {
    "allowedHosts": [
      "beta.example.com",
      "*.eu.example.com:8443",
      { "host": "beta-service:2005", "allowPrivate": true },
    ],
    "blockPrivateNetworks": true,
  },
  "services": { "cache": { "driver": "memory" } },
  "runtime": { "mode": "embedded" },
  "admin": { "listen": "127.0.0.1:9901" },
  "log": { "format": "text", "level": "info" },
  "shutdownGraceMs": 10000,
  "routes": [
    { "path": "/user-service/*", "upstream": "http://user-service:2001" },
    { "path": "/chat-service/*", "upstream": ["http://chat-a:2003", "http://chat-b:2003"] },
    {
      "path": "/admin-service/*",
      "upstream": "http://admin-service:2002",
      "onHookTimeout": "reject",
      "hookTimeoutMs": 50,
    },
    {
      "path": "/health",
      "upstream": "http://user-service:2001",
      "failPolicy": "open",
      "plugins": false,
    },
  ],
} as const;

Deno.test("config loads the example of the design into normalised settings", async () => {
  const { file, pluginsDir, ...config } = await load(JSON.stringify(DESIGN_EXAMPLE));
  assertMatch(file, /^\/.*\/c\.json$/);
  assertEquals(pluginsDir, join(file, "..", "plugins"));
  const { $schema: _, pluginsDir: __, ...example } = DESIGN_EXAMPLE;
  const origin = (hostname: string, port: number) => ({ protocol: "http:", hostname, port });
  const inherited = {
    stripPrefix: false,
    plugins: "all",
    failPolicy: "closed",
    hookTimeoutMs: 100,
    hookDispatch: "per-hook",
    maxRequestBytes: 10485760,
    timeouts: example.timeouts,
    encodedSlashes: "reject",
  };
  assertEquals<unknown>(config, {
    ...example,
    listen: { kind: "tcp", hostname: "0.0.0.0", port: 8080 },
    admin: { listen: { kind: "tcp", hostname: "127.0.0.1", port: 9901 }, allowedHosts: [] },
    services: { cache: { driver: "memory", maxEntries: 10000, maxBytes: 67108864 } },
    maxFrameBytes: 8388608,
    log: {
      ...example.log,
      requestHeaders: [],
      queryParameters: [],
      pluginRecordsPerSecond: 100,
      pluginBytesPerSecond: 65536,
    },
    forward: {
      allowedHosts: [
        { host: "beta.example.com", port: null, allowPrivate: false },
        { host: "*.eu.example.com", port: 8443, allowPrivate: false },
        { host: "beta-service", port: 2005, allowPrivate: true },
      ],
      blockPrivateNetworks: true,
    },
    routes: [
      { ...inherited, path: "/user-service/*", upstreams: [origin("user-service", 2001)] },
      {
        ...inherited,
        path: "/chat-service/*",
        upstreams: [origin("chat-a", 2003), origin("chat-b", 2003)],
      },
      {
        ...inherited,
        path: "/admin-service/*",
        upstreams: [origin("admin-service", 2002)],
        onHookTimeout: "reject",
        hookTimeoutMs: 50,
      },
      {
        ...inherited,
        path: "/health",
        upstreams: [origin("user-service", 2001)],
        failPolicy: "open",
        plugins: [],
      },
    ],
  });
});

Deno.test("config with only routes has the defaults of the design", async () => {
  const { file, ...config } = await loadWith({});
  const { routes: _, ...example } = DESIGN_EXAMPLE;
  const { file: exampleFile, ...designed } = await loadWith({
    ...example,
    pluginEnv: [],
    pluginConfig: {},
    cors: { ...example.cors, allowedOrigins: [] },
    forward: { allowedHosts: [], blockPrivateNetworks: true },
  });
  const relative = (value: Omit<Config, "file">, from: string) =>
    JSON.parse(JSON.stringify(value).replaceAll(join(from, ".."), "DIR"));
  assertEquals(relative(config, file), relative(designed, exampleFile));
});

Deno.test("config's JSON Schema describes every key, and its defaults are what the loader gives", async () => {
  const schema = z.toJSONSchema(configSchema, { io: "input" });
  assertEquals(schema.required, ["routes"]);
  const keys: string[] = [];
  const visit = (node: z.core.JSONSchema.BaseSchema, path: string): void => {
    for (const [key, child] of Object.entries(node.properties ?? {})) {
      if (typeof child === "boolean") continue;
      assert(child.description, `${path}.${key} has no description`);
      keys.push(`${path}${key}`);
      visit(child, `${path}${key}.`);
    }
    for (const branch of [...node.anyOf ?? [], ...node.oneOf ?? [], node.items ?? []].flat()) {
      if (typeof branch !== "boolean") visit(branch, path);
    }
  };
  visit(schema, "");
  for (const key of ["listen", "bodies.inlineLimitBytes", "routes.timeouts.idleMs"]) {
    assert(keys.includes(key), key);
  }
  const defaults = Object.entries(schema.properties ?? {}).flatMap(([key, child]) =>
    typeof child === "object" && "default" in child ? [[key, child.default]] : []
  );
  const { file: _, pluginsDir, ...implied } = await loadWith({});
  const { file: __, pluginsDir: spelledDir, ...spelled } = await loadWith(
    Object.fromEntries(defaults),
  );
  const keysWithout = keys.filter((key) =>
    !key.includes(".") && !defaults.some(([it]) => it === key)
  );
  assertEquals(keysWithout, ["$schema", "routes"]);
  assertEquals(spelled, implied);
  assertEquals(spelledDir.split("/").at(-1), pluginsDir.split("/").at(-1));
});

Deno.test("config resolves sockets and directories against the file, not the working directory", async () => {
  const config = await loadWith({
    listen: "unix:http.sock",
    admin: { listen: "unix:/run/conduit/admin.sock" },
    pluginsDir: "../policy",
  });
  const dir = join(config.file, "..");
  assertEquals(config.listen, { kind: "unix", path: join(dir, "http.sock") });
  assertEquals(config.admin, {
    listen: { kind: "unix", path: "/run/conduit/admin.sock" },
    allowedHosts: [],
  });
  assertEquals(config.pluginsDir, join(dir, "../policy"));
  assertEquals((await loadWith({ admin: false })).admin, false);
  const anyPort = await loadWith({ listen: "127.0.0.1:0", admin: { listen: "127.0.0.1:0" } });
  assertEquals(anyPort.admin, { listen: anyPort.listen, allowedHosts: [] });
});

Deno.test("config reads every notation of an address to listen on", async () => {
  for (
    const [listen, hostname, port] of [
      [":0", "0.0.0.0", 0],
      ["127.0.0.1:8080", "127.0.0.1", 8080],
      ["[::1]:8080", "::1", 8080],
      ["[::]:80", "::", 80],
      ["LocalHost:1", "localhost", 1],
      ["unix.example:1", "unix.example", 1],
    ]
  ) assertEquals<unknown>((await loadWith({ listen })).listen, { kind: "tcp", hostname, port });
});

Deno.test("config lets a route override parts of the gateway's settings", async () => {
  const { routes } = await loadWith(route({
    upstream: ["HTTPS://Api.Example.com/", "http://[::1]:81"],
    host: "*.Example.com",
    methods: ["GET"],
    plugins: ["001-auth"],
    timeouts: { idleMs: 5 },
    maxRequestBytes: 0,
    onHookError: "continue",
  }));
  assertEquals(routes[0]?.upstreams, [
    { protocol: "https:", hostname: "api.example.com", port: 443 },
    { protocol: "http:", hostname: "[::1]", port: 81 },
  ]);
  assertEquals(routes[0]?.host, "*.example.com");
  assertEquals(routes[0]?.plugins, ["001-auth"]);
  assertEquals(routes[0]?.timeouts, { connectMs: 5000, responseHeaderMs: 30000, idleMs: 5 });
  assertEquals(routes[0]?.maxRequestBytes, 0);
  assertEquals(routes[0]?.onHookError, "continue");
  assertEquals(routes[0] && "onHookTimeout" in routes[0], false);
});

// Settings that are laid over the minimal configuration, and the problems they must give, to the letter.
const MISTAKES: readonly (readonly [settings: object, expected: string])[] = [
  [{ listn: ":1" }, 'listn: unknown key, did you mean "listen"?'],
  [
    { log: { colour: 1 } },
    "log.colour: unknown key, known here: format, level, requestHeaders, queryParameters, pluginRecordsPerSecond, pluginBytesPerSecond",
  ],
  [route({ hots: "x" }), 'routes[0].hots: unknown key, did you mean "host"?'],
  [
    { constructor: 1, toString: 2 },
    "constructor: unknown key, known here: " + Object.keys(configSchema.shape).join(", ") + "\n" +
    "toString: unknown key, known here: " + Object.keys(configSchema.shape).join(", "),
  ],
  [{ routes: undefined }, "routes: is missing; give a list of routes"],
  [{ routes: [] }, "routes: [] is empty; give at least one route"],
  [{ routes: [5] }, "routes[0]: 5 is not an object"],
  [
    { routes: [{}] },
    'routes[0].path: is missing; give a path like "/api/*"\n' +
    "routes[0].upstream: is missing; give an http or https URL or a list of them",
  ],

  [route({ upstream: "htp://x" }), 'routes[0].upstream: "htp://x" is not an http or https URL'],
  [route({ upstream: "http:x" }), 'routes[0].upstream: "http:x" is not an http or https URL'],
  [
    route({ upstream: "http://x y" }),
    'routes[0].upstream: "http://x y" is not an http or https URL',
  ],
  [route({ upstream: 5 }), "routes[0].upstream: 5 is not an http or https URL or a list of them"],
  [route({ upstream: [] }), "routes[0].upstream: [] is empty; give at least one URL"],
  [
    route({ upstream: ["http://x", "x:1"] }),
    'routes[0].upstream[1]: "x:1" is not an http or https URL',
  ],
  [
    route({ upstream: "http://u:secret@x" }),
    'routes[0].upstream: "http://***@x" has credentials, which are never sent; let a plugin set a header',
  ],
  [
    route({ upstream: "http://x/v1" }),
    'routes[0].upstream: "http://x/v1" has a path, and only an origin is meant; write "http://x"',
  ],
  [
    route({ upstream: "http://x/?" }),
    'routes[0].upstream: "http://x/?" has a query or a fragment; write "http://x"',
  ],
  [
    route({ upstream: "http://x,evil.example" }),
    'routes[0].upstream: "http://x,evil.example" is not a URL with a host name or address',
  ],
  [
    { pluginNet: ["xn--a", "010.0.0.1"] },
    'pluginNet[0]: "xn--a" is not a host; use "api.example.com" or "api.example.com:443"\n' +
    'pluginNet[1]: "010.0.0.1" is not a host; use "api.example.com" or "api.example.com:443"',
  ],
  [
    route({ upstream: "http://x:0" }),
    'routes[0].upstream: "http://x:0" has port 0, which nothing can listen on',
  ],

  [route({ path: "x" }), 'routes[0].path: "x" does not start with /; write "/x"'],
  [route({ path: "/a/*/b" }), 'routes[0].path: "/a/*/b" has a * other than in a final "/*"'],
  [route({ path: "/a*" }), 'routes[0].path: "/a*" has a * other than in a final "/*"'],
  [
    route({ path: "/a//b/*" }),
    'routes[0].path: "/a//b/*" is not in canonical form and would never match; write "/a/b/*"',
  ],
  [
    route({ path: "/a/../b" }),
    'routes[0].path: "/a/../b" is not in canonical form and would never match; write "/b"',
  ],
  [
    route({ path: "/%61/%2E%2E/c" }),
    'routes[0].path: "/%61/%2E%2E/c" is not in canonical form and would never match; write "/c"',
  ],
  [
    route({ path: "/ä" }),
    'routes[0].path: "/ä" is not in canonical form and would never match; write "/%C3%A4"',
  ],
  [
    route({ path: "/a?b" }),
    'routes[0].path: "/a?b" has a query, which is not matched',
  ],
  [
    route({ path: "/%c3" }),
    'routes[0].path: "/%c3" is not in canonical form and would never match; write "/%C3"',
  ],
  [
    route({ path: "/%00" }),
    'routes[0].path: "/%00" would never match: path contains a control character',
  ],
  [
    route({ path: "/a%2Fb" }),
    'routes[0].path: "/a%2Fb" has an encoded slash, which is refused; set "encodedSlashes": "keep"',
  ],

  [
    route({ host: "a b" }),
    'routes[0].host: "a b" is not a host name; use "api.example.com" or "*.example.com"',
  ],
  [
    route({ host: "*.*.x" }),
    'routes[0].host: "*.*.x" is not a host name; use "api.example.com" or "*.example.com"',
  ],
  [
    route({ host: "X.example:80" }),
    'routes[0].host: "X.example:80" has a port, which is not compared; write "x.example"',
  ],
  [route({ methods: ["get"] }), 'routes[0].methods[0]: "get" is not in upper case; write "GET"'],
  [route({ methods: ["A B"] }), 'routes[0].methods[0]: "A B" is not an HTTP method'],
  [
    route({ methods: ["TRACE"] }),
    'routes[0].methods[0]: "TRACE" is refused by the gateway for every route; leave it out',
  ],
  [route({ methods: [] }), "routes[0].methods: [] is empty; leave it out for every method"],
  [
    route({ plugins: true }),
    "routes[0].plugins: true is not false or a list of plugin names; leave it out for every plugin",
  ],
  [
    route({ plugins: ["001-auth.ts"] }),
    'routes[0].plugins[0]: "001-auth.ts" has a file extension; write "001-auth"',
  ],
  [route({ plugins: ["a/b"] }), 'routes[0].plugins[0]: "a/b" is not a plugin name'],
  [
    { pluginConfig: { "001-auth.ts": {} } },
    'pluginConfig["001-auth.ts"]: the key has a file extension; use a plugin\'s name, like "001-auth"',
  ],
  [
    route({ timeouts: { idleMs: 0 } }),
    "routes[0].timeouts.idleMs: 0 is not an integer from 1 to 2147483647",
  ],
  [
    { routes: [ROUTE, { ...ROUTE, methods: ["GET"] }, { ...ROUTE, host: "x" }] },
    'routes[1].path: "/x/*" is taken by routes[0]; give one of them another "path", "host" or "methods"',
  ],

  [
    { listen: "8080" },
    'listen: "8080" is not an address; use ":8080", "127.0.0.1:8080", "[::1]:8080" or "unix:/path"',
  ],
  [
    { listen: ":65536" },
    'listen: ":65536" is not an address; use ":8080", "127.0.0.1:8080", "[::1]:8080" or "unix:/path"',
  ],
  [
    { listen: "::1:80" },
    'listen: "::1:80" is not an address; use ":8080", "127.0.0.1:8080", "[::1]:8080" or "unix:/path"',
  ],
  [{ listen: 8080 }, 'listen: 8080 is not an address like ":8080"'],
  [
    { listen: ":9901" },
    'admin.listen: "127.0.0.1:9901" is taken by "listen"; use another port',
  ],
  [
    { listen: "unix:a", admin: { listen: "unix:./a" } },
    'admin.listen: "unix:./a" is taken by "listen"; use another port',
  ],
  [
    { listen: `unix:/${"a".repeat(107)}` },
    `listen: "unix:/${
      "a".repeat(92)
    }… is 108 bytes long as an absolute path; a Unix socket may have 107`,
  ],
  [
    { admin: true },
    'admin: true is not false or an object like {"listen": "127.0.0.1:9901"}',
  ],
  [
    { admin: { port: 1 } },
    "admin.port: unknown key, known here: listen, allowedHosts",
  ],

  [{ hookTimeoutMs: -1 }, "hookTimeoutMs: -1 is not an integer from 1 to 2147483647"],
  [{ hookTimeoutMs: 1.5 }, "hookTimeoutMs: 1.5 is not an integer from 1 to 2147483647"],
  [{ hookTimeoutMs: "9" }, 'hookTimeoutMs: "9" is not an integer from 1 to 2147483647'],
  [
    { shutdownGraceMs: 1e10 },
    "shutdownGraceMs: 10000000000 is not an integer from 0 to 2147483647",
  ],
  [{ maxInFlight: 0 }, "maxInFlight: 0 is not an integer of at least 1"],
  [
    { hardCeilingMs: 50, ...route({ hookTimeoutMs: 60 }) },
    'hookTimeoutMs: 100 is more than "hardCeilingMs" (50); raise that or lower this\n' +
    'routes[0].hookTimeoutMs: 60 is more than "hardCeilingMs" (50); raise that or lower this',
  ],
  [
    { bodies: { inlineLimitBytes: 4000000 } },
    'bodies.inlineLimitBytes: 4000000 does not fit into "maxFrameBytes" (8388608); use at most 3047424',
  ],
  [{ failPolicy: "opne" }, 'failPolicy: "opne" is not "closed" or "open"'],
  [{ log: { level: 3 } }, 'log.level: 3 is not "debug", "info", "warn" or "error"'],
  [
    { forward: { blockPrivateNetworks: "no" } },
    'forward.blockPrivateNetworks: "no" is not true or false',
  ],
  [{ pluginNet: "x" }, 'pluginNet: "x" is not a list of hosts'],
  [{ pluginEnv: ["A-B"] }, 'pluginEnv[0]: "A-B" is not a name of a variable'],
  [
    { pluginNet: ["a,b"] },
    'pluginNet[0]: "a,b" is not a host; use "api.example.com" or "api.example.com:443"',
  ],
  [
    { pluginNet: ["[fe80::1%eth0]"] },
    'pluginNet[0]: "[fe80::1%eth0]" is not a host; use "api.example.com" or "api.example.com:443"',
  ],
  [{ pluginsDir: "" }, 'pluginsDir: "" is not a path'],

  [
    { trustedProxies: ["10.0.0.0"] },
    'trustedProxies[0]: "10.0.0.0" has no prefix length; write "10.0.0.0/32"',
  ],
  [
    { trustedProxies: ["10.1.2.3/8"] },
    'trustedProxies[0]: "10.1.2.3/8" has bits set beyond its prefix; write "10.0.0.0/8"',
  ],
  [
    { trustedProxies: ["fd00::1/8"] },
    'trustedProxies[0]: "fd00::1/8" has bits set beyond its prefix; write "fd00::/8"',
  ],
  [
    { trustedProxies: ["10/8"] },
    'trustedProxies[0]: "10/8" is not a CIDR; use "10.0.0.0/8", "fd00::/8" or "unix:"',
  ],
  [
    { trustedProxies: ["10.0.0.0/33"] },
    'trustedProxies[0]: "10.0.0.0/33" has no prefix length from 0 to 32',
  ],
  [
    { stripInboundHeaders: ["*"] },
    'stripInboundHeaders[0]: "*" is not a header name or the start of one and a *, like "x-gateway-*"',
  ],

  [
    { log: { requestHeaders: ["user agent"] } },
    'log.requestHeaders[0]: "user agent" is not a name that HTTP allows (RFC 9110, 5.6.2)',
  ],
  [
    { admin: { allowedHosts: ["*.example.com"] } },
    'admin.allowedHosts[0]: "*.example.com" stands for many names; name each one',
  ],
  [{ log: { queryParameters: [1] } }, "log.queryParameters[0]: 1 is not a string"],

  [{ cors: "off" }, 'cors: "off" is not an object or "passthrough"'],
  [
    { cors: { allowedOrigins: ["https://x.example/"] } },
    'cors.allowedOrigins[0]: "https://x.example/" is not an origin as browsers send it; write "https://x.example"',
  ],
  [
    { cors: { allowedOrigins: ["https://*.X.example:443"] } },
    'cors.allowedOrigins[0]: "https://*.X.example:443" is not an origin as browsers send it; write "https://*.x.example"',
  ],
  ...["null", "x.example", "https://a.*.example", "https://u@x"].map((origin) =>
    [
      { cors: { allowedOrigins: [origin] } },
      `cors.allowedOrigins[0]: ${
        origin.includes("@") ? '"https://***@x"' : `"${origin}"`
      } is not an origin; use "https://app.example.com", "https://*.example.com" or "*"`,
    ] as const
  ),
  [
    { cors: { allowedOrigins: ["*"], allowedHeaders: ["a", "*"], allowCredentials: true } },
    'cors.allowedOrigins[0]: "*" cannot be used with "allowCredentials"; name each one\n' +
    'cors.allowedHeaders[1]: "*" cannot be used with "allowCredentials"; name each one',
  ],
  [
    { cors: { allowedMethods: ["G T"] } },
    'cors.allowedMethods[0]: "G T" is not a name that HTTP allows (RFC 9110, 5.6.2)',
  ],
  [
    { forward: { allowedHosts: ["http://x"] } },
    'forward.allowedHosts[0]: "http://x" is not a host; use "api.example.com", "*.example.com" or "host:8443"',
  ],
  [
    { forward: { allowedHosts: [5, { host: "0177.1" }, {}] } },
    'forward.allowedHosts[0]: 5 is not a host like "api.example.com:8443" or {"host", "allowPrivate"}\n' +
    'forward.allowedHosts[1].host: "0177.1" is not a host; use "api.example.com", "*.example.com" or "host:8443"\n' +
    'forward.allowedHosts[2].host: is missing; give a host like "api.example.com:8443"',
  ],

  [
    { services: { cache: {} } },
    'services.cache.driver: is missing; give "memory", "upstash" or "redis"',
  ],
  [
    { services: { cache: { driver: "disk" } } },
    'services.cache.driver: "disk" is not "memory", "upstash" or "redis"',
  ],
  [
    { services: { cache: { driver: "upstash", url: "https://u" } } },
    "services.cache.token: is missing; give a token",
  ],
  [
    { services: { cache: { driver: "redis", url: "redis://r", timeoutMs: 0, keyPrefix: 1 } } },
    "services.cache.timeoutMs: 0 is not an integer from 1 to 2147483647\n" +
    "services.cache.keyPrefix: 1 is not a string",
  ],
  [
    { processes: 2, runtime: { mode: "external", socket: "/run/host.sock" } },
    'runtime.mode: "external" serves one gateway process; use "processes": 1, or "embedded"',
  ],
  [
    { runtime: { mode: "external", socket: `/${"s".repeat(107)}` } },
    `runtime.socket: "/${"s".repeat(97)}… is 1 bytes too long for a Unix socket`,
  ],
  [
    { processes: 2, listen: "unix:/run/conduit/http.sock" },
    'processes: 2 gateway processes cannot share the Unix socket of "listen"; use 1, or listen on a port',
  ],
  [{ processes: "all" }, 'processes: "all" is not an integer from 1 to 1024 or "auto"'],
  [{ processes: 0 }, "processes: 0 is not an integer from 1 to 1024"],
];

for (const [settings, expected] of MISTAKES) {
  Deno.test(`config refuses ${JSON.stringify(settings).slice(0, 90)}`, async () => {
    assertEquals(await problems(loadWith(settings)), expected);
  });
}

Deno.test("config is plain data, so that a process can be given it as JSON", async () => {
  const config = await load(JSON.stringify(DESIGN_EXAMPLE));
  assertEquals(JSON.parse(JSON.stringify(config)), config);
});

Deno.test("a hookTimeoutMs over the default of hardCeilingMs needs none of its own", async () => {
  const { hookTimeoutMs, hardCeilingMs, routes } = await load(
    JSON.stringify({ hookTimeoutMs: 1000, routes: [{ ...ROUTE, hookTimeoutMs: 5000 }] }),
  );
  assertEquals([hookTimeoutMs, hardCeilingMs, routes[0]?.hookTimeoutMs], [1000, 200, 5000]);
});

Deno.test("config reports ten mistakes in one file at once", async () => {
  const text = JSON.stringify({
    listn: ":1",
    listen: "x",
    hookTimeoutMs: 500,
    hardCeilingMs: 200,
    maxInFlight: -1,
    cors: { allowedOrigins: ["*"], allowCredentials: true, maxAgeSeconds: "1" },
    trustedProxies: ["x"],
    pluginEnv: ["${UNSET}"],
    processes: 0,
    routes: [ROUTE, { path: "/x/*", upstream: "htp://x" }],
  }).replace(/}$/, ',"maxInFlight": -1}');
  assertEquals((await problems(load(text))).split("\n"), [
    "pluginEnv[0]: the variable UNSET is not set; set it or write ${UNSET:-default}",
    'listen: "x" is not an address; use ":8080", "127.0.0.1:8080", "[::1]:8080" or "unix:/path"',
    "processes: 0 is not an integer from 1 to 1024",
    "maxInFlight: -1 is not an integer of at least 1",
    'trustedProxies[0]: "x" is not a CIDR; use "10.0.0.0/8", "fd00::/8" or "unix:"',
    'cors.maxAgeSeconds: "1" is not an integer from 0 to 2147483647',
    'routes[1].upstream: "htp://x" is not an http or https URL',
    'listn: unknown key, did you mean "listen"?',
    'hookTimeoutMs: 500 is more than "hardCeilingMs" (200); raise that or lower this',
    'cors.allowedOrigins[0]: "*" cannot be used with "allowCredentials"; name each one',
    'routes[1].path: "/x/*" is taken by routes[0]; give one of them another "path", "host" or "methods"',
    "maxInFlight: is given again in line 1; remove one of them",
  ]);
});

Deno.test("config may have comments, and a string that looks like one is none", async () => {
  const { pluginConfig } = await load(`// the whole gateway
{
  /* a key: "shutdownGraceMs": 1, **/
  "pluginConfig": { "001-a": { "url": "http://x/*", "end": "*/" } }, // the end
  "routes": [/**/${JSON.stringify(ROUTE)}/*//*/]
}
// nothing more`);
  assertEquals(pluginConfig, { "001-a": { url: "http://x/*", end: "*/" } });
});

Deno.test("comments of any size and number are read", () => {
  for (const comments of ["// \n", "/* * */"].map((each) => each.repeat(2_000_000))) {
    assertEquals(parseJsonText(`${comments}1${comments}`).value, 1);
  }
  assertEquals(parseJsonText(`/*${"* ".repeat(5_000_000)}*/1`).value, 1);
});

Deno.test("config names file, line and column of what is not JSON, with a caret below it", async () => {
  for (
    const [text, expected] of [
      ["", "c.json:1:1: is not JSON: expected a value, found the end of the file\n  \n  ^"],
      [
        '{\n\t"listen": 5,\n}',
        'c.json:3:1: is not JSON: expected a key in double quotes, found "}"\n  }\n  ^',
      ],
      [
        '{\n\t"listen": /* all\n}',
        'c.json:2:12: is not JSON: expected a value, found "/" (the comment has no end)\n   "listen": /* all\n             ^',
      ],
      ['{"a" 1}', 'c.json:1:6: is not JSON: expected ":", found "1"\n  {"a" 1}\n       ^'],
      ["[1 2]", 'c.json:1:4: is not JSON: expected "," or "]", found "2"\n  [1 2]\n     ^'],
      ["{} x", 'c.json:1:4: is not JSON: expected the end of the file, found "x"\n  {} x\n     ^'],
      [
        '["a\nb"]',
        'c.json:1:2: is not JSON: expected a string that ends on its line and has only JSON\'s escapes, found "\\""\n  ["a\n   ^',
      ],
    ] as const
  ) assertEquals(await problems(load(text)), expected);
});

Deno.test("config refuses a file that is missing, unreadable, not UTF-8 or not an object", async () => {
  assertEquals(
    await problems(loadConfig("/nowhere/c.json")),
    "c.json: there is no such file; name one with --config FILE",
  );
  assertMatch(await problems(loadConfig("/")), /^\/: cannot be read: Is a directory/);
  assertEquals(await problems(load(new Uint8Array([0x22, 0xff, 0x22]))), "c.json: is not UTF-8");
  assertEquals(await problems(load("[]")), "c.json: [] is not an object");
  assertEquals(await problems(load("null")), "c.json: null is not an object");
  assertEquals(
    (await problems(load(`{"a": ${"[".repeat(100_000)}`))).split("\n")[0],
    'c.json:1:71: is not JSON: expected at most 64 levels of nesting, found "["',
  );
});

Deno.test("config refuses a key that is given twice, wherever it is", async () => {
  const text = '{"routes": [{\n"path": "/a",\n"upstream": "http://x",\n"path": "/b"}]}';
  assertEquals(
    await problems(load(text)),
    "routes[0].path: is given again in line 4; remove one of them",
  );
});

Deno.test("config takes ${NAME} and ${NAME:-default} from the environment, once, in values only", async () => {
  const env = { HOST: "127.0.0.1", EMPTY: "", NESTED: "${HOST}" };
  const config = await loadWith({
    listen: "${HOST}:${PORT:-81}",
    pluginConfig: {
      "${HOST}": ["<${EMPTY}>", "${EMPTY:-d}", "${NESTED}", "$${HOST} $5 {x}", "${A:-b:-c}"],
    },
  }, env);
  assertEquals(config.listen, { kind: "tcp", hostname: "127.0.0.1", port: 81 });
  assertEquals(config.pluginConfig, {
    "${HOST}": ["<>", "d", "${HOST}", "${HOST} $5 {x}", "b:-c"],
  });
});

Deno.test("config refuses a variable that is not set and a ${ that is none", async () => {
  assertEquals(
    await problems(loadWith({ listen: "${NO}", pluginsDir: "${", pluginEnv: ["${a b}"] })),
    "listen: the variable NO is not set; set it or write ${NO:-default}\n" +
      'pluginsDir: "${" does not start ${NAME} or ${NAME:-default}; write "$${" for itself\n' +
      'pluginEnv[0]: "${" does not start ${NAME} or ${NAME:-default}; write "$${" for itself',
  );
});

Deno.test("config names the variable, not its value, in a problem", async () => {
  assertEquals(
    await problems(loadWith(route({ upstream: "${U}", host: "a${U}" }), { U: "http://s3cret/p" })),
    'routes[0].host: value of "a${U}" is not a host name; use "api.example.com" or "*.example.com"\n' +
      "routes[0].upstream: value of ${U} has a path, and only an origin is meant",
  );
});

/** Every place in the example, as a path of keys. */
function placesIn(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== "object" || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, item]) => placesIn(item, [...path, key]))];
}

function replaced(value: unknown, path: readonly string[], by: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return by;
  const copy: Record<string, unknown> = Array.isArray(value)
    ? [...value] as unknown as Record<string, unknown>
    : { ...value as object };
  copy[key] = replaced(copy[key], rest, by);
  return copy;
}

const PLACES = placesIn(DESIGN_EXAMPLE);

/** A ConfigError in this project's words, or a Config. */
async function loadsOrRefuses(text: string, env: Env = {}): Promise<string> {
  try {
    await load(text, env);
    return "";
  } catch (error) {
    assert(error instanceof ConfigError, String(error));
    assert(error.problems.length > 0);
    assert(!/Invalid|undefined|NaN/.test(error.message.replaceAll(/"[^"]*"/g, "")), error.message);
    return error.message;
  }
}

/** Strings made of what addresses, paths and URLs are made of. */
const notation = fc.array(
  fc.constantFrom(
    ..."/:.*[]@?#%,-_$ \\".split(""),
    "http://",
    "unix:",
    "xn--a",
    "0x7f",
    "%2e",
    "::1",
    "10",
    "a",
    "\0",
  ),
).map((parts) => parts.join(""));

Deno.test("config law: any JSON value anywhere is loaded or refused with a ConfigError", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...PLACES),
      fc.oneof(fc.jsonValue(), notation),
      async (place, value) => {
        await loadsOrRefuses(JSON.stringify(replaced(DESIGN_EXAMPLE, place, value)));
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("config law: what comes from the environment is never in a message", async () => {
  const places = PLACES.filter((place) => place.length > 0);
  const secret = fc.tuple(
    fc.constantFrom("", "http://", "https://u:", "10.", "/", "*.", "unix:/"),
    fc.constantFrom("", "/", "/*", ".ts", ":80", "@x", "?", "/8", "//", ",", "…", " "),
  ).map(([before, after]) => `${before}s3cret${after}`);
  await fc.assert(
    fc.asyncProperty(
      fc.subarray(places, { minLength: 1, maxLength: 4 }),
      secret,
      fc.constantFrom("${S}", "x${S}", "${S:-5}", "${S}/"),
      async (chosen, value, template) => {
        const config = chosen.reduce<unknown>(
          (result, place) => {
            const [key = ""] = place.slice(-1);
            const parent = place.slice(0, -1).reduce<unknown>(
              (node, step) =>
                typeof node === "object" && node !== null
                  ? (node as Record<string, unknown>)[step]
                  : undefined,
              result,
            );
            const isThere = typeof parent === "object" && parent !== null && key in parent;
            return isThere ? replaced(result, place, template) : result;
          },
          DESIGN_EXAMPLE,
        );
        const message = await loadsOrRefuses(JSON.stringify(config), { S: value });
        assert(!message.includes("s3cret"), message);
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("json text law: reads what JSON.parse reads, but for comments, and refuses what it refuses", () => {
  const junk = fc.constantFrom("", ",", "}", '"', "\\", "1", "\n", "//", "/* */", "// x\n", "*/");
  const mangled = fc.tuple(fc.json(), fc.nat(), junk)
    .map(([text, at, junk]) => {
      const cut = at % (text.length + 1);
      return text.slice(0, cut) + junk + text.slice(cut + 1);
    });
  fc.assert(
    fc.property(fc.oneof(fc.json(), mangled).filter((text) => !mayBeMisread(text)), (text) => {
      let expected: unknown;
      let isJson = true;
      try {
        expected = JSON.parse(withoutComments(text));
      } catch {
        isJson = false;
      }
      try {
        assertEquals<unknown>(parseJsonText(text).value, expected);
        assert(isJson, `took ${text}`);
      } catch (error) {
        if (isJson && !/__proto__|e\+?\d{3}/i.test(text)) throw error;
        assertEquals((error as Error).name, "JsonTextError");
      }
    }),
    { numRuns: 3000 },
  );
});
