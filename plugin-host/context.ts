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
import { asText, toJson } from "./json.ts";
import type {
  GatewayContext,
  GatewayRequest,
  Log,
  ResponseBuilder,
  Services,
  UpstreamBuilder,
} from "./mod.ts";
import { requestView } from "./request_view.ts";

/** What `ctx.reject` throws: control flow, told from every error by its class. */
export class Rejection {
  constructor(
    readonly status: number,
    readonly message: string,
    readonly headers: HeaderOverrides,
    /** How `ctx.reject` was called wrongly. The plugin wants this request refused all the same; status 0 says that it cannot be as it wants. */
    readonly mistake?: TypeError,
  ) {}
}

/** What the host passes in for one hook. */
export interface ContextNeeds {
  readonly hook: HookName;
  readonly input: HookContext;
  /** The plugin's declaration. */
  readonly readsHeaders?: readonly string[] | undefined;
  /** These are made when first asked for; many hooks never do. */
  readonly log: () => Log;
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
      this.#state[key] = cloned(value);
    }
    this.#user = cloned(input.draft.user);
    const guard = (change: () => void) => {
      if (this.#open) change();
    };
    this.#upstream = new UpstreamDraft(input, hook, guard);
    this.#response = new ResponseDraft(input, guard);
    this.ctx = new Context(this, {
      upstream: this.#upstream,
      response: this.#response,
      state: this.#state,
      needs,
    });
  }

  /** Set once the hook called `ctx.reject`, also if it caught what that threw. */
  get rejection(): Rejection | undefined {
    return this.#rejection;
  }

  /** The last target that the hook proposed. */
  get forward(): string | undefined {
    return this.#forward;
  }

  set forward(url: string | undefined) {
    if (this.#open) this.#forward = url;
  }

  get user(): Json | undefined {
    return this.#user;
  }

  set user(user: Json | undefined) {
    if (this.#open) this.#user = user;
  }

  /** @throws {Rejection | TypeError} */
  reject(rejection: Rejection): never {
    if (!this.#open) {
      throw new TypeError("ctx.reject was called after its hook had ended; is an await missing?");
    }
    this.#rejection ??= rejection;
    throw rejection.mistake ?? rejection;
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
}

function cloned<T>(value: T): T {
  return typeof value === "object" ? structuredClone(value) : value;
}

/** A class, and not an object literal with closures for each hook: making one of those takes longer than most hooks do. */
class Context implements GatewayContext {
  readonly request: GatewayRequest;
  readonly upstream: UpstreamBuilder;
  readonly response: ResponseBuilder;
  readonly state: Record<string, Json | undefined>;
  readonly reject: GatewayContext["reject"];
  readonly forward: GatewayContext["forward"];
  readonly #scope: HookScope;
  readonly #needs: ContextNeeds;

  constructor(
    scope: HookScope,
    { needs, ...parts }: Pick<GatewayContext, "upstream" | "response" | "state"> & {
      readonly needs: ContextNeeds;
    },
  ) {
    this.#scope = scope;
    this.#needs = needs;
    this.upstream = parts.upstream;
    this.response = parts.response;
    this.state = parts.state;
    this.request = requestView(needs.input.request, needs.readsHeaders);
    // Bound, so that a plugin may take them out of `ctx`.
    this.reject = (...call) => scope.reject(rejection(...call));
    this.forward = (url) => {
      if (needs.hook !== "beforeRequest") {
        throw new TypeError("ctx.forward works in beforeRequest only");
      }
      scope.forward = asText(url, "the target");
    };
    Object.freeze(this);
  }

  get user(): Json | undefined {
    return this.#scope.user;
  }

  set user(user: Json | undefined) {
    this.#scope.user = user;
  }

  get log(): Log {
    return this.#needs.log();
  }

  get services(): Services {
    return this.#needs.services();
  }

  get signal(): AbortSignal {
    return this.#needs.signal();
  }
}
Object.freeze(Context.prototype);

function rejection(...[status, message, headers]: Parameters<GatewayContext["reject"]>): Rejection {
  try {
    const fields = new HeaderBuilder({});
    for (const [name, value] of headerEntries(headers ?? {})) fields.set(name, value);
    return new Rejection(asNumber(status, "status"), String(message ?? ""), fields.overrides);
  } catch (error) {
    const mistake = error instanceof TypeError
      ? error
      : new TypeError("ctx.reject was called with what cannot be read", { cause: error });
    return new Rejection(0, "", {}, mistake);
  }
}

function headerEntries(headers: Readonly<Record<string, string>>): [string, string][] {
  if (typeof headers === "object" && !(Symbol.iterator in headers)) return Object.entries(headers);
  throw new TypeError("the headers of ctx.reject are not an object with a value for each name");
}
