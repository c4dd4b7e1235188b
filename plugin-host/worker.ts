/**
 * Inside an isolate: connect to the gateway, give up the right to do so again, load the plugins, run hooks.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { endsChain } from "../protocol/chain.ts";
import { Connection } from "../protocol/connection.ts";
import { FrameError } from "../protocol/frame.ts";
import {
  decodeToIsolate,
  type FromIsolate,
  type HookFrame,
  type HookResult,
  PROTOCOL_VERSION,
  type ToIsolate,
} from "../protocol/messages.ts";
import { permittedPatch } from "../protocol/mutation_rules.ts";
import { apply } from "../protocol/patch.ts";
import type { BodyInfo, HookContext, Json } from "../protocol/snapshot.ts";
import { runHook } from "./hook_runner.ts";
import { HeldWriter } from "./held_results.ts";
import type { IsolateInit, IsolateReport } from "./isolate_messages.ts";
import { describeError } from "./json.ts";
import { type LoadedPlugin, LoadError, loadPlugins } from "./loader.ts";
import { isolateLog } from "./isolate_log.ts";
import type { Services } from "./mod.ts";
import { cacheService, type Call } from "./services/cache.ts";
import { httpService } from "./services/http.ts";
import { setPluginsFolder } from "./stack.ts";
import { MarkWriter } from "./start_mark.ts";

/** Calls of one isolate that may wait for the gateway at a time; a further one is refused. */
const MAX_PENDING_CALLS = 1000;
/**
 * How long a chain of hooks may run without a word to the gateway, which knows that a hook began only by the result before it:
 * less than the time after which it takes one to be late (`GRACE_MS` there).
 */
const MAX_HELD_MS = 5;
/** Most hooks have ended after so many turns of the microtask queue. */
const PROMPT_TURNS = 16;

const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent<IsolateInit>) => void) | null;
  addEventListener(type: string, listener: (event: Event) => void): void;
  close(): void;
};

scope.onmessage = ({ data, ports }) => {
  scope.onmessage = null;
  const [port] = ports;
  if (port) void start(data, (report) => port.postMessage(report));
};

async function start(init: IsolateInit, report: (report: IsolateReport) => void): Promise<void> {
  const socket = await Deno.connect({ transport: "unix", path: init.socket });
  const connection = new Connection<FromIsolate>(socket, { maxFrameBytes: init.maxFrameBytes });
  connection.send({
    type: "hello",
    protocol: PROTOCOL_VERSION,
    role: "isolate",
    generation: init.generation,
    isolate: init.isolate,
    pid: Deno.pid,
    version: init.version,
    secret: init.secret,
  });
  await connection.flushed();
  await giveUpSocket(init.socket);
  const isolate = new Isolate(init, connection);
  void connection.receive((message) => isolate.accept(decodeToIsolate(message))).finally(() =>
    scope.close()
  );
  const outcome = await isolate.load();
  // `Deno.exit` and `self.close` take hold at the end of the turn: what a plugin that calls them would report is not true.
  await new Promise((resolve) => setTimeout(resolve, 0));
  report(outcome);
}

/** From here on plugin code runs in this isolate; it must not be able to pose as another one. */
async function giveUpSocket(path: string): Promise<void> {
  await Deno.permissions.revoke({ name: "net", host: `unix:${path}` });
  await Deno.permissions.revoke({ name: "read", path });
  await Deno.permissions.revoke({ name: "write", path });
}

class Isolate {
  readonly #init: IsolateInit;
  readonly #connection: Connection<FromIsolate>;
  readonly #mark: MarkWriter;
  readonly #held: HeldWriter;
  readonly #plugins = new Map<string, LoadedPlugin>();
  readonly #calls = new Map<number, PromiseWithResolvers<Json>>();
  readonly #waiting: HookFrame[] = [];
  #beginning = false;
  #lastCall = 0;

