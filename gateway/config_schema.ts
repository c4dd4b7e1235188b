/**
 * The configuration as a zod schema: every key with its default and one sentence on what it does. `conduit schema`
 * and `docs/configuration.md` are written from it; rules that span several keys are in `config_checks.ts`.
 *
 * @module
 */

import * as z from "zod";
import * as address from "./config_addresses.ts";
import { unknownKey } from "./config_report.ts";
import * as notation from "./config_values.ts";

/** `setTimeout` fires at once for anything longer. */
const MAX_DELAY_MS = 2_147_483_647;

/** An object without unknown keys: one line of the message for each of them (see `config.ts`). */
function section<const S extends z.ZodRawShape>(shape: S) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? issue.keys.map((key) => unknownKey(key, Object.keys(shape))).join("\n")
        : "is not an object",
  });
}

/** A string in a notation of `config_values.ts` or `config_addresses.ts`. `what` completes "is not …". */
function text<T>(what: string, parse: (text: string) => T) {
  return z.string({ error: `is not ${what}` }).transform((value, context): T => {
    try {
      return parse(value);
    } catch (error) {
      if (!(error instanceof notation.InvalidValue)) throw error;
      const { message, write } = error;
      context.issues.push({ code: "custom", message, params: { write }, input: value });
      return z.NEVER;
    }
  });
}

function list<T extends z.ZodType>(what: string, item: T) {
  return z.array(item, { error: `is not a list of ${what}` });
}

