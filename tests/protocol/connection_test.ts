import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Connection, type ConnectionOptions, type Duplex } from "../../protocol/connection.ts";
import { MessageError } from "../../protocol/decode.ts";
import { encodeFrame, FrameError } from "../../protocol/frame.ts";
import { withSockets } from "../support/sockets.ts";

const KIB = 1024;
const ignore = () => {};

interface Numbered {
  readonly n: number;
  readonly padding?: string;
}

/** The same socket, telling how large each write was as it begins. */
function watched(socket: Duplex, onWrite: (length: number) => void): Duplex {
  return {
    read: (buffer) => socket.read(buffer),
    write(bytes) {
      onWrite(bytes.length);
      return socket.write(bytes);
    },
    close: () => socket.close(),
  };
}

/** Reads until the other end has closed, also where it did so with bytes of ours unread. */
async function readAll(socket: Deno.UnixConn): Promise<number> {
  const buffer = new Uint8Array(64 * KIB);
  let total = 0;
  try {
    for (let n = await socket.read(buffer); n !== null; n = await socket.read(buffer)) total += n;
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
  }
  return total;
}

function connect(socket: Duplex, options?: ConnectionOptions): Connection<Numbered> {
  return new Connection<Numbered>(socket, options);
}

Deno.test("a connection delivers everything once and in order, both ways at the same time", async () => {
  await withSockets(async (near, far) => {
    const ends = [connect(near), connect(far)];
    const received: number[][] = [[], []];
    const done = ends.map((end, side) =>
      end.receive((message) => {
        received[side]?.push((message as Numbered).n);
        if (received[side]?.length === 2000) ends[side]?.send({ n: -1 });
        if ((message as Numbered).n === -1 && received[1 - side]?.includes(-1)) ends[0]?.close();
      })
    );
    for (let n = 0; n < 2000; n++) {
      for (const end of ends) end.send({ n, padding: "x".repeat(n % 7 === 0 ? 5000 : 10) });
      if (n % 100 === 0) await ends[n % 2]?.flushed();
    }
    assertEquals(await Promise.all(done), [undefined, undefined]);
    const expected = [...Array.from({ length: 2000 }, (_, n) => n), -1];
    assertEquals(received, [expected, expected]);
    assert(ends.every((end) => end.closed));
  });
});

Deno.test("messages sent while a write is under way go out together", async () => {
  await withSockets(async (near, far) => {
    const writes: number[] = [];
    const connection = connect(watched(near, (length) => writes.push(length)));
    const reading = readAll(far);
    for (let n = 0; n < 1000; n++) connection.send({ n });
    await connection.flushed();
    connection.close();
    const sent = writes.reduce((sum, each) => sum + each, 0);
    assertEquals(await reading, sent);
    assert(writes.length <= 3, `${writes.length} writes`);
  });
});

Deno.test("the trace sees every message with its direction", async () => {
  await withSockets(async (near, far) => {
    const seen: [string, object][] = [];
    const a = connect(near, { trace: (...event) => seen.push(event) });
    const b = connect(far);
    const receiving = a.receive(() => a.close());
    a.send({ n: 1 });
    b.send({ n: 2 });
    await receiving;
    b.close();
    assertEquals(seen, [["out", { n: 1 }], ["in", { n: 2 }]]);
  });
});

Deno.test("a peer that does not read is dropped once more than the bound waits for it", async () => {
  await withSockets(async (near, far) => {
    const maxQueuedBytes = 256 * KIB;
    const connection = connect(near, { maxQueuedBytes });
    const padding = "x".repeat(16 * KIB);
    let accepted = 0;
    for (; !connection.closed; accepted++) {
      connection.send({ n: accepted, padding });
      await Promise.resolve(); // lets a write go on, where the socket takes one
      assert(accepted < 1000, "nothing bounds the queue");
    }
    connection.send({ n: -1 }); // dropped in silence
    await connection.flushed();
    // What the socket's own buffer took is all that can be there beside the bound.
    const bytes = accepted * 16 * KIB;
    assert(await readAll(far) < bytes);
    assert(bytes < maxQueuedBytes + 1024 * KIB, `${bytes} bytes were accepted`);
  });
});

Deno.test("what is being written counts as waiting", async () => {
  await withSockets(async (near) => {
    const large = Promise.withResolvers<void>();
    const socket = watched(near, (length) => length > 4000 * KIB && large.resolve());
    const connection = connect(socket, { maxQueuedBytes: 5 * 1024 * KIB });
    const padding = "x".repeat(1024 * KIB);
    for (let n = 0; n < 5; n++) connection.send({ n: 0, padding: n === 0 ? "" : padding });
    await large.promise;
    // Four MiB are in a write that the peer does not take; two more are over the bound of five.
    connection.send({ n: 5, padding });
    connection.send({ n: 6, padding });
    assert(connection.closed);
    await connection.flushed();
  });
});

