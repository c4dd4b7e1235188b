import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { EdgeError } from "../../gateway/errors.ts";
import { parseHost } from "../../gateway/host.ts";
import {
  canonicalPath,
  encodedSlashRefused,
  isAsteriskForm,
  rawTarget,
} from "../../gateway/path.ts";

/**
 * Sends a request head as it is and gives the status and what the server made of Host and target.
 */
async function ask(port: number, head: string): Promise<{ status: number; body: string }> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode(`${head}Connection: close\r\n\r\n`));
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const buffer = new Uint8Array(4096);
  for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
    chunks.push(buffer.slice(0, n));
  }
  const text = await new Blob(chunks).text();
  return { status: Number(text.slice(9, 12)), body: text.slice(text.indexOf("\r\n\r\n") + 4) };
}

function serveTargets(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
    try {
      const { host } = parseHost(request.headers.get("host"), request.url);
      const target = rawTarget(request.url);
      if (isAsteriskForm(request.method, target)) return new Response(`${host} asterisk`);
      const { path, query, hasEncodedSlash } = canonicalPath(target);
      if (hasEncodedSlash) throw encodedSlashRefused();
      return new Response(`${host} ${path} ${query}`);
    } catch (error) {
      if (error instanceof EdgeError) return new Response(error.message, { status: error.status });
      throw error;
    }
  });
}

Deno.test("over a socket: one canonical path and one anchored host, or 400", async (t) => {
  const server = serveTargets();
  const { port } = server.addr;
  const accepted: [head: string, body: string][] = [
    ["GET /a/../b HTTP/1.1\r\nHost: h\r\n", "h /b "],
    ["GET /x/%2e%2e/admin HTTP/1.1\r\nHost: h\r\n", "h /admin "],
    ["GET //x//y HTTP/1.1\r\nHost: h\r\n", "h /x/y "],
    ["GET //evil.net/x?a HTTP/1.1\r\nHost: h\r\n", "h /evil.net/x a"],
    ["GET /é?ü HTTP/1.1\r\nHost: h\r\n", "h /%C3%A9 %C3%BC"],
    ["GET /http://x HTTP/1.1\r\nHost: H.Example.:8080\r\n", "h.example:8080 /http:/x "],
    ["GET http://h:80/x HTTP/1.1\r\nHost: H:80\r\n", "h:80 /x "],
    ["GET http://h?x=1 HTTP/1.1\r\nHost: h\r\n", "h / x=1"],
    ["GET / HTTP/1.1\r\nHost: [::1]:80\r\n", "[::1]:80 / "],
    ["OPTIONS * HTTP/1.1\r\nHost: h\r\n", "h asterisk"],
  ];
  for (const [head, body] of accepted) {
    await t.step(head.split("\r\n", 1)[0] ?? "", async () => {
      assertEquals(await ask(port, head), { status: 200, body });
    });
  }
  const refused = [
    "GET /a\\b HTTP/1.1\r\nHost: h\r\n",
    "GET /admin#x HTTP/1.1\r\nHost: h\r\n",
    "GET /a?b#c HTTP/1.1\r\nHost: h\r\n",
    "GET /%00 HTTP/1.1\r\nHost: h\r\n",
    "GET /public/..%2fadmin HTTP/1.1\r\nHost: h\r\n",
    "GET /a%5cb HTTP/1.1\r\nHost: h\r\n",
    "GET /%zz HTTP/1.1\r\nHost: h\r\n",
    "GET foo HTTP/1.1\r\nHost: h\r\n",
    "GET http://other/x HTTP/1.1\r\nHost: h\r\n",
    "GET http://g/x HTTP/1.1\r\nHost: h\r\n",
    "GET http://h.evil.net/x HTTP/1.1\r\nHost: h\r\n",
    "GET http://u@h/x HTTP/1.1\r\nHost: h\r\n",
    "GET http://h:81/x HTTP/1.1\r\nHost: h\r\n",
    "GET https://h/x HTTP/1.1\r\nHost: h\r\n",
    "GET ftp://h/x HTTP/1.1\r\nHost: h\r\n",
    "GET /p HTTP/1.1\r\nHost: a/b\r\n",
    "GET /p HTTP/1.1\r\nHost: a#b\r\n",
    "GET /p HTTP/1.1\r\nHost: a\\b\r\n",
    "GET /p HTTP/1.1\r\nHost: a b\r\n",
    "GET /p HTTP/1.1\r\nHost: a@b\r\n",
    "GET /p HTTP/1.1\r\nHost: a,b\r\n",
    "GET /p HTTP/1.1\r\nHost: h\r\nHost: h\r\n",
    "GET /p HTTP/1.1\r\nHost:\r\n",
    "GET /p HTTP/1.1\r\n",
    "GET http://h/p HTTP/1.1\r\n",
  ];
  for (const head of refused) {
    await t.step(`400 for ${JSON.stringify(head)}`, async () => {
      assertEquals((await ask(port, head)).status, 400);
    });
  }
  await server.shutdown();
});

Deno.test("host refuses what is no host name, address or port", () => {
  for (
    const host of [
      "a..b",
      ".a",
      "a.:",
      "a:",
      "a:0",
      "a:65536",
      "a:1:2",
      "a%2eb",
      "é",
      "[::1",
      "[::g]",
      "[fe80::1%25eth0]",
      "[::1].",
      "a".repeat(300),
    ]
  ) {
    assertThrows(() => parseHost(host, `http://${host}/`), EdgeError);
  }
  const full = parseHost("API.Example.com.:8443", "http://API.Example.com.:8443/x");
  assertEquals(full, { host: "api.example.com:8443", hostname: "api.example.com", port: 8443 });
});

