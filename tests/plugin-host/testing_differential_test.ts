import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Plugin } from "conduit/plugin";
import { createTestContext, type HookOutcome, runHook } from "conduit/testing";
import { storyOf } from "../support/admin_pages.ts";
import { type EchoUpstream, echoUpstream } from "../support/echo_upstream.ts";
import { ROOT, type TestGateway, testGateway } from "../support/gateway.ts";
import { canonicalPath } from "../../protocol/path.ts";
import { programPlugin } from "../support/hook_programs.ts";
import { ANSWERS, BODIES, type Scene, scenes, UPSTREAM } from "../support/hook_scenes.ts";
import { PATIENT } from "../support/patient.ts";

const PLUGINS = ["001-first", "002-second"] as const;

/** Set by the gateway, by the client or by a server, whatever plugins do. */
const OTHERS =
  /^(x-request-id|traceparent|x-forwarded-.*|x-real-ip|host|content-length|date|user-agent|accept-encoding|accept-language)$/;

type Fields = Iterable<readonly [name: string, value: string | readonly string[]]>;

/** Repeated fields look as they do where one goes through a `Headers` of Deno (2.9.6): joined, but for cookies, and without what is empty at the beginning. */
function fieldLines(fields: Fields): string[] {
  const values = new Map<string, string[]>();
  for (const [name, value] of fields) {
    if (!OTHERS.test(name)) values.set(name, [...values.get(name) ?? [], ...[value].flat()]);
  }
  return [...values].flatMap(([name, each]) =>
    name === "set-cookie"
      ? each.map((one) => `${name}: ${one}`)
      : [`${name}: ${each.reduce((all, one) => all ? `${all}, ${one}` : one)}`]
  ).sort();
}

/** Of those of a request `echoUpstream` keeps but the last `set-cookie`, which nobody sends. */
function requestLines(fields: Readonly<Record<string, string | readonly string[]>>): string[] {
  return fieldLines(Object.entries(fields)).filter((line) => !line.startsWith("set-cookie"));
}

/** What comes of a scene, as far as `conduit/testing` tells of it. */
interface Outcome {
  readonly hooks: readonly (readonly [plugin: string, hook: string, action: string])[];
  /** What the log says of plugins, and what they say. */
  readonly told: readonly unknown[];
  readonly client: readonly unknown[];
  /** Where it asked for what, with which fields; `undefined` where it got nothing. */
  readonly upstream: readonly string[] | undefined;
}

function requestOf({ programs, answer, method, body }: Scene) {
  const headers = {
    "x-programs": encodeURIComponent(JSON.stringify(programs)),
    "x-answer": answer,
    "x-body": String(BODIES.indexOf(body)),
    "x-field": "f",
    "x-list": 'a, "b, c"',
    "x-a": "client",
    "accept": "text/a",
    // None of these is shown to plugins.
    "X_Forwarded-For": "9.9.9.9",
    "x-real-ip": "9.9.9.9",
    "tracestate": "a=1",
    "proxy": "http://evil.test",
    "te": "trailers",
    ...(method === "POST" ? { "content-type": "text/plain" } : {}),
  };
  return { method, headers, ...(method === "POST" ? { body } : {}) };
}

async function inTest(
  scene: Scene,
  { upstreamUrl, cors, declared }: {
    readonly upstreamUrl: string;
    readonly cors: "passthrough" | undefined;
    readonly declared: Partial<Plugin>;
  },
): Promise<Outcome> {
  const { onHookError } = scene;
  const { status, headers } = ANSWERS[scene.answer];
  const ctx = createTestContext({
    ...(cors ? { cors } : {}),
    ...requestOf(scene),
    path: `/${onHookError}/x?q=1`,
    route: `/${onHookError}/*`,
    response: { status, headers, body: isEmpty(scene) ? "" : scene.body },
  });
  const hooks: Outcome["hooks"][number][] = [];
  const told: unknown[] = [];
  const target = { path: `/${onHookError}/x`, query: "q=1" };
  let sent: HookOutcome | undefined;
  let last: HookOutcome | undefined;
  for (const hook of ["beforeRequest", "afterResponse"] as const) {
    for (const [index, plugin] of PLUGINS.entries()) {
      last = await runHook(programPlugin(index, declared), hook, ctx);
      hooks.push([plugin, hook, last.action]);
      aim(target, last);
      told.push(...toldOf(last, plugin, hook, onHookError));
      const isError = last.action === "error" && hook === "beforeRequest";
      if (last.rejected || isError && onHookError === "reject") {
        return {
          hooks,
          told,
          client: clientOf(last, scene),
          upstream: sent && upstreamOf(sent, target, upstreamUrl),
        };
      }
    }
    sent ??= last;
  }
  return {
    hooks,
    told,
    client: clientOf(last!, scene),
    upstream: upstreamOf(sent!, target, upstreamUrl),
  };
}

function toldOf(
  { logs, denied, error, rejected }: HookOutcome,
  plugin: string,
  hook: string,
  onHookError: string,
): unknown[] {
  const impossible = denied.find(({ what }) => what === "rejection status");
  const treated = rejected || onHookError === "reject" && hook === "beforeRequest"
    ? "reject"
    : "continue";
  const failed = { level: "error", message: `hook failed; treating as ${treated}`, plugin, hook };
  return [
    ...logs.map(({ level, message, fields }) => ({
      level,
      message,
      plugin,
      ...(fields ? { fields } : {}),
    })),
    ...denied.filter((each) => each !== impossible)
      .map((each) => ({
        level: "warn",
        message: "denied what a plugin set",
        plugin,
        hook,
        ...each,
      })),
    ...(error ? [{ ...failed, error: errorLine(error) }] : []),
    ...(impossible ? [{ ...failed, reason: impossible.reason }] : []),
  ];
}

