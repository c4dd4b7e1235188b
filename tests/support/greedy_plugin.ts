/**
 * Plugins that use up what they share with others: the thread, the process, the memory, the log.
 *
 * @module
 */

import { type Answer, ask, assertPoliced, duringLoad, POLICY } from "./failure.ts";
import { type EchoUpstream, echoUpstream } from "./echo_upstream.ts";
import { type TestGateway, testGateway } from "./gateway.ts";

export interface GreedyOptions {
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
}

export interface GreedyRun {
  readonly gateway: TestGateway;
  readonly upstream: EchoUpstream;
  /** The process that ran the hook. */
  readonly host: number;
  readonly answer: Answer;
  /** What ten other clients got meanwhile. */
  readonly others: readonly Answer[];
}

/**
 * Lets one hook run `code`, with others asking meanwhile, until `over`; then judges with `check`. A policy that runs before the
 * hook leaves its mark on all that reaches the upstream.
 *
 * @param code statements; `ctx` and `forever`, a promise that never settles, are there
 */
export async function whileGreedy(
  code: string,
  { over, check, config, env }: GreedyOptions & {
    readonly over?: (gateway: TestGateway, answer: Answer) => Promise<unknown>;
    readonly check: (run: GreedyRun) => unknown;
  },
): Promise<void> {
  await using upstream = echoUpstream();
  await using gateway = await testGateway({
    config: {
      hookTimeoutMs: 1000,
      hardCeilingMs: 1000,
      routes: [{ path: "/*", upstream: upstream.url }],
      ...config,
    },
    plugins: {
      "001-policy.ts": POLICY.replace(`"reject"`, `"continue"`),
      "002-greedy.ts": `const forever = new Promise(() => {});
      const kept = [];
      export default {
        async beforeRequest(ctx) { if (ctx.request.path === "/greedy") { ${code} } },
      };`,
    },
    ...(env ? { env } : {}),
  });
  const [host = 0] = await gateway.hostPids();
  const { result: answer, others } = await duringLoad(gateway, async () => {
    const answer = await ask(gateway, "/greedy");
    await over?.(gateway, answer);
    return answer;
  }, { clients: 10 });
  await check({ gateway, upstream, host, answer, others });
  await gateway.until(async () => (await ask(gateway, "/after")).status === 200, { what: "a 200" });
  assertPoliced(upstream);
}