const RUBBISH: readonly [what: string, bytes: Uint8Array<ArrayBuffer>, message: string][] = [
  ["a zero length", new Uint8Array(4), "a frame has length 0"],
  ["a huge length", new Uint8Array(64).fill(0xff), "over the limit"],
  ["HTTP", new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"), "over the limit"],
  ["bad UTF-8", new Uint8Array([0, 0, 0, 2, 0xc3, 0x28]), "a frame is not UTF-8 JSON"],
  ["a list", new Uint8Array([0, 0, 0, 2, 0x5b, 0x5d]), "a frame is not a JSON object"],
];

for (const [what, bytes, message] of RUBBISH) {
  Deno.test(`a peer that sends ${what} is dropped with the reason (attack 27)`, async () => {
    await withSockets(async (near, far) => {
      const connection = connect(near);
      const reason = connection.receive(ignore);
      await far.write(bytes);
      const error = await reason;
      assert(error instanceof FrameError && error.message.includes(message), String(error));
      assert(connection.closed);
      assertEquals(await readAll(far), 0);
    });
  });
}

Deno.test("a peer whose object is no message is dropped with the MessageError", async () => {
  await withSockets(async (near, far) => {
    const connection = connect(near);
    const reason = connection.receive(() => {
      throw new MessageError("message.type is not there");
    });
    await far.write(encodeFrame({}));
    assert(await reason instanceof MessageError);
    assert(connection.closed);
    assertEquals(await readAll(far), 0);
  });
});

Deno.test("a fault of our own in onMessage is no fault of the peer: receive rejects", async () => {
  await withSockets(async (near, far) => {
    const connection = connect(near);
    const receiving = connection.receive(() => {
      throw new RangeError("ours");
    });
    await far.write(encodeFrame({}));
    await assertRejects(() => receiving, RangeError, "ours");
    assert(connection.closed);
  });
});

Deno.test("after close nothing more is delivered, not even of the same chunk", async () => {
  await withSockets(async (near, far) => {
    const connection = connect(near);
    const received: object[] = [];
    const frames = [1, 2, 3].flatMap((n) => [...encodeFrame({ n })]);
    await far.write(new Uint8Array(frames));
    await connection.receive((message) => {
      received.push(message);
      connection.close();
    });
    assertEquals(received, [{ n: 1 }]);
  });
});

Deno.test("a peer that closes in the middle of a frame ends the connection", async () => {
  await withSockets(async (near, far) => {
    const connection = connect(near);
    const received: object[] = [];
    const receiving = connection.receive((message) => received.push(message));
    await far.write(encodeFrame({ n: 1 }));
    await far.write(encodeFrame({ n: 2 }).subarray(0, -1));
    far.close();
    assertEquals(
      (await receiving)?.message,
      "the connection ended within a frame, after 10 bytes of it",
    );
    assertEquals(received, [{ n: 1 }]);
    assert(connection.closed);
  });
});

Deno.test("close while a write is stuck ends the write and the reader without an error", async () => {
  await withSockets(async (near) => {
    const connection = connect(near);
    const receiving = connection.receive(ignore);
    for (let n = 0; n < 8; n++) connection.send({ n, padding: "x".repeat(1024 * KIB) });
    const flushed = connection.flushed();
    connection.close();
    connection.close();
    await flushed;
    assertEquals(await receiving, undefined);
  });
});

Deno.test("a write to a peer that is gone closes the connection without an error", async () => {
  await withSockets(async (near, far) => {
    const connection = connect(near);
    far.close();
    for (let n = 0; n < 1000 && !connection.closed; n++) {
      connection.send({ n, padding: "x".repeat(10 * KIB) });
      await connection.flushed();
    }
    assert(connection.closed);
  });
});

Deno.test("a message over the frame limit throws, sends nothing and leaves the connection usable", async () => {
  await withSockets(async (near, far) => {
    const connection = connect(near, { maxFrameBytes: 100 });
    assertThrows(() => connection.send({ n: 1, padding: "x".repeat(100) }), FrameError, "over");
    connection.send({ n: 2 });
    const peer = connect(far);
    const received: object[] = [];
    await peer.receive((message) => {
      received.push(message);
      peer.close();
    });
    connection.close();
    assertEquals(received, [{ n: 2 }]);
  });
});