function clientOf({ response }: HookOutcome, { method, body: sent }: Scene): readonly unknown[] {
  if (!response) {
    const error = { code: "plugin_error", message: "a policy check failed", traceId: "test" };
    const lines = ["cache-control: no-store", "content-type: application/json"];
    return [500, lines, method === "HEAD" ? "" : JSON.stringify({ error })];
  }
  // What is not shown to hooks is the upstream's.
  const { status, headers, body = sent } = response;
  return [status, fieldLines(Object.entries(headers)), body];
}

/** Lays what one hook proposes over where the request goes. */
function aim(target: { path: string; query: string }, { patch, denied }: HookOutcome): void {
  const { path, query } = patch.upstream ?? {};
  const isDenied = (part: string) => denied.some(({ what }) => what === `upstream ${part}`);
  if (typeof path === "string" && !isDenied("path")) {
    target.path = canonicalPath(path).path;
  }
  if (typeof query === "string" && !isDenied("query")) {
    target.query = canonicalPath(`/?${query}`).query;
  }
}

/** The route's own upstream is all that a forward may go to. */
function upstreamOf(
  { upstreamHeaders, forwarded }: HookOutcome,
  { path, query }: { readonly path: string; readonly query: string },
  upstreamUrl: string,
): string[] {
  const url = forwarded?.startsWith(upstreamUrl) ? new URL(forwarded) : undefined;
  const at = url ? canonicalPath(url.pathname + url.search) : { path, query };
  const asked = at.path + (at.query && `?${at.query}`);
  return [asked, ...requestLines(upstreamHeaders)];
}

function isEmpty({ method, answer }: Pick<Scene, "method" | "answer">): boolean {
  return method === "HEAD" || answer === "empty";
}

async function inGateway(
  scene: Scene,
  { gateway, upstream, id }: { gateway: TestGateway; upstream: EchoUpstream; id: string },
): Promise<Outcome> {
  const { headers, ...request } = requestOf(scene);
  const from = gateway.logs.length;
  const response = await gateway.fetch(`/${scene.onHookError}/x?q=1`, {
    ...request,
    headers: { ...headers, "x-request-id": id },
  });
  const body = (await response.text()).replace(id, "test");
  await gateway.waitForLog(({ traceId, bytes }) => traceId === id && bytes !== undefined, { from });
  const story = await storyOf(gateway, id);
  const told = gateway.logs.slice(from).filter(({ traceId, plugin, message }) =>
    traceId === id && plugin && !message.startsWith("forward refused")
  )
    .map(({ time: _, traceId: __, logger: ___, ...record }) => record);
  const seen = upstream.seen.find(({ headers }) => headers["x-request-id"] === id);
  return {
    hooks: story.hooks.map((each: Record<string, string>) => [each.plugin, each.hook, each.action]),
    told: told.map((record) => ({
      ...record,
      ...(record.error ? { error: errorLine(record.error) } : {}),
    })),
    client: [response.status, fieldLines(response.headers), body],
    upstream: seen && [seen.target, ...requestLines(seen.headers)],
  };
}

/** The number of a reference is the gateway's to choose. */
function errorLine(error: unknown): string {
  const { name, message } = error as Error;
  return `${name}: ${message}`.replace(/stream:\/\/\d+/, "stream://1");
}

const LIMITED = { readsBodies: false, readsHeaders: ["X-Programs", "x-field", "x-list"] };

for (
  const [hookDispatch, declared, cors] of [
    ["per-hook", {}, undefined],
    ["per-phase", {}, "passthrough"],
    ["per-phase", LIMITED, undefined],
  ] as const
) {
  const named = Object.keys(declared).join(", ");
  Deno.test(`what conduit/testing tells of any hooks is what a gateway makes of them (${hookDispatch}${named && `, ${named}`})`, async () => {
    await using upstream = echoUpstream({
      respond({ method, headers: { "x-answer": answer, "x-body": body } }) {
        const { status, headers } = ANSWERS[answer as Scene["answer"]];
        const fields = Object.entries(headers).flatMap(([name, value]) =>
          [value].flat().map((each): [string, string] => [name, each])
        );
        return new Response(
          isEmpty({ method: method as "GET", answer: answer as Scene["answer"] })
            ? null
            : new TextEncoder().encode(BODIES[Number(body)]),
          { status, headers: fields },
        );
      },
    });
    const route = (onHookError: string) => ({
      path: `/${onHookError}/*`,
      upstream: upstream.url,
      onHookError,
    });
    await using gateway = await testGateway({
      config: {
        ...PATIENT,
        hookDispatch,
        ...(cors ? { cors } : {}),
        log: { format: "json", level: "debug", pluginRecordsPerSecond: 0, pluginBytesPerSecond: 0 },
        routes: [route("continue"), route("reject")],
      },
      plugins: {
        "_programs.ts": await Deno.readTextFile(`${ROOT}/tests/support/hook_programs.ts`),
        ...Object.fromEntries(PLUGINS.map((name, index) => [
          `${name}.ts`,
          `import { programPlugin } from "./_programs.ts";\nexport default programPlugin(${index}, ${
            JSON.stringify(declared)
          });`,
        ])),
      },
    });
    let asked = 0;
    await fc.assert(
      fc.asyncProperty(scenes, async (drawn) => {
        const scene = JSON.parse(JSON.stringify(drawn).replaceAll(UPSTREAM, upstream.url));
        const id = `scene-${asked++}`;
        assertEquals(
          await inGateway(scene, { gateway, upstream, id }),
          await inTest(scene, { upstreamUrl: upstream.url, cors, declared }),
        );
      }),
      { numRuns: 120 },
    );
  });
}
