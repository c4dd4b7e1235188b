/**
 * Which route takes a request. The rules, in the order in which they decide:
 *
 * 1. The longest pattern that matches the path. `/api/*` matches `/api`, `/api/` and `/api/x`,
 *    never `/apix`; a pattern without `/*` matches only itself, and beats a prefix of its length.
 * 2. A route for exactly this host, then one for `*.` (one label) and the rest, then one without
 *    a host.
 * 3. The first route in the file that takes the method. None: 405, and no shorter pattern is tried,
 *    so that what a path means never depends on the method.
 *
 * @module
 */

export interface RouteRule {
  readonly path: string;
  readonly host?: string | undefined;
  /**
   * Compared as they are (RFC 9110 §9.1: case-sensitive); absent: every method. `GET` does not
   * imply `HEAD`.
   */
  readonly methods?: readonly string[] | undefined;
}

export type RouteMatch<R> =
  /**
   * `prefix` is what `stripPrefix` removes: `/api` for `/api/*`, `""` for `/*`, the whole path for
   * an exact pattern.
   */
  | { readonly kind: "route"; readonly route: R; readonly prefix: string }
  | { readonly kind: "not_found" }
  | { readonly kind: "method_not_allowed"; readonly allow: readonly string[] };

/**
 * The routes of one pattern by host, each list in file order. The key `""` holds those without a
 * host.
 */
type ByHost<R> = Map<string, R[]>;

interface Node<R> {
  readonly children: Map<string, Node<R>>;
  readonly exact: ByHost<R>;
  readonly prefix: ByHost<R>;
}

/**
 * Routes as a tree of path segments: a look-up costs one step a segment, however many routes there
 * are.
 */
export class Router<R extends RouteRule> {
  readonly #root: Node<R> = newNode();

  constructor(routes: readonly R[]) {
    for (const route of routes) this.#add(route);
  }

  /**
   * @param request `path` in canonical form (`path.ts`), `host` as in the Host field; case and port
   * do not count
   */
  match(
    request: { readonly path: string; readonly method: string; readonly host: string },
  ): RouteMatch<R> {
    const { path } = request;
    const host = withoutPort(request.host);
    let routes = routesForHost(this.#root.prefix, host);
    let prefix = "";
    let node: Node<R> | undefined = this.#root;
    for (let start = 1; start <= path.length;) {
      const slash = path.indexOf("/", start);
      const end = slash < 0 ? path.length : slash;
      node = node.children.get(path.slice(start, end));
      if (!node) break;
      const found = (end === path.length ? routesForHost(node.exact, host) : undefined) ??
        routesForHost(node.prefix, host);
      if (found) {
        routes = found;
        prefix = path.slice(0, end);
      }
      start = end + 1;
    }

    if (!routes) return { kind: "not_found" };
    for (const route of routes) {
      if (!route.methods || route.methods.includes(request.method)) {
        return { kind: "route", route, prefix };
      }
    }
    return {
      kind: "method_not_allowed",
      allow: [...new Set(routes.flatMap((route) => route.methods ?? []))],
    };
  }

  #add(route: R): void {
    const isPrefix = route.path.endsWith("/*");
    const segments = (isPrefix ? route.path.slice(0, -2) : route.path).split("/").slice(1);
    let node = this.#root;
    for (const segment of segments) {
      const child = node.children.get(segment) ?? newNode<R>();
      node.children.set(segment, child);
      node = child;
    }
    const byHost = isPrefix ? node.prefix : node.exact;
    const host = withoutPort(route.host ?? "");
    const routes = byHost.get(host);
    if (routes) routes.push(route);
    else byHost.set(host, [route]);
  }
}

/**
 * The path without the prefix of its route, for `stripPrefix`. It starts with `/` and is canonical
 * when `path` is.
 *
 * @param prefix from the `RouteMatch` of this path
 */
export function strippedPath(path: string, prefix: string): string {
  return path.slice(prefix.length) || "/";
}

function newNode<R>(): Node<R> {
  return { children: new Map(), exact: new Map(), prefix: new Map() };
}

function routesForHost<R>(byHost: ByHost<R>, host: string): readonly R[] | undefined {
  if (byHost.size === 0) return undefined;
  const dot = host.indexOf(".");
  return byHost.get(host) ?? (dot > 0 ? byHost.get(`*${host.slice(dot)}`) : undefined) ??
    byHost.get("");
}

function withoutPort(host: string): string {
  return host.toLowerCase().replace(/:[0-9]+$/, "");
}
