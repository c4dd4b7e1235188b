/** Laws of the forward guard: every special range in every spelling, every sequence of DNS answers. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import ipaddr from "ipaddr.js";
import type { ForwardHost } from "../../gateway/config.ts";
import { ForwardGuard } from "../../gateway/forward_guard.ts";
import { attackTest } from "../support/attack_rows.ts";
import { OK, recordingUpstream } from "../support/recording_upstream.ts";
import { bodyText, disposableClient, upstreamRequest } from "../support/upstream_request.ts";

/** The IANA special-purpose registry for IPv4, and multicast. */
const V4_RANGES = [
  ..."0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12".split(" "),
  ..."192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24".split(" "),
  ..."192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24".split(" "),
  ..."224.0.0.0/4 240.0.0.0/4".split(" "),
].map((cidr) => {
  const [start = "", bits = ""] = cidr.split("/");
  const first = start.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return { cidr, first, size: 2 ** (32 - Number(bits)) };
});

/** Each of these becomes plain digits on the way through IDNA, or in the URL parser itself. */
const FULLWIDTH = (text: string) =>
  text.replace(/[0-9a-z]/g, (c) => String.fromCharCode(c.charCodeAt(0) + 0xfee0));
const CIRCLED = (text: string) =>
  text.replace(/[1-9]/g, (c) => String.fromCharCode(c.charCodeAt(0) - 49 + 0x2460));
const ESCAPED = (text: string) => text.replace(/[0-9]/g, (c) => `%3${c}`);

/** The hosts that a URL parser, or one of another library, takes for this IPv4 address or for IPv6 that carries it. */
function hostsOf(value: number): string[] {
  const parts = [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  const plain = parts.join(".");
  const [a = 0, b = 0, c = 0, d = 0] = parts;
  const oct = (n: number) => `0${n.toString(8)}`;
  const hex = (n: number) => `0x${n.toString(16)}`;
  const high = ((a << 8) | b).toString(16);
  const low = ((c << 8) | d).toString(16);
  const flipped = `${(~((a << 8) | b) & 0xffff).toString(16)}:${
    (~((c << 8) | d) & 0xffff).toString(16)
  }`;
  return [
    plain,
    `${plain}.`,
    String(value),
    hex(value),
    hex(value).toUpperCase().replace("X", "x"),
    hex(value).replace("0x", "0X000"),
    oct(value),
    parts.map(oct).join("."),
    parts.map(hex).join("."),
    parts.map((n) => `00${oct(n)}`).join("."),
    `${a}.${value & 0xffffff}`,
    `${a}.${b}.${value & 0xffff}`,
    `${hex(a)}.${oct(b)}.${c}.${d}`,
    FULLWIDTH(plain),
    FULLWIDTH(String(value)),
    CIRCLED(plain),
    plain.replaceAll(".", "\uff0e"),
    plain.replaceAll(".", "\u3002"),
    plain.replace(".", "\u00ad."),
    ESCAPED(plain),
    `ok.example@${plain}`,
    `${plain}@ok.example`,
    ...[
      `::ffff:${plain}`,
      `::FFFF:${high}:${low}`,
      `0:0:0:0:0:ffff:${high}:${low}`,
      `::${high}:${low}`,
      `::${plain}`,
      `::ffff:0:${plain}`,
      `64:ff9b::${plain}`,
      `64:ff9b:1::${high}:${low}`,
      `2002:${high}:${low}::`,
      `2002:${high}:${low}::${plain}`,
      `2001:0:${high}:${low}::1`, // Teredo, as its server
      `2001::${flipped}`, // Teredo, as its client, which is written inverted
      `fe80::5efe:${plain}`, // ISATAP
      `2606:4700::5efe:${plain}`,
      `2606:4700::200:5efe:${high}:${low}`,
      `fe80::${high}:${low}%25lo`,
    ].map((address) => `[${address}]`),
  ];
}

/** A guard that allows whatever a parser makes of this host, and whose resolver says that it is `address`. */
function guardFor(host: string, address: string): ForwardGuard {
  const names = [host, host.toLowerCase(), URL.parse(`http://${host}/`)?.hostname ?? host];
  const allowedHosts = names.map((each): ForwardHost => ({
    host: each,
    port: null,
    allowPrivate: false,
  }));
  return new ForwardGuard({
    allowedHosts,
    upstreams: [],
    blockPrivateNetworks: true,
    resolve: () => Promise.resolve([address]),
  });
}

Deno.test("forward law: nothing in an IANA special-purpose range is reached, however a URL spells it", async () => {
  for (const { cidr, first, size } of V4_RANGES) {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: size - 1 }), async (offset) => {
        const [plain = "", ...others] = hostsOf(first + offset);
        for (const host of [plain, ...others]) {
          for (const url of [`http://${host}/`, `HTTPS://${host}:8443/x`]) {
            const verdict = await guardFor(host, plain).check(url);
            assert(!verdict.ok, `${url} in ${cidr} was accepted`);
          }
        }
      }),
      { numRuns: 200, examples: [[0], [size - 1]] },
    );
  }
});

