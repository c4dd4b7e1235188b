/**
 * Rules of the configuration that span several keys. They look at each key for
 * itself, so that one mistake does not hide another.
 *
 * @module
 */

import { dirname, resolve } from "@std/path";
import type * as z from "zod";
import type { Json } from "../protocol/snapshot.ts";
import { type ListenAddress, located } from "./config_addresses.ts";
import { formatPath, type Report, valueAt } from "./config_report.ts";
import { configSchema, corsSchema, pluginNameSchema, routeSchema } from "./config_schema.ts";
import type { Path } from "./json_text.ts";

/** `sun_path` of Linux, without the final NUL (unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;
/** Room in a hook frame for the heads, the state and the JSON around two inline bodies. */
const FRAME_ROOM_BYTES = 262_144;

interface Input {
  readonly file: string;
  readonly value: Json;
  readonly report: Report;
}

/** Reports what is wrong with `value` as a whole. Keys that are wrong by themselves are left out. */
export function checkConfig(input: Input): void {
  checkRuntime(input);
  checkNumbers(input);
  checkListeners(input);
  checkCors(input);
  checkPluginConfig(input);
  checkRoutes(input);
}

/** What stands at `path`, with its default; undefined if it is absent without one, or wrong. */
function read<T extends z.ZodType>(input: Input, path: Path, schema: T): z.output<T> | undefined {
  return schema.safeParse(valueAt(input.value, path)).data;
}

function routePaths(input: Input): Path[] {
  const routes = valueAt(input.value, ["routes"]);
  return Array.isArray(routes) ? routes.map((_, index) => ["routes", index]) : [];
}

/** The hosts of several gateway processes could not tell which of them listens on the one socket. */
function checkRuntime({ value, report, file }: Input): void {
  const path = ["runtime", "socket"];
  const socket = valueAt(value, path);
  if (valueAt(value, ["runtime", "mode"]) !== "external" || typeof socket !== "string") return;
  const tooLong = new TextEncoder().encode(resolve(dirname(file), socket)).length -
    MAX_SOCKET_PATH_BYTES;
  if (tooLong > 0) {
    report.refuse(path, `is ${tooLong} bytes too long for a Unix socket`);
  }
  const processes = valueAt(value, ["processes"]) ?? 1;
  if (processes === 1) return;
  report.refuse(
    ["runtime", "mode"],
    'serves one gateway process; use "processes": 1, or "embedded"',
  );
}

function checkNumbers(input: Input): void {
  const { report } = input;
  const { hookTimeoutMs, hardCeilingMs, maxFrameBytes, bodies } = configSchema.shape;
  // Left out, it gives way: a hook is given up when its own time is over, if that is longer.
  const isGiven = valueAt(input.value, ["hardCeilingMs"]) !== undefined;
  const ceilingMs = isGiven ? read(input, ["hardCeilingMs"], hardCeilingMs) : undefined;
  for (
    const path of [["hookTimeoutMs"], ...routePaths(input).map((it) => [...it, "hookTimeoutMs"])]
  ) {
    const schema = path.length === 1 ? hookTimeoutMs : routeSchema.shape.hookTimeoutMs;
    const timeoutMs = read(input, path, schema);
    if (ceilingMs === undefined || timeoutMs === undefined || timeoutMs <= ceilingMs) continue;
    report.add(
      path,
      `${timeoutMs} is more than "hardCeilingMs" (${ceilingMs}); raise that or lower this`,
    );
  }

  const frameBytes = read(input, ["maxFrameBytes"], maxFrameBytes);
  const inlinePath = ["bodies", "inlineLimitBytes"];
  const inlineBytes = read(input, inlinePath, bodies.unwrap().shape.inlineLimitBytes);
  if (frameBytes === undefined || inlineBytes === undefined) return;
  // One frame may hold the request's and the response's body, as base64.
  const fittingBytes = Math.max(0, Math.floor((frameBytes - FRAME_ROOM_BYTES) / 2 / 4) * 3);
  if (inlineBytes > fittingBytes) {
    report.add(
      inlinePath,
      `${inlineBytes} does not fit into "maxFrameBytes" (${frameBytes}); use at most ${fittingBytes}`,
    );
  }
}