Deno.test("path resolves, decodes once and normalises escapes", () => {
  const cases: [raw: string, path: string][] = [
    ["/", "/"],
    ["/a/b/", "/a/b/"],
    ["/a/./b/.", "/a/b/"],
    ["/a/b/..", "/a/"],
    ["/../../a", "/a"],
    ["/..", "/"],
    ["/a//../b", "/b"],
    ["/x/.%2e/admin", "/admin"],
    ["/%61dmin", "/admin"],
    ["/ADMIN", "/ADMIN"],
    ["/%252f", "/%252f"],
    ["/%252e%252e/a", "/%252e%252e/a"],
    ["/%3f%23%3a", "/%3F%23%3A"],
    ["/%7e%2D%5F", "/~-_"],
    ['/a b|"<>^`{}[]', "/a%20b%7C%22%3C%3E%5E%60%7B%7D%5B%5D"],
    ["/😀/%f0%9f%98%80", "/%F0%9F%98%80/%F0%9F%98%80"],
    ["/%80%9f", "/%80%9F"],
    ["/api../admin", "/api../admin"],
    ["/api%2e/admin", "/api./admin"],
    ["/a;p=1/b", "/a;p=1/b"],
    ["/...", "/..."],
  ];
  for (const [raw, path] of cases) assertEquals(canonicalPath(raw).path, path, raw);
});

Deno.test("path refuses what two readers would read differently", () => {
  for (
    const raw of [
      "",
      "a",
      "/%",
      "/%4",
      "/%g0",
      "/%00",
      "/%0a",
      "/%1F",
      "/%7f",
      "/a\\b",
      "/a#b",
      "/a?b#c",
      "/a\nb",
      "/a\x7fb",
      "/a?\r\nx",
      "/a?\0",
      "/x/..;/admin",
      "/x/.;a=b/admin",
    ]
  ) {
    const error = assertThrows(() => canonicalPath(raw), EdgeError);
    assertEquals(error.status, 400, raw);
  }
});

Deno.test("path keeps an encoded slash as a character, and says so", () => {
  for (const raw of ["/a%2fb", "/a%5Cb", "/group%2Fproject/x"]) {
    assert(canonicalPath(raw).hasEncodedSlash);
  }
  assertEquals(canonicalPath("/a%2fb/../c"), {
    path: "/c",
    query: "",
    hasEncodedSlash: false,
  });
  assertEquals(canonicalPath("/a%2fb").path, "/a%2Fb");
  for (const raw of ["/p/..%2fadmin", "/p%2f..", "/p/.%2e%5cadmin", "/p%2f%2e%2e%2fadmin"]) {
    const error = assertThrows(() => canonicalPath(raw), EdgeError);
    assertStringIncludes(error.message, "disguised");
  }
});

Deno.test("query stays raw, but for what cannot stand in a request line", () => {
  assertEquals(canonicalPath("/?a=%2f&b=\\|'%zz?").query, "a=%2f&b=\\|'%zz?");
  assertEquals(canonicalPath("/?").query, "");
  assertEquals(canonicalPath("/?ü x").query, "%C3%BC%20x");
});

/** Paths that are made of what attackers make them of. */
const nastyTarget = fc.array(
  fc.oneof(
    fc.constantFrom("/", "//", ".", "..", "%2e", "%2E", "%2f", "%5C", "%25", "%61", "%C3", ";"),
    fc.constantFrom("?", "a", "B", "~", "%7e", "é", "😀", " ", "%", "#", "\\", "%00", "|", ":"),
    fc.string({ unit: "binary", maxLength: 3 }),
  ),
  { maxLength: 24 },
).map((parts) => `/${parts.join("")}`);

Deno.test("path laws: idempotent, no dot segment, no //, canonical escapes; only EdgeError is thrown", () => {
  let accepted = 0;
  fc.assert(
    fc.property(nastyTarget, (raw) => {
      let first;
      try {
        first = canonicalPath(raw);
      } catch (error) {
        return error instanceof EdgeError;
      }
      accepted++;
      const { path, query } = first;
      assertEquals(canonicalPath(query ? `${path}?${query}` : path), first);
      assert(path.startsWith("/") && !path.includes("//"));
      assert(!path.split(/\/|%2F|%5C/).some((segment) => segment === "." || segment === ".."));
      assert(/^(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})*$/.test(path));
      for (const [escape] of path.matchAll(/%../g)) {
        assert(!/[A-Za-z0-9\-._~]/.test(String.fromCharCode(parseInt(escape.slice(1), 16))));
      }
      assert(/^[!-~]*$/.test(query) && !query.includes("#"));
      return true;
    }),
    { numRuns: 5000 },
  );
  assert(accepted > 500, `only ${accepted} targets were accepted`);
});

Deno.test("path takes linear time", () => {
  const start = performance.now();
  for (const part of ["/..", "/.;", "%2F.", "/", "%41", "é", "/a%2F..b"]) {
    try {
      canonicalPath(`/${part.repeat(200_000)}`);
    } catch (error) {
      assert(error instanceof EdgeError);
    }
  }
  assert(performance.now() - start < 5000);
});
