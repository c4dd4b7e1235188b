/** Attacks 14 and 23: whom a request is for, and heads that are too large. */
import { assertEquals } from "@std/assert";
import { assertRepelled, type Attack } from "../support/attack.ts";
import { attackTest } from "../support/attack_rows.ts";
import { testGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw_client.ts";
import { recordingUpstream } from "../support/recording_upstream.ts";

const HOSTS: readonly Attack[] = [
  ["no Host", ""],
  ["an empty Host", "Host: \r\n"],
  ["two Hosts", "Host: a\r\nHost: b\r\n"],
  ["two equal Hosts", "Host: a\r\nHost: a\r\n"],
  ["two Hosts in another case", "Host: a\r\nHOST: a\r\n"],
  ["a Host with a space", "Host: a b\r\n"],
  ["a Host with a tab", "Host: a\tb\r\n"],
  ["a space before the colon", "Host : a\r\n"],
  ["a folded Host", "Host: a\r\n .evil.net\r\n"],
  ["a Host with credentials", "Host: a@b\r\n"],
  ["a Host with a password", "Host: a:x@b\r\n"],
  ["a Host with a path", "Host: a/api/public?\r\n"],
  ["a Host with a query", "Host: a?b\r\n"],
  ["a Host with a fragment", "Host: a#b\r\n"],
  ["a Host with a backslash", "Host: a\\b\r\n"],
  ["a Host with a comma", "Host: a, b\r\n"],
  ["a Host with a scheme", "Host: http://a\r\n"],
  ["a Host with a bad port", "Host: a:0x50\r\n"],
  ["a Host with port 0", "Host: a:0\r\n"],
  ["a Host with a port over 65535", "Host: a:65617\r\n"], // 65536 + 81
  ["a Host with two ports", "Host: a:80:81\r\n"],
  ["a Host with a port that is none", "Host: a:\r\n"],
  ["a Host with an escape", "Host: a%2eb\r\n"],
  ["a Host beyond ASCII", "Host: \xc3\xa4\r\n"],
  ["a Host with fullwidth digits", "Host: \xef\xbc\x91\r\n"],
  ["a Host with a NUL", "Host: a\0\r\n"],
  ["a Host with an IPv6 zone", "Host: [fe80::1%25eth0]\r\n"],
  ["a Host with half an IPv6 address", "Host: [::1\r\n"],
  ["a Host with an empty label", "Host: a..b\r\n"],
  ["a Host that is too long", `Host: ${"a".repeat(300)}\r\n`],
].map(([name = "", field = ""]): Attack => ({
  name,
  send: `GET /api/x HTTP/1.1\r\n${field}\r\n`,
  answers: [400],
}));

const TARGETS: readonly Attack[] = ([
  ["http://b/api/x", 400],
  ["http://a:81/api/x", 400],
  ["http://x@a/api/x", 400],
  ["http://a@b/api/x", 400],
  ["http://a.evil.net/api/x", 400],
  ["http://a%2eb/api/x", 400],
  ["http://a\\@b/api/x", 400],
  ["http:///api/x", 404], // no authority: the path `/http:/api/x`
  ["http:/a/api/x", 400],
  ["https://a/api/x", 400],
  ["ftp://a/api/x", 400],
  ["a/api/x", 400],
  ["@b/api/x", 400],
  [":80/api/x", 400],
  [".evil.net/api/x", 400],
  ["http://a/api/x", 200],
  ["HTTP://A/api/x", 200],
  // A path, however much it looks like an authority.
  ["//b/api/x", 404],
] as const).map(([target, status]): Attack => ({
  name: `the target ${target} beside Host: a`,
  send: `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`,
  answers: [status],
  reaches: status === 200 ? ["/api/x"] : [],
}));

const SIZES: readonly Attack[] = [
  ["129 fields", `GET /api/x HTTP/1.1\r\nHost: a\r\n${"X: y\r\n".repeat(127)}\r\n`],
  ["10,000 fields", `GET /api/x HTTP/1.1\r\nHost: a\r\n${"X: y\r\n".repeat(10_000)}\r\n`],
  ["a field of 64 KiB", `GET /api/x HTTP/1.1\r\nHost: a\r\nX: ${"y".repeat(65_536)}\r\n\r\n`],
  ["a field name of 64 KiB", `GET /api/x HTTP/1.1\r\nHost: a\r\n${"y".repeat(65_536)}: x\r\n\r\n`],
  [
    "many fields of 64 KiB together",
    `GET /api/x HTTP/1.1\r\nHost: a\r\n${`X: ${"y".repeat(2000)}\r\n`.repeat(33)}\r\n`,
  ],
  ["a URL of 64 KiB", `GET /api/${"y".repeat(65_536)} HTTP/1.1\r\nHost: a\r\n\r\n`],
  ["a query of 64 KiB", `GET /api/x?${"y".repeat(65_536)} HTTP/1.1\r\nHost: a\r\n\r\n`],
  ["a method of 64 KiB", `${"G".repeat(65_536)} /api/x HTTP/1.1\r\nHost: a\r\n\r\n`],
].map(([name = "", send = ""]): Attack => ({
  name,
  send,
  answers: [[400, 414, 431]],
  closes: true,
}));

attackTest(
  "attacks 14 and 23: a host that is not one host, a target that names another one, heads that are too large",
  { 14: [...HOSTS, ...TARGETS], 23: SIZES },
  async (attacks) => {
    await using upstream = recordingUpstream();
    await using gateway = await testGateway({
      config: { routes: [{ path: "/api/*", upstream: upstream.url, plugins: false }] },
    });
    await assertRepelled(attacks, { gateway, upstream });
  },
);

/** Which route each takes; a host is compared whole, without case, port and root dot. */
const ROUTED: readonly (readonly [host: string, route: string])[] = [
  ["admin.example.com", "/admin"],
  ["ADMIN.Example.COM", "/admin"],
  ["admin.example.com:8080", "/admin"],
  ["admin.example.com.", "/admin"],
  ["admin.example.com.:8080", "/admin"],
  ["x.example.com", "/label"],
  ["a.b.example.com", "/other"],
  ["example.com", "/other"],
  ["admin.example.com.evil.net", "/other"],
  ["evil-admin.example.com.evil.net", "/other"],
  ["adminxexample.com", "/other"],
  ["evil-example.com", "/other"],
  ["[::1]", "/other"],
  ["[2001:db8::a]", "/address"],
  ["[2001:DB8:0:0::A]:8080", "/address"],
  ["[2001:0db8::0.0.0.10]", "/address"],
  ["[2001:db8::a0]", "/other"],
];

attackTest(
  "attack 14: a host matches a route as a whole, never as a part of another name",
  { 14: ROUTED },
  async (rows) => {
    const at = (name: string) =>
      recordingUpstream(() => `HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\n\r\n${name}`);
    await using admin = at("/admin");
    await using label = at("/label");
    await using address = at("/address");
    await using other = at("/other");
    await using gateway = await testGateway({
      config: {
        routes: [
          { path: "/*", host: "admin.example.com", upstream: admin.url },
          { path: "/*", host: "*.example.com", upstream: label.url },
          { path: "/*", host: "[2001:db8:0::000a]", upstream: address.url },
          { path: "/*", upstream: other.url },
        ].map((route) => ({ ...route, plugins: false })),
      },
    });
    const taken = await Promise.all(rows.map(async ([host]) => {
      const { text } = await rawRequest(gateway.port, `GET /x HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      return [host, text];
    }));
    assertEquals(taken, rows.map(([host, route]) => [host, route]));
  },
);
