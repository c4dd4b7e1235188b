/**
 * All of the example but the gateway: its services together, and its configuration with other ports and another cache.
 *
 * @module
 */

import { dirname, fromFileUrl, resolve } from "@std/path";
import { adminService, chatService, type Service, userService } from "./services.ts";

export const CONFIG_FILE = fromFileUrl(new URL("conduit.config.json", import.meta.url));

export interface Ports {
  readonly user: number;
  readonly admin: number;
  readonly chat: number;
  readonly beta: number;
}

/** The ports that stand in `conduit.config.json`. */
export const PORTS: Ports = { user: 2001, admin: 2002, chat: 2003, beta: 2004 };

export interface RunningServices extends AsyncDisposable {
  readonly ports: Ports;
}

/**
 * Starts the services, on ports that the system chooses where `ports` says 0.
 *
 * @param options.secret what signs tokens for scripts, `ADMIN_JWT_SECRET` of the gateway
 * @throws {Error} naming the service and the port that is taken; then none is left running
 */
export async function startServices(
  ports: Ports,
  { secret }: { readonly secret: string },
): Promise<RunningServices> {
  await using started = new AsyncDisposableStack();
  const start = async (name: string, port: number, service: StartService): Promise<number> => {
    const { port: actual, shutdown } = await listening(name, port, service);
    started.defer(shutdown);
    return actual;
  };
  const beta = "chat-service-beta";
  const actual: Ports = {
    user: await start("user-service", ports.user, (port) => userService({ port })),
    admin: await start("admin-service", ports.admin, (port) => adminService({ port, secret })),
    chat: await start("chat-service", ports.chat, (port) => chatService({ port })),
    beta: await start(beta, ports.beta, (port) => chatService({ port, name: beta })),
  };
  const running = started.move();
  return { ports: actual, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

type StartService = (port: number) => Service | Promise<Service>;

async function listening(name: string, port: number, service: StartService): Promise<Service> {
  try {
    return await service(port);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.AddrInUse)) throw cause;
    throw new Error(`cannot start ${name}: port ${port} is taken; end what listens there`, {
      cause,
    });
  }
}

export interface ExampleConfigOptions {
  /** As `listen` and `admin.listen` of the configuration. */
  readonly listen: string;
  readonly adminListen: string;
  readonly ports: Ports;
  /** Whether the cache is the Redis of the variable `REDIS_URL`, and not the gateway's memory. */
  readonly redis: boolean;
}

/**
 * The example's configuration for other ports, to be written anywhere: its paths are absolute.
 *
 * @returns the text of a configuration file
 */
export async function exampleConfig(options: ExampleConfigOptions): Promise<string> {
  const names = Object.keys(PORTS) as (keyof Ports)[];
  const text = (await Deno.readTextFile(CONFIG_FILE)).replaceAll(
    /127\.0\.0\.1:(\d+)/g,
    (address, port) => {
      const name = names.find((name) => PORTS[name] === Number(port));
      return name ? `127.0.0.1:${options.ports[name]}` : address;
    },
  );
  const config = JSON.parse(text);
  return JSON.stringify({
    ...config,
    listen: options.listen,
    admin: { listen: options.adminListen },
    pluginsDir: resolve(dirname(CONFIG_FILE), config.pluginsDir),
    ...(options.redis ? { services: { cache: { driver: "redis", url: "${REDIS_URL}" } } } : {}),
  });
}
