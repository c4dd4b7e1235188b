/**
 * The `ctx` of one hook: a frozen view of the request, and builders whose changes become a patch. After the hook's time
 * `close` makes all of it inert.
 *
 * @module
 */

import { bareMap, diff, type Patch } from "../protocol/patch.ts";
import type { Draft, HeaderOverrides, HookContext, HookName, Json } from "../protocol/snapshot.ts";
import { HeaderBuilder } from "./headers.ts";
import { asNumber, ResponseDraft, UpstreamDraft } from "./builders.ts";
import { toJson } from "./json.ts";
import type { GatewayContext, Log, Services } from "./mod.ts";
import { RequestView } from "./request_view.ts";

/** What `ctx.reject` throws: control flow, told from every error by its class. */
export class Rejection {
  constructor(
    readonly status: number,
    readonly message: string,
    readonly headers: HeaderOverrides,
  ) {}
}

/** What the host passes in for one hook. */
export interface ContextNeeds {
  readonly hook: HookName;
  readonly input: HookContext;
  readonly log: Log;
  /** Made when first asked for; many hooks never do. */
  readonly services: () => Services;
  readonly signal: () => AbortSignal;
}

/** One hook's context, and what came of it. */
export class HookScope {
  readonly ctx: GatewayContext;
  readonly #base: Draft;
  readonly #upstream: UpstreamDraft;
  readonly #response: ResponseDraft;
  readonly #state: Record<string, Json | undefined> = Object.create(null);
  #user: Json | undefined;
  #rejection: Rejection | undefined;
  #forward: string | undefined;
  #open = true;

  constructor(needs: ContextNeeds) {
    const { input, hook } = needs;
    this.#base = input.draft;
    for (const [key, value] of Object.entries(input.draft.state)) {
      this.#state[key] = structuredClone(value);
    }
    this.#user = structuredClone(input.draft.user);
    const guard = (change: () => void) => {
      if (this.#open) change();
    };
    this.#upstream = new UpstreamDraft(input, hook, guard);
    this.#response = new ResponseDraft(input, guard);
    this.ctx = this.#context(needs);
  }

  /** Set once the hook called `ctx.reject`, also if it caught what that threw. */
  get rejection(): Rejection | undefined {
    return this.#rejection;
  }

  /** The last target that the hook proposed. */
  get forward(): string | undefined {
    return this.#forward;
  }

  /**
   * What the hook changed.
   *
   * @throws {TypeError} when it left something in `state` or `user` that is no JSON
   */
  patch(): Patch {
    const state = bareMap<Json>({});
    for (const key of Object.keys(this.#state)) {
      const value = toJson(this.#state[key], `ctx.state[${JSON.stringify(key)}]`);
      if (value !== null) state[key] = value;
    }
    const user = toJson(this.#user, "ctx.user");
    return diff(this.#base, {
      upstream: this.#upstream.result(),
      response: this.#response.result(),
      ...(user === null ? {} : { user }),
      state,
    });
  }

  /** From now on whatever the hook still sets is dropped. */
  close(): void {
    this.#open = false;
  }

  #context(needs: ContextNeeds): GatewayContext {
    // deno-lint-ignore no-this-alias -- the getters below need the scope, and `this` is theirs
    const scope = this;
    return Object.freeze({
      request: new RequestView(needs.input.request),
      response: this.#response,
      upstream: this.#upstream,
      state: this.#state,
      log: needs.log,
      get user() {
        return scope.#user;
      },
      set user(user: Json | undefined) {
        if (scope.#open) scope.#user = user;
      },
      get services() {
        return needs.services();
      },
      get signal() {
        return needs.signal();
      },
      reject(
        status: number,
        message: string,
        headers: Readonly<Record<string, string>> = {},
      ): never {
        const fields = new HeaderBuilder({});
        for (const [name, value] of Object.entries(headers)) fields.set(name, value);
        const rejection = new Rejection(
          asNumber(status, "status"),
          String(message),
          fields.overrides,
        );
        if (scope.#open) scope.#rejection ??= rejection;
        throw rejection;
      },
      forward(url: string | URL): void {
        if (needs.hook !== "beforeRequest") {
          throw new TypeError("ctx.forward works in beforeRequest only");
        }
        if (scope.#open) scope.#forward = String(url);
      },
    });
  }
}
