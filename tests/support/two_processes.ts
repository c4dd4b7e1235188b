/**
 * A gateway of two processes that share a port, each with a plugin host of one isolate.
 *
 * @module
 */

import { type LogLine, type TestGateway, testGateway, type TestGatewayOptions } from "./gateway.ts";
import { PATIENT } from "./patient.ts";

/** What the configuration of such a gateway has, beside its routes. */
export const TWO_PROCESSES = { ...PATIENT, processes: 2, pluginPoolSize: 1 } as const;

/** Both serve. Requests go to `upstream`, unless `config` has routes. */
export async function twoProcesses(
  { upstream = "http://127.0.0.1:9", config = {}, ...options }:
    & { readonly upstream?: string }
    & Pick<TestGatewayOptions, "plugins" | "env">
    & Partial<Pick<TestGatewayOptions, "config">>,
): Promise<TestGateway> {
  const routes = [{ path: "/*", upstream }];
  const gateway = await testGateway({
    ...options,
    config: { ...TWO_PROCESSES, routes, ...config },
  });
  await gateway.waitForLog(says("all gateway processes have been started"));
  return gateway;
}

/** Records with just this message. */
export const says = (message: string) => (line: LogLine): boolean => line.message === message;

/** A request over a connection of its own, which the kernel gives to any process. */
export async function askAnew(url: string): Promise<Response & Disposable> {
  const client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const response = await fetch(url, { client });
  return Object.assign(response, { [Symbol.dispose]: () => client.close() });
}
