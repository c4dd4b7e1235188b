import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { ListenError, removeStaleSocket, serveOn } from "../../gateway/listen.ts";
import { logTo } from "../../gateway/log.ts";
import { scratch } from "../support/conduit.ts";

const QUIET = { log: logTo(() => {}) };

async function isThere(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

Deno.test("a Unix socket on which nobody listens any more is removed", async () => {
  await using dir = await scratch();
  const path = join(dir.path, "a.sock");
  // Its name goes before it is closed, as Deno takes away the name at the end; then it comes back.
  const listener = Deno.listen({ transport: "unix", path });
  await Deno.rename(path, `${path}.kept`);
  listener.close();
  await Deno.rename(`${path}.kept`, path);
  await removeStaleSocket(path);
  assertEquals(await isThere(path), false);
});

Deno.test("a Unix socket that somebody has is left alone, also where connecting fails", async () => {
  await using dir = await scratch();
  const path = join(dir.path, "a.sock");
  // A stream cannot connect to it (EPROTOTYPE), as it cannot where a backlog is full (EAGAIN).
  const other = Deno.listenDatagram({ transport: "unixpacket", path });
  using _ = { [Symbol.dispose]: () => other.close() };
  const error = await assertRejects(
    () => serveOn({ kind: "unix", path }, QUIET, () => new Response()),
    ListenError,
  );
  assertEquals(
    error.message,
    `cannot listen on unix:${path}: another process listens there already`,
  );
  assertEquals(await isThere(path), true);
});
