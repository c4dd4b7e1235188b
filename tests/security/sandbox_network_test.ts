import { assertRefused } from "../support/hostile_plugin.ts";

Deno.test("sandbox: a plugin reaches no host beyond upstreams and pluginNet (attack 22)", (t) =>
  assertRefused(t, {
    "fetch": `fetch("http://127.0.0.1:" + forbidden)`,
    "fetch with another name": `fetch("http://localhost:" + forbidden)`,
    "fetch of the metadata service": `fetch("http://169.254.169.254/latest/meta-data")`,
    "fetch with an allowed name before @": `fetch("http://127.0.0.1@127.0.0.1:" + forbidden)`,
    "fetch of a number that is an address": `fetch("http://2130706433:" + forbidden)`,
    "fetch where a redirect leads": `fetch("http://127.0.0.1:" + upstream + "/?to=" + forbidden)`,
    "fetch through a proxy":
      `fetch("http://127.0.0.1:" + upstream, { client: Deno.createHttpClient({ proxy: { url: "http://127.0.0.1:" + forbidden } }) })`,
    "fetch over a Unix socket":
      `fetch("http://x/", { client: Deno.createHttpClient({ proxy: { transport: "unix", path: at("host.sock").pathname } }) })`,
    "ctx.services.http.fetch": `ctx.services.http.fetch("http://127.0.0.1:" + forbidden)`,
    "ctx.services.http.fetch where a redirect leads":
      `ctx.services.http.fetch("http://127.0.0.1:" + upstream + "/?to=" + forbidden)`,
    "WebSocket": `event(new WebSocket("ws://127.0.0.1:" + forbidden), "open", "error")`,
    "EventSource": `event(new EventSource("http://127.0.0.1:" + forbidden), "open", "error")`,
    "Deno.connect": `Deno.connect({ hostname: "127.0.0.1", port: forbidden })`,
    "Deno.connect by another name": `Deno.connect({ hostname: "localhost", port: forbidden })`,
    "Deno.connectTls": `Deno.connectTls({ hostname: "127.0.0.1", port: forbidden })`,
    "Deno.connect to a Unix socket":
      `Deno.connect({ transport: "unix", path: "/run/docker.sock" })`,
    "node:net": `emitted((await import("node:net")).connect(forbidden, "127.0.0.1"), "connect")`,
    "node:tls":
      `emitted((await import("node:tls")).connect(forbidden, "127.0.0.1"), "secureConnect")`,
    "node:http":
      `emitted((await import("node:http")).get("http://127.0.0.1:" + forbidden), "response")`,
    "node:https":
      `emitted((await import("node:https")).get("https://127.0.0.1:" + forbidden), "response")`,
    "node:http2":
      `emitted((await import("node:http2")).connect("http://127.0.0.1:" + forbidden), "connect")`,
    "Deno.listen": `Deno.listen({ port: 0 })`,
    "Deno.serve": `Deno.serve({ port: 0 }, () => new Response())`,
    "node:http server":
      `emitted((await import("node:http")).createServer().listen(0), "listening")`,
    "the gateway itself, past its own client": `fetch("http://" + ctx.request.host)`,
    "an inspector": `(await import("node:inspector")).open(0, "127.0.0.1")`,
    // EventSource tells no reason; that nothing arrived is checked below.
  }, { refusedBy: /^Error: error$/ }));

Deno.test("sandbox: a plugin sends no datagram and asks no name server, which would carry data out (attack 22)", (t) =>
  assertRefused(t, {
    "Deno.resolveDns": `Deno.resolveDns("secret.example.com", "A")`,
    "Deno.resolveDns with a server of its own":
      `Deno.resolveDns("secret.example.com", "A", { nameServer: { ipAddr: "127.0.0.1", port: forbidden } })`,
    "node:dns lookup": `new Promise((resolve, reject) => import("node:dns").then((dns) =>
      dns.lookup("secret.example.com", (error, address) => error ? reject(error) : resolve(address))).catch(reject))`,
    "node:dns resolve4": `(await import("node:dns/promises")).resolve4("secret.example.com")`,
    "node:dns resolveTxt": `(await import("node:dns/promises")).resolveTxt("secret.example.com")`,
    "node:dns reverse": `(await import("node:dns/promises")).reverse("127.0.0.1")`,
    "node:dns with a server of its own": `(async () => {
      const resolver = new (await import("node:dns/promises")).Resolver();
      resolver.setServers(["127.0.0.1:" + forbidden]);
      return await resolver.resolve4("secret.example.com");
    })()`,
    // It throws where only the isolate's last resort catches it.
    "node:dgram": `new Promise((resolve, reject) => {
      addEventListener("error", ({ error }) => reject(error), { once: true });
      import("node:dgram").then((dgram) =>
        dgram.createSocket("udp4").send("x", forbidden, "127.0.0.1", resolve)).catch(reject);
    })`,
    // node:dns has words of its own for a refusal. (That it could ask otherwise is seen with a server of its own.)
  }, { refusedBy: /^Error: (?:getaddrinfo EPERM|query\w+ UNKNOWN|getHostByAddr UNKNOWN) / }));
