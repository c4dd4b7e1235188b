import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { byShell, testGateway } from "../support/gateway.ts";
import { PATIENT } from "../support/patient.ts";
import { type RawClient, rawClient, rawRequest } from "../support/raw_client.ts";
import { OK, recordingUpstream } from "../support/recording_upstream.ts";

const DESCRIPTORS = 128;
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

async function ask(client: RawClient, path: string): Promise<number> {
  await client.send(get(path));
  return (await client.response()).status;
}

/** Opens connections until one is refused, or broken off before it was accepted. */
async function takeAll(port: number, stack: AsyncDisposableStack): Promise<void> {
  for (let opened = 0; opened < 2 * DESCRIPTORS; opened++) {
    try {
      const client = stack.use(await rawClient(port));
      void client.ended();
    } catch {
      return;
    }
  }
}

Deno.test("failure: there are no file descriptors left; open connections are served, new ones refused, and it listens again by itself", async () => {
  const held = Promise.withResolvers<void>();
  const isHeld = Promise.withResolvers<void>();
  await using upstream = recordingUpstream(async ({ target }) => {
    if (target === "/a/held") {
      isHeld.resolve();
      await held.promise;
    }
    return OK;
  });
  await using other = recordingUpstream();
  await using gateway = await testGateway({
    // Deno would say on stderr that it cannot read them.
    program: byShell(`unset NODE_EXTRA_CA_CERTS; ulimit -n ${DESCRIPTORS}; exec "$@"`),
    config: {
      ...PATIENT,
      routes: [
        { path: "/a/*", upstream: upstream.url },
        { path: "/b/*", upstream: other.url },
      ],
    },
  });
  using kept = await rawClient(gateway.port);
  assertEquals(await ask(kept, "/a/x"), 200);
  using waiting = await rawClient(gateway.port);
  await waiting.send(get("/a/held"));
  await isHeld.promise;
  await using early = new AsyncDisposableStack();
  const clients = await Promise.all(
    Array.from({ length: 8 }, async () => early.use(await rawClient(gateway.port))),
  );
  for (const client of clients) assertEquals(await ask(client, "/none"), 404); // it is accepted
  const isFailure = ({ message }: { message: string }) => /^the listener failed/.test(message);
  {
    await using hog = new AsyncDisposableStack();
    await takeAll(gateway.port, hog);
    const { reason } = await gateway.waitForLog(isFailure);
    assertStringIncludes(String(reason), "Too many open files");
    await takeAll(gateway.port, hog);

    assertEquals(await ask(kept, "/a/x"), 200, "a connection to the upstream is there");
    const statuses = await Promise.all(clients.map((client) => ask(client, "/b/x")));
    assertEquals(statuses.filter((status) => status !== 200 && status !== 502), []);
    assert(statuses.includes(502), "there was a descriptor for each");
    const failed = await gateway.waitForLog(({ message }) => message === "upstream failed");
    assertStringIncludes(String(failed.reason), "Too many open files");
  }
  await gateway.waitForLog(({ message }) => message === "listening again");
  assertEquals((await rawRequest(gateway.port, get("/b/x"))).status, 200);
  assertEquals(gateway.logs.filter(isFailure).length, 1, "it is told once");

  // The end waits for what runs on a connection of the listener that failed.
  gateway.signal("SIGTERM");
  await gateway.waitForLog(({ message }) => message === "draining");
  await new Promise((resolve) => setTimeout(resolve, 500)); // time in which it could end
  held.resolve();
  assertEquals((await waiting.response()).status, 200);
  assertEquals((await gateway.status).code, 0);
  assertEquals(gateway.stderr, "");
});
