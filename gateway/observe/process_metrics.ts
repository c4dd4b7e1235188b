/**
 * What every process tells of itself on `/metrics`, under the names that Prometheus' own clients use.
 *
 * @module
 */

import type { Registry } from "prom-client";
import process from "node:process";
import { askedCounter, askedGauge } from "./families.ts";

/** @param hostPid the plugin host whose memory is told too */
export function addProcessMetrics(registry: Registry, hostPid: () => number | undefined): void {
  const startedAt = (Date.now() - performance.now()) / 1000;
  askedCounter(registry, "process_cpu_seconds_total", {
    help: "Time on a core, of the gateway process.",
    read() {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
  });
  askedGauge(registry, "process_start_time_seconds", {
    help: "When the gateway process started, in seconds since 1970.",
    read: () => startedAt,
    aggregator: "min",
  });
  askedGauge(registry, "process_resident_memory_bytes", {
    help: "Memory of the gateway process.",
    read: () => Deno.memoryUsage().rss,
  });
  askedGauge(registry, "conduit_heap_bytes", {
    help: "JavaScript objects of the gateway process.",
    read: () => Deno.memoryUsage().heapUsed,
  });
  askedGauge(registry, "conduit_host_resident_memory_bytes", {
    help: "Memory of the plugin host that serves new requests.",
    read() {
      const pid = hostPid();
      return pid === undefined ? undefined : residentBytes(pid);
    },
  });
}

/** Of another process (proc_pid_status(5)); `undefined` where that is not told. */
function residentBytes(pid: number): number | undefined {
  try {
    const [, kibibytes] = /^VmRSS:\s+(\d+) kB$/m.exec(
      Deno.readTextFileSync(`/proc/${pid}/status`),
    ) ?? [];
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
  } catch {
    return undefined; // gone, or no Linux
  }
}
