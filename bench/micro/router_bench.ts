/**
 * Routing in a small and in a large table, beside a scan over all routes.
 *
 * @module
 */

import { Router } from "../../gateway/router.ts";

const request = { path: "/service-7/rooms/12/messages", method: "GET", host: "api.example.com" };
const table = (count: number) =>
  Array.from({ length: count }, (_, number) => ({ path: `/service-${number}/*` }));

for (const count of [10, 1000]) {
  const routes = table(count);
  const router = new Router(routes);
  const group = `${count} routes`;

  Deno.bench(`scan, ${group}`, { group, baseline: true }, () => {
    let best = "";
    for (const { path } of routes) {
      const prefix = path.slice(0, -1);
      if (prefix.length > best.length && request.path.startsWith(prefix)) best = prefix;
    }
    if (best === "") throw new Error("no route");
  });

  Deno.bench(`Router, ${group}`, { group }, () => {
    if (router.match(request).kind !== "route") throw new Error("no route");
  });
}
