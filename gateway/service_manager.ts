/**
 * What the service manager is told (sd_notify(3)): that the gateway is ready, reloads its configuration, stops, and still lives. Without
 * `NOTIFY_SOCKET` in the environment there is nobody to tell.
 *
 * @module
 */

import { errorText } from "./errors.ts";
import type { Log } from "./log.ts";

/** Lines of a message: `READY=1`. */
type Message = Readonly<Record<string, string | number>>;

const encoder = new TextEncoder();

export class ServiceManager {
  readonly #log: Log;
  readonly #path: string | undefined;
  #socket: Deno.DatagramConn | undefined;
  #failed = false;
  /** One after another: what is sent last must arrive last. */
  #sent: Promise<unknown> = Promise.resolve();

  constructor(env: (name: string) => string | undefined, log: Log) {
    this.#log = log;
    this.#path = env("NOTIFY_SOCKET") || undefined;
    if (this.#path === undefined) return;
    const watchdogUs = Number(env("WATCHDOG_USEC"));
    const isOurs = [undefined, `${Deno.pid}`].includes(env("WATCHDOG_PID"));
    if (!(watchdogUs > 0) || !isOurs) return;
    // Twice in the time, as sd_watchdog_enabled(3) advises. A gateway whose event loop hangs says nothing and is started anew.
    Deno.unrefTimer(setInterval(() => this.#send({ WATCHDOG: 1 }), watchdogUs / 2000));
  }

  /** @param status one line for `systemctl status` */
  ready(status: string): void {
    this.#send({ READY: 1, STATUS: status });
  }

  /** Until `ready` is called again. */
  reloading(): void {
    if (this.#path === undefined) return;
    this.#send({ RELOADING: 1, MONOTONIC_USEC: monotonicUs(), STATUS: "reloading" });
  }

  stopping(): void {
    this.#send({ STOPPING: 1, STATUS: "draining" });
  }

  #send(message: Message): void {
    const path = this.#path;
    if (path === undefined) return;
    const lines = Object.entries(message).map(([key, value]) =>
      `${key}=${String(value).split("\n", 1)[0]}`
    );
    this.#sent = this.#sent.then(async () => {
      // Nobody can be sent to without a name of one's own; this one takes no file.
      this.#socket ??= Deno.listenDatagram({
        transport: "unixpacket",
        path: `\0conduit-notify-${crypto.randomUUID()}`,
      });
      await this.#socket.send(encoder.encode(lines.join("\n")), {
        transport: "unixpacket",
        path: path.replace(/^@/, "\0"), // the abstract namespace, unix(7)
      });
    }).catch((error) => {
      if (this.#failed) return;
      this.#failed = true;
      this.#log.warn("the service manager cannot be told", { reason: errorText(error) });
    });
  }
}

/** What /proc/uptime counts in. */
const UPTIME_STEP_US = 10_000;

/**
 * CLOCK_MONOTONIC, in µs. Deno does not tell it, and the time since boot is the same but for time asleep; rounded up, so that it is never before
 * the moment at which the reload was asked for.
 */
function monotonicUs(): number {
  try {
    const [uptime] = Deno.readTextFileSync("/proc/uptime").split(" ");
    return Math.round(Number(uptime) * 1_000_000) + UPTIME_STEP_US;
  } catch {
    return (Deno.osUptime() + 1) * 1_000_000;
  }
}
