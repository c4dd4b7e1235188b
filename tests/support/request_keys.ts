/**
 * The keys whose effect a request shows, and how.
 *
 * @module
 */

import { freezeHost } from "./freeze.ts";
import { adminPage, type KeyEffects, type KeySetting, look } from "./key_probe.ts";

/** By key. */
export function requestKeys(setting: KeySetting): KeyEffects {
  return { ...sharedKeys(setting), ...ofRequests(setting), ...ofCors(setting) };
}

const POST = { method: "POST", body: "0123456789" };

/** Those that a route may set for itself. @param prefix of the paths that are asked for */
export function sharedKeys({ gateway }: Pick<KeySetting, "gateway">, prefix = ""): KeyEffects {
  const at = (path: string) => look(gateway, path);
  const statusAt = (path: string) => async () => (await at(path)).status;
  let dispatched = 0;
  return {
    hookTimeoutMs: {
      to: { hookTimeoutMs: 50 },
      see: async () => (await at(`${prefix}/slow`)).headers.get("x-slow"),
      gives: ["yes", null],
    },
    hookDispatch: {
      from: { hookDispatch: "per-hook" },
      to: { hookDispatch: "per-phase" },
      see: async () => {
        await at(`${prefix}/asked-${++dispatched}`);
        const frame = await gateway.until(
          () =>
            gateway.stderr.split("\n").find((line) =>
              line.includes('"type":"hook"') && line.includes(`/asked-${dispatched}"`)
            ),
          { what: "the hook's frame in the trace" },
        );
        return frame?.includes('"plugin":"*"');
      },
      gives: [false, true],
    },
    failPolicy: {
      from: { hookTimeoutMs: 200 },
      to: { hookTimeoutMs: 200, failPolicy: "open" },
      see: async () => {
        await freezeHost(gateway);
        return (await at(`${prefix}/x`)).status;
      },
      gives: [503, 200],
    },
    onHookTimeout: {
      from: { hookTimeoutMs: 50 },
      to: { hookTimeoutMs: 50, onHookTimeout: "reject" },
      see: statusAt(`${prefix}/slow`),
      gives: [200, 503],
    },
    onHookError: {
      to: { onHookError: "continue" },
      see: statusAt(`${prefix}/throw`),
      gives: [500, 200],
    },
    "timeouts.connectMs": {
      to: { timeouts: { connectMs: 1234 } },
      // There is no address on this machine that does not answer.
      see: async () => (await adminPage(gateway, "/config")).routes[0].timeouts.connectMs,
      gives: [5000, 1234],
    },
    "timeouts.responseHeaderMs": {
      to: { timeouts: { responseHeaderMs: 50 } },
      see: statusAt(`${prefix}/late`),
      gives: [200, 504],
    },
    "timeouts.idleMs": {
      to: { timeouts: { idleMs: 50 } },
      see: async () => (await at(`${prefix}/half`)).text,
      gives: ["first,second", "first,…"],
    },
  };
}

