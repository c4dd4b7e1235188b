/** Attack 32: a browser, also one that a rebound name has led here, gets nothing out of the admin listener. */
import { assert, assertEquals } from "@std/assert";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { statuses } from "../support/attack.ts";
import { rawExchange } from "../support/raw_conversation.ts";

/** A browser always says whom it asks; no Host at all is a probe, or the Unix socket. */
const FOREIGN = [
  "evil.net",
  "evil.net:PORT",
  "localhost.evil.net",
  "127.0.0.1.evil.net:PORT",
  "127.0.0.1@evil.net",
  "evil.net@127.0.0.1",
  "localhost.:PORT",
  "a.localhost:PORT",
  "::1.evil.net",
  "[::1].evil.net",
  "127.0.0.1 evil.net",
  "127.0.0.1/evil.net",
];

const CROSS = [
  "Origin: https://evil.net",
  "Origin: null",
  "Origin: http://127.0.0.1:PORT",
  "Origin: http://localhost",
  "origin:",
  "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.net",
  // An image, a link: browsers send no Origin with these.
  "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors",
  "Sec-Fetch-Site: same-site",
];

interface Ask {
  readonly name: string;
  readonly send: string;
  readonly status: readonly number[];
}

const ASKS: readonly Ask[] = [
  ...FOREIGN.map((host) => ({
    name: `Host: ${host}`,
    send: `GET /healthz HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    status: [400, 403],
  })),
  {
    name: "two Hosts",
    send: "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.net\r\n\r\n",
    status: [400, 403],
  },
  {
    name: "an absolute target of another host",
    send: "GET http://evil.net/healthz HTTP/1.1\r\nHost: evil.net\r\n\r\n",
    status: [403],
  },
  ...CROSS.flatMap((fields) =>
    ["GET", "POST", "OPTIONS"].map((method) => ({
      name: `${method} with ${JSON.stringify(fields)}`,
      send: `${method} /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n${fields}\r\n\r\n`,
      status: [403],
    }))
  ),
  ...["POST", "PUT", "DELETE", "PATCH", "OPTIONS"].map((method) => ({
    name: `${method} without an origin`,
    send: `${method} /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`,
    status: [405],
  })),
  ...["/healthz/", "/none", "//healthz"].map((path) => ({
    name: path,
    send: `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    status: [404],
  })),
];

const IS_OK = /"status": ?"ok"/;

const GOOD = ["127.0.0.1", "127.0.0.1:PORT", "localhost", "localhost:PORT", "[::1]:PORT"];

attackTest(
  "attack 32: a foreign Host or an Origin at the admin listener is a 403 that tells nothing",
  { 32: ASKS },
  async (asks) => {
    await using gateway = await testGateway({
      config: { routes: [{ path: "/*", upstream: "http://127.0.0.1:9" }] },
    });
    const port = Number(new URL(gateway.adminUrl).port);
    const ask = (send: string) =>
      rawExchange(port, send.replaceAll("PORT", String(port)), { quietMs: 500, answers: 1 });
    const failures = await Promise.all(asks.map(async ({ name, send, status }) => {
      const answer = await ask(send);
      const [first = 0, ...more] = statuses(answer);
      const isRefused = status.includes(first) && more.length === 0 &&
        !IS_OK.test(answer) && !/access-control-/i.test(answer);
      return isRefused ? "" : `${name}: ${answer}`;
    }));
    assertEquals(failures.filter(Boolean), []);
    for (const host of GOOD) {
      const answer = await ask(
        `GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      );
      assert(IS_OK.test(answer), answer);
    }
    // The pages that there are, from the list of a 404.
    const told = await ask("GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    const pages = [...told.matchAll(/\/[a-z]+\/?(?=[,"])/g)].map(([path]) => path);
    assert(pages.length >= 2 && pages.includes("/readyz"), told);
    for (const path of pages) {
      for (const fields of ["Host: evil.net", "Host: localhost\r\nOrigin: http://localhost"]) {
        const answer = await ask(`GET ${path} HTTP/1.1\r\n${fields}\r\nConnection: close\r\n\r\n`);
        assertEquals(statuses(answer), [403], `${path} with ${fields}`);
      }
    }
  },
);
