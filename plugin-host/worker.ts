/**
 * Inside an isolate: connect to the gateway, give up the right to do so again, load the plugins, run hooks.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { Connection } from "../protocol/connection.ts";
import {
  decodeToIsolate,
  type FromIsolate,
  type HookFrame,
  type HookResult,
  PROTOCOL_VERSION,
  type ToIsolate,
} from "../protocol/messages.ts";
import type { Json } from "../protocol/snapshot.ts";
import { lockBuiltIns } from "./built_ins.ts";
import { ChainRunner, failure } from "./chain_runner.ts";
import { HeldWriter } from "./held_results.ts";
import { runHook } from "./hook_runner.ts";
import type { IsolateInit, IsolateReport } from "./isolate_messages.ts";
import { describeError } from "./json.ts";
import { type LoadedPlugin, LoadError, loadPlugins } from "./loader.ts";
import { isolateLog, LogSender } from "./isolate_log.ts";
import type { Services } from "./mod.ts";
import { cacheService, type Call } from "./services/cache.ts";
import { httpService } from "./services/http.ts";
import { setPluginsFolder } from "./stack.ts";
import { MarkWriter } from "./start_mark.ts";

/** Calls of one isolate that may wait for the gateway at a time; a further one is refused. */
const MAX_PENDING_CALLS = 1000;

const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent<IsolateInit>) => void) | null;
  addEventListener(type: string, listener: (event: Event) => void): void;
  close(): void;
};

scope.onmessage = ({ data, ports }) => {
  scope.onmessage = null;
  const [port] = ports;
  // Bound now: plugins could put something in the place of the method.
  if (port) void start(data, port.postMessage.bind(port));
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
  lockBuiltIns(socket);
  const isolate = new Isolate(init, connection);
  void connection.receive((message) => isolate.accept(decodeToIsolate(message))).finally(() =>
    scope.close()
  );
  const outcome = await isolate.load((file) => report({ kind: "loading", file }));
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
  readonly #logs: LogSender;
  readonly #chains: ChainRunner;
  readonly #plugins = new Map<string, LoadedPlugin>();
  readonly #calls = new Map<number, PromiseWithResolvers<Json>>();
  readonly #waiting: HookFrame[] = [];
  #beginning = false;
  #lastCall = 0;

  constructor(init: IsolateInit, connection: Connection<FromIsolate>) {
    this.#init = init;
    this.#connection = connection;
    this.#logs = new LogSender(connection);
    this.#chains = new ChainRunner({
      connection,
      mark: new MarkWriter(init.mark),
      held: new HeldWriter(init.held),
      runHook: (frame) => this.#runHook(frame),
    });
    for (const type of ["unhandledrejection", "error"]) {
      scope.addEventListener(type, (event) => this.#keepAlive(event));
    }
  }

  async load(began: (file: string) => void): Promise<IsolateReport> {
    const { dirUrl, files, pluginConfig, env } = this.#init;
    setPluginsFolder(new URL(dirUrl));
    try {
      const plugins = await loadPlugins(new URL(dirUrl), files, {
        config: pluginConfig,
        env: Object.freeze(env),
        services: this.#services({}, () => new AbortController().signal),
        log: (plugin) => isolateLog((record) => this.#logs.send({ plugin, ...record })),
        began,
      });
      for (const each of plugins) this.#plugins.set(each.manifest.name, each);
      return { kind: "ready", plugins: plugins.map((each) => each.manifest) };
    } catch (error) {
      const { file, line, column, message, others } = error instanceof LoadError
        ? error
        : new LoadError("plugins", describeError(error).message);
      return { kind: "failed", file, line, column, message, others };
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
   * Begins hooks one after another, and writes together what they came to: a write costs more than most hooks. Each may block or
   * end this thread, so until it is written it also lies where the host's main thread finds it (`held_results.ts`): of all
   * that was begun here, only hooks that wait for something can be lost.
   */
  async #beginHooks(): Promise<void> {
    if (this.#beginning) return;
    this.#beginning = true;
    for (let frame = this.#waiting.shift(); frame; frame = this.#waiting.shift()) {
      if (!await this.#chains.begin(frame)) {
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      if (this.#waiting.length === 0 || this.#chains.isDue) await this.#chains.flush();
    }
    this.#beginning = false;
  }

  async #runHook(frame: HookFrame): Promise<HookResult> {
    const loaded = this.#plugins.get(frame.plugin);
    if (!loaded) return failure(frame, new Error(`no plugin "${frame.plugin}" in this isolate`));
    return await runHook(loaded.plugin, frame, {
      services: ({ traceId, traceparent }, signal) =>
        this.#services(
          { "x-request-id": traceId, ...(traceparent ? { traceparent } : {}) },
          signal,
        ),
      lateLog: (record, { plugin, traceId }) => this.#logs.send({ plugin, traceId, ...record }),
    });
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
    this.#logs.send({
      level: "error",
      message: `${event.type === "error" ? "uncaught error" : "unhandled rejection"} in a plugin`,
      fields: { error: describeError(cause) },
    });
  }
}