function integer(min: number, max = Number.MAX_SAFE_INTEGER) {
  const isOpen = max === Number.MAX_SAFE_INTEGER;
  const error = `is not an integer ${isOpen ? `of at least ${min}` : `from ${min} to ${max}`}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

function oneOf<const T extends readonly [string, ...string[]]>(...values: T) {
  const names = values.map((value) => `"${value}"`);
  return z.enum(values, { error: `is not ${names.slice(0, -1).join(", ")} or ${names.at(-1)}` });
}

const flag = z.boolean({ error: "is not true or false" });
const delayMs = integer(1, MAX_DELAY_MS);
const listenAddress = text('an address like ":8080"', address.parseListen);
const filePath = text("a path", notation.parseFilePath);
const upstream = text("an http or https URL", address.parseUpstream);
const tokens = list("names", text("a name", notation.parseToken));
const forwardHost = text('a host like "api.example.com:8443"', address.parseForwardHost);

export const pluginNameSchema = text("a plugin name", notation.parsePluginName);

// What both the whole gateway and a route may set.
const hookTimeoutMs = delayMs;
const hookDispatch = oneOf("per-hook", "per-phase");
const failPolicy = oneOf("closed", "open");
const onHookTimeout = oneOf("continue", "reject");
const onHookError = oneOf("reject", "continue");
const maxRequestBytes = integer(0);

// What every cache outside of the gateway has.
const remoteCache = {
  timeoutMs: delayMs.prefault(80).describe(
    "How long one call may take; below hookTimeoutMs, so that a plugin can still answer.",
  ),
  keyPrefix: z.string({ error: "is not a string" }).prefault("conduit:")
    .describe("What every key in the store begins with."),
};

export const corsSchema = section({
  allowedOrigins: list("origins", text("an origin", address.parseCorsOrigin)).prefault([])
    .describe("Origins that may read answers, compared exactly; an empty list denies all."),
  allowedMethods: tokens.prefault(["GET"]).describe("Methods that a preflight grants."),
  allowedHeaders: tokens.prefault([]).describe("Request headers that a preflight grants."),
  exposedHeaders: tokens.prefault([]).describe("Response headers that scripts may read."),
  allowCredentials: flag.prefault(false).describe("Whether cookies and credentials may be sent."),
  maxAgeSeconds: integer(0, MAX_DELAY_MS).prefault(600)
    .describe("How long a browser may remember a preflight."),
});

export const routeSchema = section({
  path: text('a path like "/api/*"', notation.parsePathPattern)
    .describe('An exact path, or a prefix that ends in "/*"; the longest match wins.'),
  host: text("a host name", address.parseHostPattern).optional()
    .describe('Only requests to this host; "*.example.com" stands for any one label.'),
  methods: list("methods", text("an HTTP method", notation.parseMethod)).min(1, {
    error: "is empty; leave it out for every method",
  }).optional().describe("Only these methods; others are answered with 405."),
  upstream: z.union(
    [upstream, list("URLs", upstream).min(1, { error: "is empty; give at least one URL" })],
    { error: "is not an http or https URL or a list of them" },
  ).describe("The origin that requests go to, or several that are taken in turn."),
  stripPrefix: flag.prefault(false)
    .describe("Whether the matched prefix is cut from the path that the upstream sees."),
  plugins: z.union([z.literal(false), list("names", pluginNameSchema)], {
    error: "is not false or a list of plugin names; leave it out for every plugin",
  }).optional().describe("The only plugins that run here, or false for none."),
  failPolicy: failPolicy.optional().describe("Overrides the gateway's failPolicy."),
  onHookTimeout: onHookTimeout.optional()
    .describe("Overrides the gateway's onHookTimeout."),
  onHookError: onHookError.optional().describe("Overrides the gateway's onHookError."),
  hookTimeoutMs: hookTimeoutMs.optional().describe("Overrides the gateway's hookTimeoutMs."),
  hookDispatch: hookDispatch.optional().describe("Overrides the gateway's hookDispatch."),
  maxRequestBytes: maxRequestBytes.optional()
    .describe("Overrides bodies.maxRequestBytes; 0 is no limit."),
  timeouts: section({
    connectMs: delayMs.optional().describe("Overrides timeouts.connectMs."),
    responseHeaderMs: delayMs.optional().describe("Overrides timeouts.responseHeaderMs."),
    idleMs: delayMs.optional().describe("Overrides timeouts.idleMs."),
  }).optional().describe("Overrides some or all of the gateway's timeouts."),
  encodedSlashes: oneOf("reject", "keep").prefault("reject")
    .describe("Whether a path with %2F or %5C is refused with 400, or kept as it is."),
});

/**
 * The whole file. Parsing gives all defaults and reads the notations inside strings. For JSON Schema:
 * `z.toJSONSchema(configSchema, { io: "input" })`.
 */
export const configSchema = section({
  $schema: z.string({ error: "is not a string" }).optional()
    .describe("Where an editor finds the JSON Schema; has no effect."),
  listen: listenAddress.prefault(":8080").describe(
    'Where clients connect: ":8080" (every IPv4 address), "[::]:8080" (IPv6 too), "127.0.0.1:8080" or "unix:/path".',
  ),
  processes: z.union([integer(1, 1024), z.literal("auto")], {
    error: 'is not an integer from 1 to 1024 or "auto"',
  }).prefault(1).describe('Gateway processes that share the port; "auto" is one a core.'),
  pluginsDir: filePath.prefault("./plugins").describe("The directory of the plugin files."),
  pluginPoolSize: integer(1, 256).prefault(4).describe("Isolates that run hooks."),
  pluginEnv: list("names", text("a name", notation.parseVariableName)).prefault([])
    .describe("The only environment variables that plugins can read."),
  pluginNet: list("hosts", text("a host", address.parseNetHost)).prefault([])
    .describe("Hosts, with or without port, that plugins may reach beyond the routes' upstreams."),
  pluginConfig: z.record(z.string(), z.json(), { error: "is not an object" }).prefault({})
    .describe("For each plugin name what its onLoad gets as init.config."),
  hookTimeoutMs: hookTimeoutMs.prefault(100).describe("How long one hook may take."),
  hardCeilingMs: delayMs.prefault(200)
    .describe(
      "How long a hook may block its isolate before the isolate is replaced; its hookTimeoutMs, where that is longer.",
    ),
  hookDispatch: hookDispatch.prefault("per-hook")
    .describe("Whether each hook is asked for alone, or a phase in one message."),
  failPolicy: failPolicy.prefault("closed").describe(
    "Without plugin runtime: answer 503 (closed), or proxy without plugins (open).",
  ),
  onHookTimeout: onHookTimeout.prefault("continue").describe(
    "After a hook that took too long: go on without it, or answer 503 (reject).",
  ),
  onHookError: onHookError.prefault("reject").describe(
    "After a beforeRequest hook that threw: answer 500 (reject), or go on without it.",
  ),
  bodies: section({
    inlineLimitBytes: integer(0).prefault(65_536).describe(
      "Bodies up to this size are shown to plugins; larger ones stream past; 0 shows none.",
    ),
    maxRequestBytes: maxRequestBytes.prefault(10_485_760)
      .describe("Larger request bodies are answered with 413; 0 is no limit."),
  }).prefault({}).describe("Sizes of bodies."),
  timeouts: section({
    connectMs: delayMs.prefault(5_000).describe("Until a connection to an upstream stands."),
    responseHeaderMs: delayMs.prefault(30_000).describe("Until the head of the answer is here."),
    idleMs: delayMs.prefault(60_000).describe(
      "Between two pieces of a body, and for a client to take one.",
    ),
  }).prefault({}).describe("How long the gateway waits for an upstream."),
  maxInFlight: integer(1).prefault(10_000)
    .describe("Requests at the same time; beyond it 503 with Retry-After."),
  trustedProxies: list("CIDRs", text("a CIDR", address.parseProxy)).prefault([])
    .describe(
      'Networks whose X-Forwarded-* headers are kept and extended; others\' are replaced. "unix:" is whoever connects to a Unix socket.',
    ),
  stripInboundHeaders: list("header names", text("a header name", notation.parseHeaderPattern))
    .prefault(["x-gateway-*"]).describe("Headers that are never accepted from a client."),
  cors: z.union([z.literal("passthrough"), corsSchema], {
    error: 'is not an object or "passthrough"',
  }).prefault({}).describe(
    'Cross-origin rules; without them no origin is granted anything; "passthrough" leaves CORS to the upstreams.',
  ),
  forward: section({
    allowedHosts: list(
      "hosts",
      z.union([
        forwardHost.transform((host) => ({ ...host, allowPrivate: false })),
        section({
          host: forwardHost.describe("As in the short form."),
          allowPrivate: flag.prefault(false).describe("Whether it may have a private address."),
        }).transform(({ host, allowPrivate }) => ({ ...host, allowPrivate })),
      ], { error: 'is not a host like "api.example.com:8443" or {"host", "allowPrivate"}' }),
    ).prefault([]).describe("Where ctx.forward may go beyond the routes' upstreams."),
    blockPrivateNetworks: flag.prefault(true)
      .describe("Whether forward targets with a private or special address are refused."),
  }).prefault({}).describe("Limits of ctx.forward."),
  services: section({
    cache: z.discriminatedUnion("driver", [
      section({
        driver: z.literal("memory").describe("The gateway's own memory."),
        maxEntries: integer(1).prefault(10_000).describe(
          "Entries kept; the oldest use goes first.",
        ),
        maxBytes: integer(1).prefault(67_108_864).describe("Size of all entries together."),
      }),
      section({
        driver: z.literal("upstash").describe("Upstash's REST interface."),
        url: text("an http or https URL", address.parseUpstashUrl).describe("Its address."),
        token: text("a token", notation.parseSecretToken)
          .describe("Its token, which plugins never see."),
        ...remoteCache,
      }),
      section({
        driver: z.literal("redis").describe("A plain Redis."),
        url: text("a redis or rediss URL", address.parseRedisUrl)
          .describe("Its address, with user, password and database number if it has them."),
        ...remoteCache,
      }),
    ], {
      error: (issue) =>
        issue.code === "invalid_union"
          ? 'is not "memory", "upstash" or "redis"'
          : 'is not an object like {"driver": "memory"}',
    }).prefault({ driver: "memory" }).describe("The store behind ctx.services.cache."),
  }).prefault({}).describe("What ctx.services works with."),
  runtime: z.discriminatedUnion("mode", [
    section({ mode: z.literal("embedded").describe("The gateway starts it.") }),
    section({
      mode: z.literal("external").describe("It runs as `conduit host`."),
      socket: filePath.describe("The host's Unix socket."),
    }),
  ], {
    error: (issue) =>
      issue.code === "invalid_union"
        ? 'is not "embedded" or "external"'
        : 'is not an object like {"mode": "embedded"}',
  }).prefault({ mode: "embedded" })
    .describe("Whether the gateway starts the plugin host, or finds it running."),
  admin: z.union([
    z.literal(false),
    section({
      listen: listenAddress.prefault("127.0.0.1:9901").describe("Its address, as in listen."),
      allowedHosts: list("host names", text("a host name", address.parseHostName)).prefault([])
        .describe("Names that it may be asked by, beside addresses and localhost."),
    }),
  ], { error: 'is not false or an object like {"listen": "127.0.0.1:9901"}' }).prefault({})
    .describe("The listener for health, metrics and what happened; false turns it off."),
  log: section({
    format: oneOf("text", "json").prefault("text").describe("How log lines are written."),
    level: oneOf("debug", "info", "warn", "error").prefault("info")
      .describe("The least level that is written."),
    requestHeaders: list("header names", text("a header name", notation.parseHeaderName))
      .prefault([])
      .describe("Request headers that access lines show; no other is in them."),
    queryParameters: list("names", z.string({ error: "is not a string" })).prefault([])
      .describe("Query parameters that access lines show; no other is in them."),
    pluginRecordsPerSecond: integer(0).prefault(100).describe(
      "What each plugin may log, with ten seconds' worth in advance; the rest is dropped and counted; 0 is no limit.",
    ),
    pluginBytesPerSecond: integer(0).prefault(65_536)
      .describe("The same in bytes; 0 is no limit."),
  }).prefault({}).describe("The log on standard output."),
  shutdownGraceMs: integer(0, MAX_DELAY_MS).prefault(10_000)
    .describe("How long running requests may take after SIGTERM."),
  maxFrameBytes: integer(65_536, 268_435_456).prefault(8_388_608)
    .describe("The largest message between the gateway and the plugin host."),
  routes: list("routes", routeSchema).min(1, { error: "is empty; give at least one route" })
    .describe("Which requests go where."),
});

export type Settings = z.output<typeof configSchema>;
