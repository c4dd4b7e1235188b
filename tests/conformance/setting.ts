/**
 * What public suites are pointed at: a gateway on loopback before an upstream of theirs or ours.
 *
 * @module
 */

import { type TestGateway, testGateway } from "../support/gateway.ts";

/** Reads and writes, so that every hook of a real policy has something to do. */
const POLICY = `export default {
  beforeRequest(ctx) { ctx.upstream.setHeader("x-conformance", "seen"); },
  afterResponse(ctx) { ctx.response.bytes(); },
};`;

/** @param plugins whether a plugin reads requests and the bodies of responses */
export function gatewayBefore(
  upstream: string,
  { plugins }: { readonly plugins: boolean },
): Promise<TestGateway> {
  return testGateway({
    config: {
      hookTimeoutMs: 5000,
      hardCeilingMs: 5000,
      log: { format: "json", level: "info" },
      cors: "passthrough",
      routes: [{ path: "/*", upstream, ...(plugins ? {} : { plugins: false }) }],
    },
    plugins: { "001-policy.ts": POLICY },
  });
}

/** Runs a program of a suite to its end. @throws {Error} where it cannot be started */
export async function output(
  program: string,
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string } = {},
): Promise<{ readonly code: number; readonly text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    stdin: "null",
    ...options,
  }).output();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}
