/**
 * Raw bytes to a server on a connection of their own, and all that comes back.
 *
 * @module
 */

/** What `rawConversation` gives, without how it ended. */
export async function rawExchange(
  port: number,
  request: string | Uint8Array,
  options: { readonly quietMs?: number; readonly answers?: number } = {},
): Promise<string> {
  return (await rawConversation(port, request, options)).received;
}

/**
 * Sends raw bytes on a new connection and reads until the peer closes, or has been silent for `quietMs` after as many
 * heads as `answers` says: those are waited for longer, since the machine may be busy.
 */
export async function rawConversation(
  port: number,
  request: string | Uint8Array,
  { quietMs = 300, answers = 0 }: { readonly quietMs?: number; readonly answers?: number } = {},
): Promise<{ readonly received: string; readonly isClosed: boolean }> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  let received = "";
  let isClosed = true;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const close = () => {
    try {
      conn.close();
    } catch {
      // closed already
    }
  };
  try {
    await conn.write(typeof request === "string" ? new TextEncoder().encode(request) : request);
    const buffer = new Uint8Array(65536);
    for (;;) {
      timer = setTimeout(() => {
        isClosed = false;
        close();
      }, (received.match(/HTTP\/1\.[01] \d{3} /g)?.length ?? 0) < answers ? 15_000 : quietMs);
      const length = await conn.read(buffer);
      clearTimeout(timer);
      if (length === null) break;
      for (const byte of buffer.subarray(0, length)) received += String.fromCharCode(byte);
    }
  } catch {
    // reset, or silent: what came is the answer
  } finally {
    clearTimeout(timer);
    close();
  }
  return { received, isClosed };
}