Deno.test("forward law: a public address is reached where it is written plainly, and nowhere else", async () => {
  const octets = fc.tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 0, max: 255 })));
  let reached = 0;
  await fc.assert(
    fc.asyncProperty(octets, async (parts) => {
      const plain = parts.join(".");
      fc.pre(ipaddr.IPv4.parse(plain).range() === "unicast");
      const value = parts.reduce((sum, part) => sum * 256 + part, 0);
      for (const host of hostsOf(value)) {
        const verdict = await guardFor(host, plain).check(`http://${host}/`);
        assertEquals(verdict.ok, host === plain, host);
        if (!verdict.ok) continue;
        reached++;
        assertEquals(verdict.target.address, plain);
      }
    }),
    { numRuns: 300 },
  );
  assert(reached > 100);
});

type Answers = readonly (readonly string[])[];

/** What a name resolves to, look-up by look-up, and what each check comes to: an address, or a refusal. */
const CHANGING:
  readonly (readonly [name: string, answers: Answers, verdicts: readonly string[]])[] = [
    ["public, then private", [["8.8.8.8"], ["127.0.0.1"]], ["8.8.8.8", ""]],
    ["private, then public", [["127.0.0.1"], ["8.8.8.8"]], ["", "8.8.8.8"]],
    ["to and fro", [["8.8.8.8"], ["10.0.0.1"], ["8.8.8.8"]], ["8.8.8.8", "", "8.8.8.8"]],
    ["A public, AAAA private", [["8.8.8.8", "::1"]], [""]],
    ["A private, AAAA public", [["192.168.0.1", "2606:4700::1111"]], [""]],
    ["both public", [["2606:4700::1111", "8.8.8.8"]], ["8.8.8.8"]],
    ["one private among many", [[
      ...Array.from({ length: 50 }, (_, i) => `8.8.8.${i}`),
      "169.254.169.254",
    ]], [""]],
    ["the private one first", [["169.254.169.254", "8.8.8.8"]], [""]],
    ["mapped", [["8.8.8.8", "::ffff:169.254.169.254"]], [""]],
    ["NAT64", [["64:ff9b::a9fe:a9fe"]], [""]],
    ["6to4", [["2002:a9fe:a9fe::"]], [""]],
    ["with a zone", [["fe80::1%eth0"]], [""]],
    ["unspecified", [["0.0.0.0"], ["::"]], ["", ""]],
    ["no address", [[]], [""]],
    ["no address of any kind", [["localhost"], ["0177.1"], [""]], ["", "", ""]],
  ];

attackTest(
  "attack 19: whatever a name resolves to from one look-up to the next, one private answer refuses, and none is asked for twice",
  { 19: CHANGING },
  async (rows) => {
    for (const [name, answers, verdicts] of rows) {
      let lookups = 0;
      const guard = new ForwardGuard({
        allowedHosts: [{ host: "rebind.example", port: null, allowPrivate: false }],
        upstreams: [],
        blockPrivateNetworks: true,
        resolve: () => Promise.resolve(answers[lookups++] ?? []),
      });
      for (const expected of verdicts) {
        const verdict = await guard.check("http://rebind.example/");
        assertEquals(verdict.ok ? verdict.target.address : "", expected, name);
      }
      assertEquals(lookups, answers.length, name);
    }
  },
);

Deno.test("attack 19: the address that was checked is dialled, and a kept connection never serves another one", async () => {
  await using first = recordingUpstream();
  await using second = recordingUpstream(() => OK, { hostname: "127.0.0.2", port: first.port });
  const answers = ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"];
  const guard = new ForwardGuard({
    allowedHosts: [{ host: "rebind.example", port: first.port, allowPrivate: true }],
    upstreams: [],
    blockPrivateNetworks: true,
    resolve: () => Promise.resolve(answers.splice(0, 1)),
  });
  using client = disposableClient();
  for (let round = 0; round < 4; round++) {
    const verdict = await guard.check(`http://rebind.example:${first.port}/${round}`);
    assert(verdict.ok);
    // No such name exists: a look-up by anybody else would fail.
    const { target } = verdict;
    assertEquals(
      await bodyText(await client.send(target, upstreamRequest({ target: target.path }))),
      "ok",
    );
  }
  assertEquals(first.requests.map((each) => each.target), ["/0", "/2"]);
  assertEquals(second.requests.map((each) => each.target), ["/1", "/3"]);
  assertEquals([first.connections.length, second.connections.length], [1, 1]);
});