function ofRequests({ gateway, upstream, other }: KeySetting): KeyEffects {
  const at = (path: string, init?: RequestInit) => look(gateway, path, init);
  const statusAt = (path: string, init?: RequestInit) => async () => (await at(path, init)).status;
  const toldAt = (path: string, init?: RequestInit) => async () => (await at(path, init)).told;
  const target = new URL(other.url).host;
  const forwarded = async () =>
    (await at("/forward", { headers: { "x-to": other.url } })).json.name;
  const shown = async (path: string, init?: RequestInit) => {
    const from = gateway.logs.length;
    await at(path, init);
    return await gateway.waitForLog((line) => "durationMs" in line, { from });
  };
  return {
    "bodies.inlineLimitBytes": {
      to: { bodies: { inlineLimitBytes: 5 } },
      see: toldAt("/body", POST),
      gives: ["inline", "reference"],
    },
    "bodies.maxRequestBytes": {
      to: { bodies: { maxRequestBytes: 5 } },
      see: statusAt("/x", POST),
      gives: [200, 413],
    },
    maxInFlight: {
      to: { maxInFlight: 1 },
      see: async () => {
        const { length } = upstream.seen;
        const first = at("/late");
        await gateway.until(() => upstream.seen.length > length, { what: "the first one" });
        const second = await at("/x");
        await first;
        return second.status;
      },
      gives: [200, 503],
    },
    trustedProxies: {
      to: { trustedProxies: ["127.0.0.1/32"] },
      see: toldAt("/address", { headers: { "x-forwarded-for": "203.0.113.7" } }),
      gives: ["127.0.0.1", "203.0.113.7"],
    },
    stripInboundHeaders: {
      to: { stripInboundHeaders: ["x-mine"] },
      see: toldAt("/mine", { headers: { "x-mine": "1" } }),
      gives: ["1", null],
    },
    "forward.allowedHosts[].host": {
      from: { forward: { allowedHosts: [{ host: "127.0.0.1:1", allowPrivate: true }] } },
      to: { forward: { allowedHosts: [{ host: target, allowPrivate: true }] } },
      see: forwarded,
      gives: ["one", "two"],
    },
    "forward.allowedHosts[].allowPrivate": {
      from: { forward: { allowedHosts: [{ host: target }] } },
      to: { forward: { allowedHosts: [{ host: target, allowPrivate: true }] } },
      see: forwarded,
      gives: ["one", "two"],
    },
    "forward.blockPrivateNetworks": {
      from: { forward: { allowedHosts: [target] } },
      to: { forward: { allowedHosts: [target], blockPrivateNetworks: false } },
      see: forwarded,
      gives: ["one", "two"],
    },
    "log.requestHeaders": {
      to: { log: { format: "json", requestHeaders: ["x-mine"] } },
      see: async () => (await shown("/x", { headers: { "x-mine": "1" } })).headers,
      gives: [undefined, { "x-mine": "1" }],
    },
    "log.queryParameters": {
      to: { log: { format: "json", queryParameters: ["q"] } },
      see: async () => (await shown("/x?q=1")).query,
      gives: [undefined, { q: "1" }],
    },
  };
}

function ofCors({ gateway }: KeySetting): KeyEffects {
  const rule = (settings: Readonly<Record<string, unknown>>) => ({
    cors: { allowedOrigins: ["https://a.test"], ...settings },
  });
  const granted = (name: string) => async () => {
    const { headers } = await look(gateway, "/x", {
      method: name === "expose-headers" ? "GET" : "OPTIONS",
      headers: {
        origin: "https://a.test",
        "access-control-request-method": "PUT",
        "access-control-request-headers": "x-a",
      },
    });
    return headers.get(`access-control-${name}`);
  };
  return {
    "cors.allowedOrigins": {
      from: rule({ allowedOrigins: [], allowedMethods: ["PUT"], allowedHeaders: ["x-a"] }),
      to: rule({ allowedMethods: ["PUT"], allowedHeaders: ["x-a"] }),
      see: granted("allow-origin"),
      gives: [null, "https://a.test"],
    },
    "cors.allowedMethods": {
      from: rule({ allowedMethods: ["PUT"], allowedHeaders: ["x-a"] }),
      to: rule({ allowedMethods: ["PUT", "POST"], allowedHeaders: ["x-a"] }),
      see: granted("allow-methods"),
      gives: ["PUT", "PUT, POST"],
    },
    "cors.allowedHeaders": {
      from: rule({ allowedMethods: ["PUT"], allowedHeaders: ["x-a"] }),
      to: rule({ allowedMethods: ["PUT"], allowedHeaders: ["x-a", "x-b"] }),
      see: granted("allow-headers"),
      gives: ["x-a", "x-a, x-b"],
    },
    "cors.exposedHeaders": {
      from: rule({}),
      to: rule({ exposedHeaders: ["x-c"] }),
      see: granted("expose-headers"),
      gives: [null, "x-c"],
    },
    "cors.allowCredentials": {
      from: rule({ allowedMethods: ["PUT"], allowedHeaders: ["x-a"] }),
      to: rule({ allowedMethods: ["PUT"], allowedHeaders: ["x-a"], allowCredentials: true }),
      see: granted("allow-credentials"),
      gives: [null, "true"],
    },
    "cors.maxAgeSeconds": {
      from: rule({ allowedMethods: ["PUT"], allowedHeaders: ["x-a"] }),
      to: rule({ allowedMethods: ["PUT"], allowedHeaders: ["x-a"], maxAgeSeconds: 7 }),
      see: granted("max-age"),
      gives: ["600", "7"],
    },
  };
}
