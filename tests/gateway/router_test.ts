import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type RouteMatch, Router, type RouteRule, strippedPath } from "../../gateway/router.ts";

interface Named extends RouteRule {
  readonly name?: string;
}

function winner(routes: readonly Named[], path: string, host = "h", method = "GET"): string {
  const match = new Router(routes).match({ path, method, host });
  return match.kind === "route" ? match.route.name ?? match.route.path : match.kind;
}

Deno.test("router: /api/* matches /api, /api/ and /api/x, never /apix", () => {
  const routes = [{ path: "/api/*" }];
  for (const path of ["/api", "/api/", "/api/x", "/api/x/y/", "/api/%2F"]) {
    assertEquals(winner(routes, path), "/api/*");
  }
  for (
    const path of ["/", "/apix", "/api..", "/api../admin", "/api./admin", "/API", "/a", "/x/api"]
  ) {
    assertEquals(winner(routes, path), "not_found");
  }
});

Deno.test("router: a pattern without /* matches only itself", () => {
  const routes = [{ path: "/health" }, { path: "/" }, { path: "/slash/" }];
  assertEquals(winner(routes, "/health"), "/health");
  assertEquals(winner(routes, "/"), "/");
  assertEquals(winner(routes, "/slash/"), "/slash/");
  for (const path of ["/health/", "/health/x", "/slash", "/slash/x", "/x"]) {
    assertEquals(winner(routes, path), "not_found");
  }
});

Deno.test("router: the longest pattern wins, an exact one beats a prefix of its length", () => {
  const routes = ["/*", "/a/*", "/a/b/*", "/a/b", "/a/b/c/d"].map((path) => ({ path }));
  assertEquals(winner(routes, "/"), "/*");
  assertEquals(winner(routes, "/x"), "/*");
  assertEquals(winner(routes, "/a"), "/a/*");
  assertEquals(winner(routes, "/a/b"), "/a/b");
  assertEquals(winner(routes, "/a/b/"), "/a/b/*");
  assertEquals(winner(routes, "/a/b/c"), "/a/b/*");
  assertEquals(winner(routes, "/a/b/c/d"), "/a/b/c/d");
  assertEquals(winner(routes, "/a/b/c/d/e"), "/a/b/*");
});

Deno.test("router: an exact host beats *., that beats none; port and case do not count", () => {
  const routes = [
    { path: "/*", name: "any" },
    { path: "/*", host: "*.example.com", name: "wild" },
    { path: "/*", host: "API.example.com", name: "exact" },
  ];
  assertEquals(winner(routes, "/x", "api.example.com"), "exact");
  assertEquals(winner(routes, "/x", "Api.Example.Com:8080"), "exact");
  assertEquals(winner(routes, "/x", "b.example.com:1"), "wild");
  for (
    const host of ["example.com", "a.b.example.com", "aexample.com", "[::1]:80", ".example.com"]
  ) {
    assertEquals(winner(routes, "/x", host), "any");
  }
  assertEquals(winner(routes.slice(1), "/x", "api.example.com.evil.net"), "not_found");
});

Deno.test("router: a longer pattern without a host beats a shorter one with it", () => {
  const routes = [{ path: "/*", host: "h", name: "host" }, { path: "/a/*", name: "long" }];
  assertEquals(winner(routes, "/a", "h"), "long");
  assertEquals(winner(routes, "/b", "h"), "host");
});

Deno.test("router: where no method fits it is 405 with Allow, not a shorter pattern", () => {
  const routes: Named[] = [
    { path: "/*", name: "all" },
    { path: "/a/*", methods: ["GET", "HEAD"], name: "read" },
    { path: "/a/*", methods: ["POST", "GET"], name: "write" },
    { path: "/a/*", host: "h2", methods: ["PUT"] },
  ];
  const router = new Router(routes);
  assertEquals(winner(routes, "/a", "h", "GET"), "read");
  assertEquals(winner(routes, "/a", "h", "POST"), "write");
  assertEquals(router.match({ path: "/a", method: "DELETE", host: "h" }), {
    kind: "method_not_allowed",
    allow: ["GET", "HEAD", "POST"],
  });
  assertEquals(router.match({ path: "/a", method: "GET", host: "h2" }), {
    kind: "method_not_allowed",
    allow: ["PUT"],
  });
});

