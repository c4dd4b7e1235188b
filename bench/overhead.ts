/**
 * What the gateway costs, as medians of interleaved rounds on this machine: requests/s at concurrency 32 and the median
 * latency at concurrency 1, straight to nginx, through a route without plugins, and through the four shipped plugins.
 *
 *     deno run -A bench/overhead.ts [--seconds 5] [--rounds 3]
 *
 * It needs `wrk` and `nginx` (Debian: `apt-get install -y wrk nginx`). Load generator, upstream and gateway share the cores.
 *
 * @module
 */

import { fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("../", import.meta.url));
const TOKEN = "bench-token";
const BODY = JSON.stringify({ id: 1, text: "x".repeat(180) });

interface Sample {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
}

const seconds = numberFlag("--seconds", 5);
const rounds = numberFlag("--rounds", 3);
const dir = await Deno.makeTempDir({ prefix: "conduit-bench-" });
const children: Deno.ChildProcess[] = [];
try {
  const [upstream, gateway] = [freePort(), freePort()];
  await startNginx(upstream);
  await startGateway(gateway, upstream);
  const cases = {
    "straight to nginx": `http://127.0.0.1:${upstream}/`,
    "gateway, no plugins": `http://127.0.0.1:${gateway}/plain/x`,
    "gateway, four plugins": `http://127.0.0.1:${gateway}/policed/x`,
  };
  const loaded = await measure(cases, 32);
  const single = await measure(cases, 1);
  const base = median(single["straight to nginx"]?.map((each) => each.p50Ms) ?? []);
  console.log(`| case | requests/s at concurrency 32 | p50 at concurrency 1 | added p50 |`);
  console.log(`|---|---:|---:|---:|`);
  for (const name of Object.keys(cases)) {
    const rate = median(loaded[name]?.map((each) => each.requestsPerSecond) ?? []);
    const p50 = median(single[name]?.map((each) => each.p50Ms) ?? []);
    console.log(
      `| ${name} | ${rate.toFixed(0)} | ${p50.toFixed(3)} ms | ${(p50 - base).toFixed(3)} ms |`,
    );
  }
} finally {
  for (const child of children) {
    child.kill("SIGTERM");
    await child.status;
  }
  await Deno.remove(dir, { recursive: true });
}

/** Each case once a round, so that a drift of the machine meets all of them. */
async function measure(
  cases: Readonly<Record<string, string>>,
  concurrency: number,
): Promise<Record<string, Sample[]>> {
  const samples: Record<string, Sample[]> = {};
  for (let round = 0; round < rounds; round++) {
    for (const [name, url] of Object.entries(cases)) {
      (samples[name] ??= []).push(await wrk(url, concurrency));
    }
  }
  return samples;
}

async function wrk(url: string, concurrency: number): Promise<Sample> {
  const { stdout } = await new Deno.Command("wrk", {
    args: [
      "-t1",
      `-c${concurrency}`,
      `-d${seconds}`,
      "--latency",
      "-H",
      `authorization: Bearer ${TOKEN}`,
      url,
    ],
    stderr: "inherit",
  }).output();
  const text = new TextDecoder().decode(stdout);
  if (text.includes("Non-2xx")) throw new Error(`${url} did not answer 2xx:\n${text}`);
  const rate = /Requests\/sec:\s*([\d.]+)/.exec(text)?.[1];
  const [, p50, unit] = /50%\s+([\d.]+)(us|ms|s)/.exec(text) ?? [];
  if (!rate || !p50) throw new Error(`wrk said nothing to read:\n${text}`);
  return {
    requestsPerSecond: Number(rate),
    p50Ms: Number(p50) * { us: 0.001, ms: 1, s: 1000 }[unit as "us" | "ms" | "s"],
  };
}

async function startNginx(port: number): Promise<void> {
  const file = join(dir, "nginx.conf");
  await Deno.writeTextFile(
    file,
    `
    daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${dir}/nginx.log;
    events { worker_connections 1024; }
    http {
      access_log off; keepalive_requests 100000000; default_type application/json;
      server { listen 127.0.0.1:${port}; location / { return 200 '${BODY}'; } }
    }`,
  );
  start("nginx", ["-c", file]);
  await answers(`http://127.0.0.1:${port}/`);
}

async function startGateway(port: number, upstream: number): Promise<void> {
  const file = join(dir, "conduit.config.json");
  const origin = `http://127.0.0.1:${upstream}`;
  await Deno.writeTextFile(
    file,
    JSON.stringify({
      listen: `127.0.0.1:${port}`,
      admin: false,
      log: { level: "warn" },
      pluginsDir: join(ROOT, "plugins"),
      pluginConfig: { "001-auth": { tokens: { bench: { token: TOKEN } } } },
      routes: [{ path: "/policed/*", upstream: origin }, {
        path: "/plain/*",
        upstream: origin,
        plugins: false,
      }],
    }),
  );
  start(Deno.execPath(), ["run", "-A", join(ROOT, "main.ts"), "run", "--config", file]);
  await answers(`http://127.0.0.1:${port}/plain/x`);
}

function start(command: string, args: readonly string[]): void {
  children.push(
    new Deno.Command(command, { args: [...args], stdin: "null", stdout: "inherit" }).spawn(),
  );
}

async function answers(url: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const response = await fetch(url).catch(() => undefined);
    await response?.body?.cancel();
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${url} did not come up`);
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function numberFlag(name: string, fallback: number): number {
  const at = Deno.args.indexOf(name);
  return at < 0 ? fallback : Number(Deno.args[at + 1]);
}
