/**
 * What the tests of the failure table (docs/operations.md) share: requests with their answers read, the policy that no request may
 * escape, and the plugin host's program replaced.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import type { EchoUpstream } from "./echo_upstream.ts";
import type { LogLine, TestGateway } from "./gateway.ts";

/** A response that has been read. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly durationMs: number;
}

/** A policy that leaves its mark on what the upstream gets: an upstream that sees a request without it was reached unpoliced. */
export const POLICY = `export default {
  onTimeout: "reject",
  beforeRequest(ctx) { ctx.upstream.setHeader("x-policed", "yes"); },
};`;

export async function ask(
  gateway: TestGateway,
  path: string,
  init: RequestInit = {},
): Promise<Answer> {
  const startedAt = performance.now();
  const response = await gateway.fetch(path, init);
  const { status, headers } = response;
  const text = await response.text();
  return { status, headers, text, durationMs: performance.now() - startedAt };
}

export function askMany(gateway: TestGateway, path: string, count: number): Promise<Answer[]> {
  return Promise.all(Array.from({ length: count }, () => ask(gateway, path)));
}

/** Lets 50 clients ask without a pause while `event` happens. */
export async function duringLoad<T>(
  gateway: TestGateway,
  event: () => Promise<T>,
  { path = "/ordinary", clients = 50 } = {},
): Promise<{ readonly result: T; readonly others: readonly Answer[] }> {
  let over = false;
  const others: Answer[] = [];
  const underWay = Promise.withResolvers<void>();
  const client = async () => {
    while (!over) {
      others.push(await ask(gateway, path));
      if (others.length > clients) underWay.resolve();
    }
  };
  const running = Promise.all(Array.from({ length: clients }, client));
  try {
    await Promise.race([underWay.promise, running]);
    return { result: await event(), others };
  } finally {
    over = true;
    await running;
  }
}

/** Every one is a 200. */
export function assertServed(answers: readonly Answer[]): void {
  const failed = answers.filter((each) => each.status !== 200);
  assertEquals(failed.map((each) => `${each.status} ${each.text}`), []);
}

/** Every one is a 200, and none waited long. */
export function assertAllServed(answers: readonly Answer[]): void {
  assertServed(answers);
  const slowestMs = Math.max(...answers.map((each) => each.durationMs));
  assert(slowestMs < 3000, `a request took ${slowestMs} ms`);
}

/** Nothing reached the upstream without the mark of `POLICY`. */
export function assertPoliced(upstream: EchoUpstream): void {
  const bare = upstream.seen.filter((each) => each.headers["x-policed"] !== "yes");
  assertEquals(bare.map((each) => each.target), [], "reached the upstream unpoliced");
}

/** The `error` of a JSON answer of the gateway; its trace id is the answer's. */
export function errorOf(answer: Answer): { readonly code: string; readonly message: string } {
  const { error: { code, message, traceId, ...rest } } = JSON.parse(answer.text);
  assertEquals(rest, {});
  assertEquals(traceId, answer.headers.get("x-request-id"));
  return { code, message };
}

/** The log records that belong to an answer. */
export function logsOf(gateway: TestGateway, answer: Answer): LogLine[] {
  const traceId = answer.headers.get("x-request-id");
  return gateway.logs.filter((line) => line.traceId === traceId);
}

/** Waits for a record about this answer. */
export function logOf(gateway: TestGateway, answer: Answer, message: string): Promise<LogLine> {
  const traceId = answer.headers.get("x-request-id");
  return gateway.waitForLog((line) => line.traceId === traceId && line.message === message, {
    what: `"${message}" about ${traceId}`,
  });
}

export async function readyStatus(gateway: TestGateway): Promise<number> {
  const response = await fetch(`${gateway.adminUrl}/readyz`);
  await response.body?.cancel();
  return response.status;
}

export async function untilReady(gateway: TestGateway): Promise<void> {
  await gateway.until(async () => await readyStatus(gateway) === 200, { what: "/readyz" });
}

/** Waits until the gateway has nothing left to do for anybody, which SIGTERM shows: it then ends by itself. */
export async function assertNothingLeft(gateway: TestGateway): Promise<void> {
  gateway.signal("SIGTERM");
  const { inFlight } = await gateway.waitForLog((line) => line.message === "draining");
  assertEquals(inFlight, 0);
  assertEquals((await gateway.status).code, 0);
  assertEquals(gateway.stderr, "");
}

export function kill(pid: number): void {
  Deno.kill(pid, "SIGKILL");
}

/** A program in the place of the host's Deno. */
export interface HostProgram extends AsyncDisposable {
  /** For the gateway's environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly dir: string;
  /** Writes the program anew: a shell script to which `$DENO` is the real one. */
  write(script: string): Promise<void>;
  /** Takes the program away, so that it cannot be started. */
  remove(): Promise<void>;
}

/** A host program that tells the right version, and otherwise does what `script` says. */
export async function hostProgram(script: string): Promise<HostProgram> {
  const dir = await Deno.makeTempDir({ prefix: "conduit-host-" });
  const path = join(dir, "deno");
  const program: HostProgram = {
    dir,
    env: { CONDUIT_DENO: path },
    async write(body) {
      const text = `#!/bin/sh
DENO=${Deno.execPath()}
if [ "$1" = --version ]; then exec $DENO --version; fi
${body}
`;
      // Renamed into place: a script that is being written cannot be run.
      await Deno.writeTextFile(`${path}.new`, text, { mode: 0o700 });
      await Deno.rename(`${path}.new`, path);
    },
    remove: () => Deno.remove(path),
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
  await program.write(script);
  return program;
}