Deno.test("router: __proto__ and constructor are names like any other", () => {
  assertEquals(winner([{ path: "/a" }], "/__proto__/constructor", "constructor"), "not_found");
  assertEquals(winner([{ path: "/__proto__/*" }], "/__proto__/x"), "/__proto__/*");
});

Deno.test("router: a stripped path starts with a slash", () => {
  const cases: [pattern: string, path: string, stripped: string][] = [
    ["/api/*", "/api", "/"],
    ["/api/*", "/api/", "/"],
    ["/api/*", "/api/x/y/", "/x/y/"],
    ["/*", "/x", "/x"],
    ["/exact", "/exact", "/"],
  ];
  for (const [pattern, path, stripped] of cases) {
    const match = new Router([{ path: pattern }]).match({ path, method: "GET", host: "h" });
    assertEquals(match.kind === "route" && strippedPath(path, match.prefix), stripped);
  }
});

/** The rules of `router.ts` as a scan over all routes. */
function reference(
  routes: readonly RouteRule[],
  request: { path: string; method: string; host: string },
): RouteMatch<RouteRule> {
  function rank({ path, host }: RouteRule): readonly [number, number, number] | undefined {
    const base = path.replace(/\/\*$/, "");
    const isPrefix = base !== path;
    const fits = request.path === base || (isPrefix && request.path.startsWith(`${base}/`));
    const [, parent] = /^[^.]+\.(.*)$/.exec(request.host) ?? [];
    const hostRank = host === request.host ? 2 : host === `*.${parent}` ? 1 : host ? -1 : 0;
    return fits && hostRank >= 0 ? [base.length, isPrefix ? 0 : 1, hostRank] : undefined;
  }
  const ranked = routes.flatMap((route) => {
    const score = rank(route);
    return score ? [{ route, score: score[0] * 100 + score[1] * 10 + score[2] }] : [];
  });
  const best = Math.max(...ranked.map(({ score }) => score));
  const tied = ranked.filter(({ score }) => score === best).map(({ route }) => route);
  if (tied.length === 0) return { kind: "not_found" };
  const route = tied.find(({ methods }) => !methods || methods.includes(request.method));
  if (!route) {
    return {
      kind: "method_not_allowed",
      allow: [...new Set(tied.flatMap((one) => one.methods ?? []))],
    };
  }
  const isPrefix = route.path.endsWith("/*");
  return { kind: "route", route, prefix: isPrefix ? route.path.slice(0, -2) : route.path };
}

Deno.test("router agrees with a scan over all routes", () => {
  const path = fc.array(fc.constantFrom("a", "b", "ab", ""), { maxLength: 4 })
    .map((segments) => `/${segments.join("/")}`.replace(/\/{2,}/g, "/"));
  const pattern = fc.oneof(path, path.map((base) => `${base.replace(/\/$/, "")}/*`));
  const route = fc.record({
    path: pattern,
    host: fc.constantFrom(undefined, "h.x", "g.x", "*.x", "*.g.x"),
    methods: fc.option(fc.subarray(["GET", "POST", "PUT"], { minLength: 1 }), { nil: undefined }),
  });
  const request = fc.record({
    path,
    method: fc.constantFrom("GET", "POST", "DELETE"),
    host: fc.constantFrom("h.x", "g.x", "z.x", "z.g.x", "x", "other"),
  });
  const kinds = new Set<string>();
  fc.assert(
    fc.property(fc.array(route, { maxLength: 8 }), request, (routes, request) => {
      const match = new Router(routes).match(request);
      kinds.add(match.kind);
      assertEquals(match, reference(routes, request));
    }),
    { numRuns: 5000 },
  );
  assertEquals(kinds.size, 3);
});
