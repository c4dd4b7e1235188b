/** Attacks 17 to 21: a plugin that forwards where a client tells it to reaches only what the configuration allows. */
import { PATIENT } from "../support/patient.ts";
import { assert, assertEquals } from "@std/assert";
import { type TestGateway, testGateway } from "../support/gateway.ts";
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
const REFUSED: readonly string[] = [
  // 17: the metadata service and the machine itself, in every spelling
  "http://169.254.169.254/latest/meta-data",
  "http://2130706433:PORT/",
  "http://0x7f000001:PORT/",
  "http://0177.1:PORT/",
  "http://0.0.0.0:PORT/",
  "http://100.64.0.1/",
  "http://localhost:PORT/",
  "http://localhost.:PORT/",
  "http://127.0.0.1:PORT/",
  "http://127.1:PORT/",
  "http://0:PORT/",
  "http://10.0.0.1/",
  // 18: IPv4 in IPv6
  "http://[::ffff:a9fe:a9fe]/",
  "http://[::ffff:127.0.0.1]:PORT/",
  "http://[::127.0.0.1]:PORT/",
  "http://[2002:a9fe:a9fe::]/",
  "http://[64:ff9b::a9fe:a9fe]/",
  "http://[fe80::1]/",
  "http://[::1]:PORT/",
  "http://[::]:PORT/",
  // 19: allowed by name, private by address
  "http://localhost.localdomain:PORT/",
  // 21: other schemes, credentials, names that only look allowed
  "file:///etc/passwd",
  "ftp://allowed.example/",
  "javascript:alert(1)",
  "http://allowed.example@127.0.0.1:PORT/",
  "http://user:password@allowed.example/",
  "//127.0.0.1:PORT/",
  "/relative",
  "",
  "http:127.0.0.1:PORT/",
  "http:\\\\127.0.0.1:PORT\\",
  "http://127.0.0.1:PORT\\@allowed.example/",
  "http://allowed.example.evil.net/",
  "http://allowed.example%2eevil.net/",
  "http://evil-allowed.example/",
  "http://allowed.example:PORT/",
  "http://127.0.0.1:PORT/a\r\nX-Evil: 1",
  "http://127.0.0.1:PORT/a b",
  "http://\t127.0.0.1:PORT/",
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

Deno.test("attacks 17, 18, 19 and 21: a refused target is logged, never dialled, and the original route is used", async () => {
  await using upstream = recordingUpstream();
  await using secret = recordingUpstream();
  await using gateway = await redirectingGateway(upstream, {
    allowedHosts: [
      "allowed.example",
      `localhost:${secret.port}`,
      `localhost.localdomain:${secret.port}`,
      `127.0.0.1:${secret.port}`,
    ],
  });
  const failures = await Promise.all(REFUSED.map(async (pattern, row) => {
    const target = pattern.replace("PORT", String(secret.port));
    const response = await rawRequest(
      gateway.port,
      `GET /x?to=${encodeURIComponent(target)} HTTP/1.1\r\nHost: a\r\nX-Row: ${row}\r\n\r\n`,
    );
    const seen = upstream.requests.filter((each) => each.header("x-row") === String(row));
    const line = await gateway.waitForLog((each) =>
      each.message === "forward refused; using the original route" && each.url === target
    );
    return response.status === 200 && seen.length === 1 && line ? "" : pattern;
  }));
  assertEquals(failures.filter(Boolean), []);
  assertEquals(secret.connections.length, 0);
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

Deno.test("attack 20: a redirect to the metadata address is passed through and not followed", async () => {
  await using secret = recordingUpstream();
  await using upstream = recordingUpstream(() =>
    `HTTP/1.1 302 Found\r\nlocation: ${secret.url}/latest\r\ncontent-length: 0\r\n\r\n`
  );
  await using gateway = await redirectingGateway(upstream);
  const response = await rawRequest(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assertEquals(response.status, 302);
  assert(response.header("location")?.startsWith(secret.url));
  assertEquals(secret.connections.length, 0);
});
