/**
 * The service manager's end of sd_notify(3): a datagram socket (unix(7)) that keeps what it is told.
 *
 * @module
 */

export class NotifySocket implements Disposable {
  /** One message each. */
  readonly messages: Readonly<Record<string, string>>[] = [];
  readonly #socket: Deno.DatagramConn;

  /** @param path as in `NOTIFY_SOCKET`: `@` stands for the abstract namespace */
  constructor(path: string) {
    this.#socket = Deno.listenDatagram({
      transport: "unixpacket",
      path: path.replace(/^@/, "\0"),
    });
    void this.#receive();
  }

  /** Without the watchdog's. */
  get told(): readonly string[] {
    return this.messages.filter((each) => each.WATCHDOG === undefined).map((each) =>
      `${Object.keys(each)[0]}: ${each.STATUS}`
    );
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  async #receive(): Promise<void> {
    try {
      for await (const [bytes] of this.#socket) {
        const lines = new TextDecoder().decode(bytes).split("\n");
        this.messages.push(Object.fromEntries(lines.map((line) => line.split(/=(.*)/, 2))));
      }
    } catch {
      // closed in the middle of a read
    }
  }
}