  constructor(init: IsolateInit, connection: Connection<FromIsolate>) {
    this.#init = init;
    this.#connection = connection;
    this.#mark = new MarkWriter(init.mark);
    this.#held = new HeldWriter(init.held);
    for (const type of ["unhandledrejection", "error"]) {
      scope.addEventListener(type, (event) => this.#keepAlive(event));
    }
  }

  async load(): Promise<IsolateReport> {
    const { dirUrl, files, pluginConfig, env } = this.#init;
    setPluginsFolder(new URL(dirUrl));
    try {
      const plugins = await loadPlugins(new URL(dirUrl), files, {
        config: pluginConfig,
        env,
        services: this.#services({}, () => new AbortController().signal),
        log: (plugin) => isolateLog((record) => this.#send({ type: "log", plugin, ...record })),
      });
      for (const each of plugins) this.#plugins.set(each.manifest.name, each);
      return { kind: "ready", plugins: plugins.map((each) => each.manifest) };
    } catch (error) {
      const { file, line, column, message } = error instanceof LoadError
        ? error
        : new LoadError("plugins", describeError(error).message);
      return { kind: "failed", file, line, column, message };
    }
  }

  accept(message: ToIsolate): void {
    switch (message.type) {
      case "hook":
        this.#waiting.push(message);
        return void this.#beginHooks();
      case "return":
        return this.#settleCall(message);
      case "refused":
        return scope.close();
    }
  }

  /**
   * Begins hooks one after another. Each may block or end this thread, so what the earlier ones came to is written first:
   * of all that was begun here, only hooks that wait for something can be lost with it.
   */
  async #beginHooks(): Promise<void> {
    if (this.#beginning) return;
    this.#beginning = true;
    for (let frame = this.#waiting.shift(); frame; frame = this.#waiting.shift()) {
      const hooks = frame.chain?.length ?? 1;
      if (!await isPrompt(this.#runChain(frame), hooks * PROMPT_TURNS)) {
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      await this.#connection.flushed();
    }
    this.#beginning = false;
  }

  /** Runs the hooks that one message asks for; each is told what became of the ones before, as the gateway sees it. */
  async #runChain({ chain, ...frame }: HookFrame): Promise<void> {
    if (!this.#mark.begin(frame.id)) return;
    if (!chain) return void this.#sendResult(await this.#runHook(frame));
    let { draft } = frame.ctx;
    let toldAt = performance.now();
    for (const link of chain) {
      if (this.#mark.sealed) return;
      const ctx = { ...frame.ctx, draft };
      const running = this.#runHook({
        ...frame,
        plugin: link.plugin,
        ctx: link.readsBodies ? ctx : withoutBodies(ctx),
      });
      const result = await this.#flushingMeanwhile(running);
      if (link === chain.at(-1) || endsChain(result, link)) return void this.#sendResult(result);
      const { frame: bytes, queued } = this.#queue(result);
      if (performance.now() - toldAt > MAX_HELD_MS || !this.#held.add(bytes)) {
        await this.#flush();
        toldAt = performance.now();
      }
      if (endsChain(queued, link)) return await this.#flush();
      if ("patch" in queued && queued.patch) {
        const judge = { ownsCors: frame.ownsCors ?? false, denials: [] };
        draft = apply(draft, permittedPatch(queued.patch, judge));
      }
    }
  }

  /** A hook that waits for something must not hold up what the earlier ones of its chain came to. */
  async #flushingMeanwhile(running: Promise<HookResult>): Promise<HookResult> {
    if (!await isPrompt(running)) void this.#flush();
    return await running;
  }

  async #runHook(frame: HookFrame): Promise<HookResult> {
    const loaded = this.#plugins.get(frame.plugin);
    if (!loaded) return failure(frame, new Error(`no plugin "${frame.plugin}" in this isolate`));
    const traceHeaders = {
      "x-request-id": frame.traceId,
      ...(frame.traceparent ? { traceparent: frame.traceparent } : {}),
    };
    return await runHook(loaded.plugin, frame, {
      services: (_, signal) => this.#services(traceHeaders, signal),
      lateLog: (record, { plugin, traceId }) =>
        this.#send({ type: "log", plugin, traceId, ...record }),
    });
  }

  #sendResult(result: HookResult): void {
    this.#queue(result);
    void this.#flush();
  }

  /** @returns the frame, and the result that is in it */
  #queue(result: HookResult): { readonly frame: Uint8Array; readonly queued: HookResult } {
    try {
      return { frame: this.#connection.hold(result), queued: result };
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      const tooLarge = new Error("what the hook proposed is larger than a frame may be");
      return this.#queue(failure(result, tooLarge));
    }
  }

  /** Writes what is queued. What was held is forgotten when that is done, unless more was held meanwhile. */
  async #flush(): Promise<void> {
    this.#connection.flush();
    const { usedBytes } = this.#held;
    await this.#connection.flushed();
    if (usedBytes > 0 && this.#held.usedBytes === usedBytes) this.#held.clear();
  }

  #services(traceHeaders: Readonly<Record<string, string>>, signal: () => AbortSignal): Services {
    return Object.freeze({
      http: httpService({ traceHeaders, signal }),
      cache: cacheService(this.#call),
    });
  }

  readonly #call: Call = (method, args) => {
    if (this.#calls.size >= MAX_PENDING_CALLS) {
      return Promise.reject(
        new Error(`more than ${MAX_PENDING_CALLS} service calls are waiting in this isolate`),
      );
    }
    const id = ++this.#lastCall;
    const pending = Promise.withResolvers<Json>();
    this.#connection.send({ type: "call", id, service: "cache", method, args });
    this.#calls.set(id, pending);
    return pending.promise;
  };

  #settleCall({ id, value, error }: Extract<ToIsolate, { type: "return" }>): void {
    const pending = this.#calls.get(id);
    this.#calls.delete(id);
    if (error !== undefined) pending?.reject(new Error(error));
    else pending?.resolve(value ?? null);
  }

  /** A stray rejection or error of one plugin must not end the isolate for all the others. */
  #keepAlive(event: Event): void {
    event.preventDefault();
    const cause = "reason" in event ? event.reason : (event as ErrorEvent).error;
    this.#send({
      type: "log",
      level: "error",
      message: `${event.type === "error" ? "uncaught error" : "unhandled rejection"} in a plugin`,
      fields: { error: describeError(cause) },
    });
  }

  #send(message: FromIsolate): void {
    try {
      this.#connection.send(message);
    } catch {
      // A log record larger than a frame: there is nobody to tell but the log.
    }
  }
}

/** Whether `work` ends without waiting for anything but itself. */
async function isPrompt(work: Promise<unknown>, turns = PROMPT_TURNS): Promise<boolean> {
  let ended = false;
  const end = () => void (ended = true);
  work.then(end, end);
  for (let turn = 0; turn < turns && !ended; turn++) await undefined;
  return ended;
}

/** For a plugin that reads none, also where another one of its chain does. */
function withoutBodies({ request, response, draft }: HookContext): HookContext {
  return {
    request: { ...request, body: withoutBytes(request.body) },
    ...(response ? { response: { ...response, body: withoutBytes(response.body) } } : {}),
    draft,
  };
}

function withoutBytes(body: BodyInfo): BodyInfo {
  return body.kind === "inline" ? { kind: "inline", sizeBytes: body.sizeBytes } : body;
}

function failure(
  { id, plugin }: { readonly id: number; readonly plugin: string },
  error: Error,
): HookResult {
  return {
    type: "result",
    id,
    plugin,
    action: "continue",
    error: describeError(error),
    durationMs: 0,
  };
}
