import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { adminHandler, serveAdmin } from "../../gateway/admin.ts";
import { serveOn } from "../../gateway/listen.ts";
import { startLog } from "../../gateway/log.ts";
import { rawExchange } from "../support/raw_conversation.ts";

async function ask(
  request: string,
  reason?: string,
): Promise<{ status: number; body: unknown; text: string }> {
  const { log } = startLog({ format: "json", level: "error" });
  const listening = await serveOn(
    { kind: "tcp", hostname: "127.0.0.1", port: 0 },
    { log },
    adminHandler({ readiness: () => ({ reason }), allowedHosts: () => ["conduit.internal"] }),
  );
  const { address } = listening;
  const text = await rawExchange(address.kind === "tcp" ? address.port : 0, request);
  await listening.shutdown();
  const [head = "", body = ""] = text.split("\r\n\r\n");
  return { status: Number(head.split(" ")[1]), body: body === "" ? "" : JSON.parse(body), text };
}

/** One request, with fields after the Host. */
function get(
  target: string,
  { method = "GET", host = "127.0.0.1:9901", fields = "" } = {},
): string {
  return `${method} ${target} HTTP/1.1\r\nhost: ${host}\r\n${fields}connection: close\r\n\r\n`;
}

Deno.test("/healthz says that the gateway lives, /readyz whether it is ready and why not", async () => {
  assertEquals((await ask(get("/healthz"), "no host")).body, { status: "ok" });
  const ready = await ask(get("/readyz"));
  assertEquals([ready.status, ready.body], [200, { status: "ready" }]);
  const away = await ask(get("/readyz"), "shutting down");
  assertEquals([away.status, away.body], [503, { status: "not ready", reason: "shutting down" }]);
  assertEquals(/cache-control: no-store/i.test(away.text), true);
});

Deno.test("HEAD gives the status without a body; other methods and paths are refused", async () => {
  const head = await ask(get("/readyz", { method: "HEAD" }), "x");
  assertEquals([head.status, head.body], [503, ""]);
  assertEquals(
    (await ask(get("/healthz", { method: "POST", fields: "content-length: 0\r\n" }))).status,
    405,
  );
  assertEquals((await ask(get("/healthz", { method: "DELETE" }))).status, 405);
  assertEquals((await ask(get("/metrics"))).status, 404);
});

for (
  const host of [
    "127.0.0.1",
    "127.0.0.1:9901",
    "localhost",
    "localhost:9901",
    "[::1]",
    "[::1]:9901",
    "10.1.2.3:80",
    "conduit.internal:9901",
    "Conduit.Internal",
  ]
) {
  Deno.test(`the admin listener answers a request to the address ${host}`, async () => {
    assertEquals((await ask(get("/healthz", { host }))).status, 200);
  });
}

// ATTACKS 32: a page whose name was rebound to this address, and a page that posts across origins.
for (
  const host of [
    "evil.example",
    "evil.example:9901",
    "127.0.0.1.evil.example",
    "conduit.internal.evil.example",
    "evil.conduit.internal",
    "localhost.evil.example",
    "127.0.0.1@evil.example",
    "localhost:80:80",
    "localhost ",
  ]
) {
  Deno.test(`the admin listener refuses the Host "${host}", which a rebound name would bring`, async () => {
    const { status, text } = await ask(get("/healthz", { host }));
    assertEquals(
      status === 403 || status === 400 || (host === "localhost " && status === 200),
      true,
      text,
    );
  });
}
for (const origin of ["https://evil.example", "null", "http://127.0.0.1:9901"]) {
  for (const method of ["GET", "POST"]) {
    Deno.test(`the admin listener refuses a ${method} from the page ${origin}`, async () => {
      const fields = `origin: ${origin}\r\ncontent-length: 0\r\n`;
      assertEquals((await ask(get("/readyz", { method, fields }))).status, 403);
    });
  }
}

for (const [site, status] of [["cross-site", 403], ["same-site", 403], ["none", 200]]) {
  Deno.test(`the admin listener answers ${status} to a browser that says the request is ${site}`, async () => {
    const fields = `sec-fetch-site: ${site}\r\n`;
    assertEquals((await ask(get("/readyz", { fields }))).status, status);
  });
}

Deno.test("the admin listener on a Unix socket is for its user and group, by any name, and still not for pages", async () => {
  const dir = await Deno.makeTempDir();
  const path = join(dir, "admin.sock");
  const { log } = startLog({ format: "json", level: "error" });
  const listening = await serveAdmin({ kind: "unix", path }, log, {
    readiness: () => ({ reason: undefined }),
  });
  try {
    assertEquals((Deno.statSync(path).mode ?? 0) & 0o777, 0o660);
    using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
    for (
      const [headers, status] of [[{}, 200], [{ origin: "http://conduit" }, 403]] as const
    ) {
      const response = await fetch("http://conduit/healthz", { client, headers });
      await response.body?.cancel();
      assertEquals(response.status, status);
    }
  } finally {
    await listening.shutdown();
    await Deno.remove(dir, { recursive: true });
  }
});
