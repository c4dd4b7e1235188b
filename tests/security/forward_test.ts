/** Attacks 17 to 21: a plugin that forwards where a client tells it to reaches only what the configuration allows. */
import { assertEquals } from "@std/assert";
import { attackTest } from "../support/attack_rows.ts";
import { type TestGateway, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { rawRequest } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

/** Forwards to whatever the client says: the worst policy there is. */
const OPEN_REDIRECT = `export default {
  beforeRequest(ctx) {
    const target = ctx.request.searchParams().get("to");
    if (target !== null) ctx.forward(target);
  },
};`;

/** `PORT` is that of a server that is listening, and must never be asked. */
const INWARD: readonly string[] = [
  "http://169.254.169.254/latest/meta-data",
  "http://169.254.169.254./",
  "http://2852039166/",
  "http://0xa9fea9fe/",
  "http://0251.0376.0251.0376/",
  "http://169.254.43518/",
  "http://169.16689662/",
  "http://2130706433:PORT/",
  "http://0x7f000001:PORT/",
  "http://0x7f.1:PORT/",
  "http://0177.1:PORT/",
  "http://0177.0.0.0x1:PORT/",
  "http://127.0.0.01:PORT/",
  "http://127.0.0.1.:PORT/",
  "http://127.000.000.001:PORT/",
  "http://%31%32%37.0.0.1:PORT/",
  "http://\uff11\uff12\uff17.0.0.1:PORT/",
  "http://\u2460\u2461\u2466.0.0.1:PORT/",
  "http://127\u30020\u30020\u30021:PORT/",
  "http://127\u00ad.0.0.1:PORT/",
  "http://0.0.0.0:PORT/",
  "http://0:PORT/",
  "http://100.64.0.1/",
  "http://127.0.0.1:PORT/",
  "http://127.1:PORT/",
  "http://127.255.255.254:PORT/",
  "http://10.0.0.1/",
  "http://172.16.0.1/",
  "http://192.168.0.1/",
  "http://198.18.0.1/",
  "http://224.0.0.1/",
  "http://255.255.255.255/",
  "http://localhost:PORT/",
  "http://localhost.:PORT/",
  "http://LOCALHOST:PORT/",
  "http://\uff4cocalhost:PORT/",
  "http://loc%61lhost:PORT/",
];

const WITHIN_IPV6: readonly string[] = [
  "http://[::ffff:a9fe:a9fe]/",
  "http://[::ffff:169.254.169.254]/",
  "http://[::FFFF:127.0.0.1]:PORT/",
  "http://[0:0:0:0:0:ffff:7f00:1]:PORT/",
  "http://[::127.0.0.1]:PORT/",
  "http://[::7f00:1]:PORT/",
  "http://[2002:a9fe:a9fe::]/",
  "http://[2002:7f00:1::1]:PORT/",
  "http://[64:ff9b::a9fe:a9fe]/",
  "http://[64:ff9b::127.0.0.1]:PORT/",
  "http://[64:ff9b:1::7f00:1]:PORT/",
  "http://[2001::1]/",
  "http://[2001:0:a9fe:a9fe::]/",
  "http://[fe80::5efe:7f00:1]/",
  "http://[2001:db8::5efe:127.0.0.1]/",
  "http://[::ffff:0:127.0.0.1]:PORT/",
  "http://[fe80::1]/",
  "http://[fe80::1%25lo]:PORT/",
  "http://[fc00::1]/",
  "http://[fd00:ec2::254]/latest",
  "http://[ff02::1]/",
  "http://[::1]:PORT/",
  "http://[0:0:0:0:0:0:0:1]:PORT/",
  "http://[::]:PORT/",
];

/** Allowed by name, private by address. `/etc/hosts` is all the DNS there is here; the resolver is passed in to the guard's own tests. */
const BY_NAME: readonly string[] = [
  "http://localhost.localdomain:PORT/",
  "http://localhost:PORT/",
  "http://LocalHost:PORT/",
  "http://ip6-localhost:PORT/",
  "http://ip6-loopback:PORT/",
];

const NO_SUCH_TARGET: readonly string[] = [
  "file:///etc/passwd",
  "ftp://allowed.example/",
  "gopher://127.0.0.1:PORT/_GET",
  "javascript:alert(1)",
  "data:text/plain,x",
  "unix:/run/conduit.sock",
  "http+unix://%2frun%2fconduit.sock/",
  "ws://127.0.0.1:PORT/",
  "blob:http://127.0.0.1:PORT/x",
  "http://allowed.example@127.0.0.1:PORT/",
  "http://allowed.example:80@127.0.0.1:PORT/",
  "http://allowed.example%40127.0.0.1:PORT/",
  "http://allowed.example#@127.0.0.1:PORT/",
  "http://user:password@allowed.example/",
  "http://@127.0.0.1:PORT/",
  "http://:@127.0.0.1:PORT/",
  "//127.0.0.1:PORT/",
  "///127.0.0.1:PORT/",
  "/relative",
  "",
  "http:",
  "http://",
  "http:///127.0.0.1:PORT/",
  "http:/127.0.0.1:PORT/",
  "http:127.0.0.1:PORT/",
  "http:\\\\127.0.0.1:PORT\\",
  "http://127.0.0.1:PORT\\@allowed.example/",
  "http://allowed.example\\@127.0.0.1:PORT/",
  "http://allowed.example.evil.net/",
  "http://allowed.example%2eevil.net/",
  "http://allowed.example\u3002evil.net/",
  "http://evil-allowed.example/",
  "http://evil.allowed.example/",
  "http://allowed.example.:80/",
  "http://allowed\u00ad.example/",
  "http://\u24d0llowed.example/",
  "http://allowed.example:PORT/",
  "http://allowed.example:0/",
  "http://allowed.example:65616/",
  "http://allowed.example:8_0/",
  "http://127.0.0.1:PORT/a\r\nX-Evil: 1",
  "http://127.0.0.1:PORT/a b",
  "http://\t127.0.0.1:PORT/",
  " http://127.0.0.1:PORT/",
  "http://127.0.0.1:PORT\0.allowed.example/",
  "ht\ntp://127.0.0.1:PORT/",
];

function redirectingGateway(
  { url }: { readonly url: string },
  forward: Readonly<Record<string, unknown>> = {},
): Promise<TestGateway> {
  return testGateway({
    config: { ...PATIENT, routes: [{ path: "/*", upstream: url }], forward },
    plugins: { "001-open-redirect.ts": OPEN_REDIRECT },
  });
}

attackTest(
  "attacks 17, 18, 19 and 21: a refused target is logged, never dialled, and the original route is used (CVE-2024-29415)",
  { 17: INWARD, 18: WITHIN_IPV6, 19: BY_NAME, 21: NO_SUCH_TARGET },
  async (patterns) => {
    await using upstream = recordingUpstream();
    await using secret = recordingUpstream();
    const names = ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"];
    await using gateway = await redirectingGateway(upstream, {
      allowedHosts: [
        "allowed.example",
        ...[...names, "127.0.0.1", "127.255.255.254", "0.0.0.0", "[::1]", "[::]", "[::7f00:1]"]
          .map((host) => `${host}:${secret.port}`),
        ...["169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1"],
        ...["[::ffff:a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[64:ff9b::a9fe:a9fe]", "[fe80::1]"],
      ],
    });
    const failures = await Promise.all(patterns.map(async (pattern, row) => {
      const target = pattern.replace("PORT", String(secret.port));
      const response = await rawRequest(
        gateway.port,
        `GET /x?to=${encodeURIComponent(target)} HTTP/1.1\r\nHost: a\r\nX-Row: ${row}\r\n\r\n`,
      );
      const seen = upstream.requests.filter((each) => each.header("x-row") === String(row));
      const id = response.header("x-request-id");
      const line = await gateway.waitForLog((each) =>
        each.message === "forward refused; using the original route" && each.traceId === id
      );
      return response.status === 200 && seen.length === 1 && line ? "" : pattern;
    }));
    assertEquals(failures.filter(Boolean), []);
    assertEquals(secret.connections.length, 0);
  },
);

Deno.test("a refused target is logged without its password and its query", async () => {
  await using upstream = recordingUpstream();
  await using gateway = await redirectingGateway(upstream);
  const target = "http://user:hunter2@evil.example/a?code=hunter3&b\nhunter4";
  await gateway.fetch(`/x?to=${encodeURIComponent(target)}`);
  const line = await gateway.waitForLog((each) => each.message.startsWith("forward refused"));
  assertEquals(line.url, "http://user:***@evil.example/a?…");
  assertEquals(gateway.logs.filter((each) => /hunter/.test(JSON.stringify(each))), []);
});

Deno.test("attack 17: what is not in allowedHosts is refused also where private networks are allowed", async () => {
  await using upstream = recordingUpstream();
  await using secret = recordingUpstream();
  await using gateway = await redirectingGateway(upstream, {
    allowedHosts: ["127.0.0.1", "localhost:1"],
    blockPrivateNetworks: false,
  });
  for (const host of ["127.0.0.1", "localhost", "[::1]"]) {
    await rawRequest(
      gateway.port,
      `GET /x?to=http://${host}:${secret.port}/ HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
  }
  assertEquals([upstream.requests.length, secret.connections.length], [3, 0]);
});

Deno.test("an allowed target gets the request with its own host, and the later hooks still run", async () => {
  await using upstream = recordingUpstream();
  await using beta = recordingUpstream();
  await using gateway = await testGateway({
    config: {
      ...PATIENT,
      routes: [{ path: "/*", upstream: upstream.url }],
      forward: { allowedHosts: [{ host: `localhost:${beta.port}`, allowPrivate: true }] },
    },
    plugins: {
      "001-open-redirect.ts": OPEN_REDIRECT,
      "002-auth.ts": `export default { beforeRequest(ctx) {
        if (ctx.request.headers.authorization === undefined) ctx.reject(401, "who");
        ctx.upstream.setHeader("x-user", "alice");
      } };`,
    },
  });
  const get = (field: string) =>
    rawRequest(
      gateway.port,
      `GET /x?to=http://localhost:${beta.port}/b/../c%3Fd HTTP/1.1\r\nHost: a\r\n${field}\r\n`,
    );
  assertEquals((await get("")).status, 401);
  assertEquals(beta.connections.length, 0);
  assertEquals((await get("Authorization: x\r\n")).status, 200);
  assertEquals(upstream.requests, []);
  const [seen] = beta.requests;
  assertEquals(seen?.target, "/c?d");
  assertEquals(seen?.header("host"), `localhost:${beta.port}`);
  assertEquals(seen?.header("x-user"), "alice");
});

/** Statuses with which an upstream sends its client elsewhere, and where it would have to go. */
const REDIRECTS: readonly (readonly [status: number, location: string])[] = [
  [301, "SECRET/latest"],
  [302, "SECRET/latest"],
  [303, "//127.0.0.1:PORT/"],
  [307, "SECRET/latest"],
  [308, "http://169.254.169.254/latest"],
  [300, "SECRET/"],
  [302, "http://[::ffff:127.0.0.1]:PORT/"],
];

attackTest(
  "attack 20: a redirect to the metadata address is passed through and not followed",
  { 20: REDIRECTS },
  async (redirects) => {
    await using secret = recordingUpstream();
    const locations = redirects.map(([, location]) =>
      location.replace("SECRET", secret.url).replace("PORT", String(secret.port))
    );
    await using upstream = recordingUpstream(({ target }) => {
      const row = Number(target.slice(1));
      return `HTTP/1.1 ${redirects[row]?.[0]} Elsewhere\r\nlocation: ${
        locations[row]
      }\r\ncontent-length: 0\r\n\r\n`;
    });
    await using gateway = await redirectingGateway(upstream);
    for (const [row, [status]] of redirects.entries()) {
      for (const method of ["GET", "POST"]) {
        const response = await rawRequest(
          gateway.port,
          `${method} /${row} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`,
        );
        assertEquals([response.status, response.header("location")], [status, locations[row]]);
      }
    }
    assertEquals(upstream.requests.length, 2 * redirects.length);
    assertEquals(secret.connections.length, 0);
  },
);