function checkListeners(input: Input): void {
  const { report, file } = input;
  const { listen: schema, admin, processes } = configSchema.shape;
  const written = read(input, ["listen"], schema);
  const listen = written && located(written, file);
  const adminSection = read(input, ["admin"], admin);
  const adminListen = adminSection ? located(adminSection.listen, file) : undefined;

  for (
    const { path, address } of [
      { path: ["listen"], address: listen },
      { path: ["admin", "listen"], address: adminListen },
    ]
  ) {
    const bytes = address?.kind === "unix" ? new TextEncoder().encode(address.path).length : 0;
    if (bytes > MAX_SOCKET_PATH_BYTES) {
      report.refuse(
        path,
        `is ${bytes} bytes long as an absolute path; a Unix socket may have ${MAX_SOCKET_PATH_BYTES}`,
      );
    }
  }
  if (listen?.kind === "unix" && (read(input, ["processes"], processes) ?? 1) !== 1) {
    report.refuse(
      ["processes"],
      'gateway processes cannot share the Unix socket of "listen"; use 1, or listen on a port',
    );
  }
  if (listen && adminListen && collide(listen, adminListen)) {
    const path = ["admin", "listen"];
    const shown = valueAt(input.value, path) === undefined
      ? '"127.0.0.1:9901"'
      : report.shown(path);
    report.add(path, `${shown} is taken by "listen"; use another port`);
  }
}

function collide(a: ListenAddress, b: ListenAddress): boolean {
  if (a.kind === "unix" || b.kind === "unix") {
    return a.kind === "unix" && b.kind === "unix" && a.path === b.path;
  }
  const everything = ["0.0.0.0", "::"];
  const isShared = a.hostname === b.hostname ||
    everything.includes(a.hostname) || everything.includes(b.hostname);
  return a.port === b.port && a.port !== 0 && isShared;
}

/** With credentials browsers take `*` for no wildcard at all (Fetch, CORS protocol), so it would grant nothing. */
function checkCors(input: Input): void {
  const { allowCredentials, ...shape } = corsSchema.shape;
  if (read(input, ["cors", "allowCredentials"], allowCredentials) !== true) return;
  for (
    const key of ["allowedOrigins", "allowedMethods", "allowedHeaders", "exposedHeaders"] as const
  ) {
    const path = ["cors", key];
    const position = read(input, path, shape[key])?.indexOf("*") ?? -1;
    if (position < 0) continue;
    input.report.refuse(
      [...path, position],
      'cannot be used with "allowCredentials"; name each one',
    );
  }
}

/** A key that names no plugin would have no effect; whether there is such a plugin is seen when plugins load. */
function checkPluginConfig(input: Input): void {
  const settings = read(input, ["pluginConfig"], configSchema.shape.pluginConfig) ?? {};
  for (const key of Object.keys(settings)) {
    const wrong = pluginNameSchema.safeParse(key).error?.issues[0];
    if (wrong) {
      input.report.add(
        ["pluginConfig", key],
        `the key ${wrong.message}; use a plugin's name, like "001-auth"`,
      );
    }
  }
}

function checkRoutes(input: Input): void {
  const { report } = input;
  const { path: pathSchema, host, methods, encodedSlashes } = routeSchema.shape;
  const taken: { key: string; methods: readonly string[] | undefined; at: Path }[] = [];
  for (const at of routePaths(input)) {
    const pathAt = [...at, "path"];
    const path = read(input, pathAt, pathSchema);
    if (path === undefined) continue;
    const slashes = read(input, [...at, "encodedSlashes"], encodedSlashes);
    if (slashes === "reject" && /%2F|%5C/.test(path)) {
      report.refuse(pathAt, 'has an encoded slash, which is refused; set "encodedSlashes": "keep"');
    }
    if (report.has([...at, "host"]) || report.has([...at, "methods"])) continue;
    const own = {
      key: `${read(input, [...at, "host"], host) ?? ""}${path}`,
      methods: read(input, [...at, "methods"], methods),
      at,
    };
    const earlier = taken.find((it) => it.key === own.key && overlap(it.methods, own.methods));
    if (earlier) {
      report.refuse(
        pathAt,
        `is taken by ${
          formatPath(earlier.at)
        }; give one of them another "path", "host" or "methods"`,
      );
    }
    taken.push(own);
  }
}

/** Whether a request could have a method of both; undefined is every method. */
function overlap(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return a === undefined || b === undefined || a.some((method) => b.includes(method));
}
