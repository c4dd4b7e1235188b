import { assert, assertEquals } from "@std/assert";
import { Connection } from "../../protocol/connection.ts";
import { encodeFrame, FrameError } from "../../protocol/frame.ts";
import { withSockets } from "../support/sockets.ts";

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
