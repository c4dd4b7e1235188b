import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { Connection } from "../../protocol/connection.ts";
import { encodeFrame, FrameError } from "../../protocol/frame.ts";

/** Both ends of a real Unix socket. */
async function withSockets(
  use: (near: Deno.UnixConn, far: Deno.UnixConn) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  const path = join(dir, "socket");
  try {
    using listener = Deno.listen({ transport: "unix", path });
    using near = await Deno.connect({ transport: "unix", path });
    await use(near, await listener.accept() as Deno.UnixConn);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("what a peer said before it ended is received, also when a write to it has failed in between", async () => {
  await withSockets(async (near, far) => {
    const failed = Promise.withResolvers<void>();
    const connection = new Connection<object>({
      // Nothing is read until a write has failed: the order that a busy event loop may give.
      read: (buffer) => failed.promise.then(() => near.read(buffer)),
      write: (bytes) =>
        near.write(bytes).catch((error) => (failed.resolve(), Promise.reject(error))),
      close: () => {},
    });
    const received: object[] = [];
    const ended = connection.receive((message) => received.push(message));
    await far.write(encodeFrame({ last: "words" }));
    far.close();
    connection.send({ n: 1 });
    assertEquals(await ended, undefined);
    assertEquals(received, [{ last: "words" }]);
    assert(connection.closed);
  });
});

Deno.test("a peer that ends within a frame has broken the protocol", async () => {
  await withSockets(async (near, far) => {
    const connection = new Connection<object>({
      read: (buffer) => near.read(buffer),
      write: (bytes) => near.write(bytes),
      close: () => {},
    });
    await far.write(encodeFrame({ n: 1 }).subarray(0, 6));
    far.close();
    const problem = await connection.receive(() => {});
    assert(problem instanceof FrameError);
    assertEquals(problem.message, "the connection ended within a frame, after 6 bytes of it");
  });
});
