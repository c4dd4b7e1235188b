/**
 * Places to connect to.
 *
 * @module
 */

import { join } from "@std/path";

/** A port that nobody listens on. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Both ends of a real Unix socket; they and their folder are gone afterwards. */
export async function withSockets(
  use: (near: Deno.UnixConn, far: Deno.UnixConn) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  const path = join(dir, "socket");
  using listener = Deno.listen({ transport: "unix", path });
  const [near, far] = await Promise.all([
    Deno.connect({ transport: "unix", path }),
    listener.accept() as Promise<Deno.UnixConn>,
  ]);
  try {
    await use(near, far);
  } finally {
    closeQuietly(near);
    closeQuietly(far);
    await Deno.remove(dir, { recursive: true });
  }
}

function closeQuietly(socket: Deno.UnixConn): void {
  try {
    socket.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error; // closed by the test
  }
}
